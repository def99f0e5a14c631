# SPDX-License-Identifier: MIT
"""Checkpoints in the published format, written and evaluated by fairchem-core itself.

Published weights are gated. These files have the published layouts and random weights, and
go through the same code of fairchem-core on their way out and in.

    python fairchem_models.py write VARIANT SEED FILE     a checkpoint
    python fairchem_models.py evaluate VARIANT FILE NPZ   its energies, forces and stresses
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairchem.core import FAIRChemCalculator
from fairchem.core.models.base import HydraModel
from fairchem.core.units.mlip_unit import MLIPPredictUnit
from fairchem.core.units.mlip_unit.api.inference import InferenceSettings, MLIPInferenceCheckpoint

sys.path.insert(0, str(Path(__file__).parents[1]))
from structures import MOLECULES, STRUCTURES, structure

UMA = "fairchem.core.models.uma"
UNIT = "fairchem.core.units.mlip_unit.mlip_unit"
NORMALIZATION = "fairchem.core.modules.normalization"
FIVE = ["oc20", "omol", "omat", "odac", "omc"]
SEVEN = ["oc20", "oc22", "oc25", *FIVE[1:]]

BACKBONE = {
    "model": f"{UMA}.escn_moe.eSCNMDMoeBackbone",
    "moe_dropout": 0.0,
    "moe_layer_type": "pytorch",
    "use_composition_embedding": True,
    "use_global_embedding": False,
    "max_num_elements": 100,
    "otf_graph": True,
    "max_neighbors": 300,
    "use_pbc": True,
    "use_pbc_single": True,
    "distance_function": "gaussian",
    "regress_forces": True,
    "regress_stress": True,
    "direct_forces": False,
    "norm_type": "rms_norm_sh",
    "act_type": "gate",
    "ff_type": "spectral",
    "chg_spin_emb_type": "rand_emb",
    "cs_emb_grad": True,
    "lmax": 2,
    "mmax": 2,
    "cutoff": 6.0,
}


# Heads beside that of the energy, whose outputs belong to no task.
OTHER_HEADS = {
    "forcehead": {"module": f"{UMA}.escn_md.Linear_Force_Head"},
    "stresshead": {"module": f"{UMA}.escn_md.MLP_Stress_Head"},
}


def _sizes(channels: int, layers: int, experts: int, basis: int) -> dict[str, Any]:
    return {
        "sphere_channels": channels,
        "hidden_channels": channels,
        "edge_channels": channels,
        "num_layers": layers,
        "num_experts": experts,
        "num_distance_basis": basis,
    }


FIRST = {"dataset_list": FIVE, "model_version": 1.1}
# Without experts (eSEN): the plain backbone, or that of UMA with none of them.
PLAIN = {"model": f"{UMA}.escn_md.eSCNMDBackbone", "dataset_list": ["omol"]}
OF_EXPERTS = (
    "moe_dropout",
    "moe_layer_type",
    "num_experts",
    "use_composition_embedding",
    "use_global_embedding",
)
BARE = {"use_dataset_embedding": False}
WAVES = {"chg_spin_emb_type": "pos_emb"}
FEW = {
    "dataset_mapping": {name: name for name in ("omol", "oc25", "odac")},
    "charge_balanced_channels": [0, 1],
    "spin_balanced_channels": [2, 3],
    **WAVES,
}
SECOND = {"dataset_mapping": {name: name for name in SEVEN}, "charge_balanced_channels": [0, 1, 2]}

# Backbone options and model_id; UMA generations without a model_id have one head for all tasks.
VARIANTS = {
    "s-1p1": ({**FIRST, **_sizes(128, 4, 32, 64)}, None),
    "s-1p2": ({**SECOND, **_sizes(128, 4, 32, 32)}, "UMA-S-1.2"),
    "s-1p2p1": ({**SECOND, **_sizes(128, 4, 32, 32)}, "UMA-S-1.2.1"),
    "m-1p1": ({**FIRST, **_sizes(128, 10, 32, 128), "lmax": 4}, None),
    "tiny-1p1": ({**FIRST, **_sizes(16, 2, 4, 16)}, None),
    "tiny-m": ({**FIRST, **_sizes(16, 3, 4, 16), "lmax": 4}, None),
    "tiny-1p2": ({**SECOND, **_sizes(16, 2, 4, 16)}, "UMA-S-1.2"),
    "tiny-l6": ({**FIRST, **_sizes(8, 2, 2, 8), "lmax": 6, "mmax": 3}, None),
    "tiny-1p2p1": ({**SECOND, **_sizes(16, 3, 4, 16), "cutoff": 5.0}, "UMA-S-1.2.1"),
    "tiny-waves": ({**FIRST, **_sizes(16, 2, 4, 16), **BARE, **WAVES}, None),
    "esen-sm": ({**PLAIN, **_sizes(128, 4, 0, 64), **BARE}, None),
    "esen-tiny": ({**PLAIN, **_sizes(16, 2, 0, 16)}, None),
    "esen-bare": ({**PLAIN, **_sizes(16, 2, 0, 16), **BARE}, None),
    "esen-few": ({**FEW, **_sizes(16, 2, 0, 16), "lmax": 3}, None),
}


def build(variant: str, seed: int) -> MLIPInferenceCheckpoint:
    """Build a checkpoint whose every weight matters, and whose averaged weights differ."""
    config = model_config(variant)
    torch.manual_seed(seed)
    model = HydraModel(**{key: value for key, value in config.items() if key != "_target_"})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif "embedding" in name:
                parameter.copy_(0.5 * torch.randn_like(parameter))
    raw = model.state_dict()
    averaged = {"n_averaged": torch.tensor(7)}
    for name, value in raw.items():
        shifts = value.is_floating_point() and "Jd_" not in name
        noise = 0.01 * torch.randn_like(value) if shifts else 0
        averaged["module." + name] = value + noise
    return MLIPInferenceCheckpoint(
        model_config=config,
        model_state_dict=raw,
        ema_state_dict=averaged,
        tasks_config=[task for name in datasets(variant) for task in tasks(name)],
    )


def datasets(variant: str) -> list[str]:
    options = VARIANTS[variant][0]
    return list(options.get("dataset_list") or options["dataset_mapping"])


def model_config(variant: str) -> dict[str, Any]:
    options, model_id = VARIANTS[variant]
    backbone = {**BACKBONE, **options}
    if "model" in options:
        backbone = {name: value for name, value in backbone.items() if name not in OF_EXPERTS}
    head = {
        "head_cls": f"{UMA}.escn_md.MLP_EFS_Head",
        "head_kwargs": {"wrap_property": False},
        "wrap_property": True,
    }
    if variant in ("esen-bare", "esen-sm"):  # no wrapper; prefix: the names that tasks have
        head = {"module": f"{UMA}.escn_md.MLP_EFS_Head", "prefix": "omol", "wrap_property": True}
    elif "dataset_list" in options:
        head["module"] = f"{UMA}.escn_moe.DatasetSpecificSingleHeadWrapper"
        head["dataset_names"] = backbone["dataset_list"]
    else:
        head["module"] = f"{UMA}.escn_moe.DatasetSpecificMoEWrapper"
        head["dataset_mapping"] = backbone["dataset_mapping"]
    config = {
        "_target_": "fairchem.core.models.base.HydraModel",
        "backbone": backbone,
        "heads": {"energyandforcehead": head, **(OTHER_HEADS if variant == "esen-few" else {})},
        "otf_graph": True,
        "pass_through_head_outputs": True,
    }
    if model_id is not None:
        config.update(model_id=model_id, supports_single_atoms=True)
    return config


def tasks(dataset: str) -> list[dict[str, Any]]:
    """Energy, forces and, for two datasets, stress, as the published files list them."""
    listed = []
    for prop, level, dim in (
        ("energy", "system", [1]),
        ("forces", "atom", [3]),
        ("stress", "system", [1, 9]),
    ):
        task: dict[str, Any] = {
            "_target_": f"{UNIT}.Task",
            "name": f"{dataset}_{prop}",
            "level": level,
            "property": prop,
            "loss_fn": None,
            "out_spec": {"_target_": f"{UNIT}.OutputSpec", "dim": dim, "dtype": "float32"},
            "normalizer": {
                "_target_": f"{NORMALIZATION}.normalizer.Normalizer",
                "mean": 0.0,
                "rmsd": 1.423,
            },
            "datasets": [dataset],
            "metrics": [],
        }
        if prop == "energy":
            references = (3 * torch.randn(100, dtype=torch.float64)).tolist()
            task["element_references"] = {
                "_target_": f"{NORMALIZATION}.element_references.ElementReferences",
                "element_references": {"_target_": "torch.DoubleTensor", "_args_": [references]},
            }
        if prop != "stress" or dataset in ("omat", "omc"):
            listed.append(task)
    return listed


def evaluate(variant: str, path: str, specs: tuple[str, ...] = STRUCTURES) -> dict[str, Any]:
    """Evaluate a file in float64, experts not merged: ``TASK/STRUCTURE:e``, ``:f`` and ``:s``."""
    settings = InferenceSettings(
        tf32=False,
        activation_checkpointing=False,
        merge_mole=False,
        compile=False,
        base_precision_dtype="float64",
    )
    unit = MLIPPredictUnit(path, device="cpu", inference_settings=settings)
    found = {}
    for task in datasets(variant):
        for spec in (*specs, *(MOLECULES if task == "omol" else MOLECULES[:1])):
            atoms = structure(spec)
            atoms.calc = FAIRChemCalculator(unit, task_name=task)
            found[f"{task}/{spec}:e"] = atoms.get_potential_energy()
            found[f"{task}/{spec}:f"] = atoms.get_forces()
            if atoms.pbc.all():
                found[f"{task}/{spec}:s"] = atoms.get_stress(voigt=False)
    return found


if __name__ == "__main__":
    action, variant, *words = sys.argv[1:]
    if action == "write":
        torch.save(build(variant, int(words[0])), words[1])
    else:
        np.savez_compressed(words[1], **evaluate(variant, words[0]))
