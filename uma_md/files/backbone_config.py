# SPDX-License-Identifier: MIT
"""What a published checkpoint's ``model_config`` says of the network, checked and made plain."""

from __future__ import annotations

from typing import Any

from uma_md.config import ModelConfig


def parse_backbone(model_config: dict[str, Any]) -> ModelConfig:
    """Read the backbone's part of a published ``model_config``.

    Raises
    ------
    ValueError
        When the model is neither a UMA mixture of experts of generation 1.1 or later nor an
        eSEN model whose forces are gradients, or an option has a value that this package does
        not implement; the text names it.
    """
    backbone = dict(model_config.get("backbone") or {})
    plain = _is_plain(str(backbone.pop("model", "")))
    options = {**_REQUIRED, **({"num_experts": 0} if plain else {}), **_DEFAULTS, **backbone}
    _refuse_direct_forces(options, model_config)
    experts = _num_experts(options, plain)
    model_id = _model_id(model_config, backbone) if experts else _esen_id(model_config)
    _refuse_unsupported(options, experts)
    lmax, mmax = int(options["lmax"]), int(options["mmax"])
    if not (1 <= lmax <= 6 and 0 <= mmax <= lmax):
        raise ValueError(
            f"lmax must be 1 to 6 and mmax 0 to lmax, the checkpoint has lmax {lmax}, mmax {mmax}"
        )
    charge = _channel_range(options, "charge_balanced_channels")
    spin = _channel_range(options, "spin_balanced_channels")
    if max(charge[0], spin[0]) < min(charge[1], spin[1]):
        raise ValueError("charge_balanced_channels and spin_balanced_channels must not overlap")
    return ModelConfig(
        model_id=model_id,
        channels=int(options["sphere_channels"]),
        hidden_channels=int(options["hidden_channels"]),
        edge_channels=int(options["edge_channels"]),
        lmax=lmax,
        mmax=mmax,
        num_layers=int(options["num_layers"]),
        num_experts=experts,
        cutoff=float(options["cutoff"]),
        num_distance_basis=int(options["num_distance_basis"]),
        max_num_elements=int(options["max_num_elements"]),
        max_neighbors=int(options["max_neighbors"]),
        charge_channels=charge,
        spin_channels=spin,
        composition_counts_itself=model_id == "UMA-S-1.2",
        supports_single_atoms=bool(model_config.get("supports_single_atoms", False)),
        task_embedding=bool(options["use_dataset_embedding"]),
        waves=options["chg_spin_emb_type"] == "pos_emb",
        elements={
            str(task): tuple(map(str, symbols))
            for task, symbols in (model_config.get("elements") or {}).items()
        },
    )


def dataset_mapping(config: dict[str, Any], list_key: str) -> dict[str, str]:
    """Read ``dataset_mapping`` or, in older files, a plain list of names under ``list_key``.

    Raises
    ------
    ValueError
        When the config has both, neither, or names that lead nowhere.
    """
    names, mapping = config.get(list_key), config.get("dataset_mapping")
    if (names is None) == (mapping is None):
        raise ValueError(f"the checkpoint's config must give either {list_key} or dataset_mapping")
    mapping = {name: name for name in names or ()} if mapping is None else dict(mapping)
    unknown = set(mapping.values()) - set(mapping)
    if unknown or not mapping:
        raise ValueError(f"dataset_mapping must lead to its own names, found {sorted(unknown)}")
    return mapping


def _is_plain(kind: str) -> bool:
    """Whether a backbone of this kind has no experts."""
    if kind.endswith("eSCNMDMoeBackbone") or kind == "escnmd_moe_backbone":
        return False
    if kind.endswith("eSCNMDBackbone") or kind == "escnmd_backbone":
        return True
    raise ValueError(
        "the checkpoint must hold a UMA or an eSEN model (backbone eSCNMDMoeBackbone or "
        f"eSCNMDBackbone), found {kind!r}"
    )


def _refuse_direct_forces(options: dict[str, Any], model_config: dict[str, Any]) -> None:
    if not options["direct_forces"]:
        return
    heads = ", ".join(map(str, model_config.get("heads") or {}))
    raise ValueError(
        "the forces must be the gradient of the energy, the checkpoint is a direct-force model "
        f"(direct_forces {options['direct_forces']!r}, heads {heads}): such forces do not conserve "
        "energy; take a conserving model, such as esen-sm-conserving-all-omol"
    )


def _num_experts(options: dict[str, Any], plain: bool) -> int:
    if options["num_experts"] is _MISSING:
        raise ValueError("the checkpoint's config lacks num_experts")
    experts = int(options["num_experts"])
    if experts < 0 or (plain and experts):
        limit = "0 in an eSCNMDBackbone" if plain else "0 or more"
        raise ValueError(f"num_experts must be {limit}, the checkpoint has {experts}")
    return experts


def _esen_id(model_config: dict[str, Any]) -> str:
    name = model_config.get("model_id")
    return name if isinstance(name, str) and name.strip() else "eSEN"


def _model_id(model_config: dict[str, Any], backbone: dict[str, Any]) -> str:
    name = model_config.get("model_id")
    if isinstance(name, str) and name.strip():
        return name
    if str(backbone.get("model_version")) == "1.1":
        return "UMA-1.1"
    raise ValueError(
        "the checkpoint must be UMA 1.1 or later; this file has neither model_id nor "
        "model_version 1.1, as UMA 1.0 files do, which are deprecated and not supported: "
        "download uma-s-1p1 or a later model"
    )


def _channel_range(options: dict[str, Any], name: str) -> tuple[int, int]:
    channels = sorted(int(channel) for channel in options[name] or [])
    if not channels:
        return 0, 0
    if channels != list(range(channels[0], channels[-1] + 1)):
        raise ValueError(f"{name} must be contiguous, the checkpoint has {channels}")
    return channels[0], channels[-1] + 1


def _refuse_unsupported(options: dict[str, Any], experts: int) -> None:
    for name, value in options.items():
        if not experts and name in _OF_EXPERTS:
            continue
        if name in _SUPPORTED:
            if value not in _SUPPORTED[name]:
                known = " or ".join(repr(choice) for choice in _SUPPORTED[name])
                raise ValueError(
                    f"config option {name} must be {known}, the checkpoint has {value!r}, "
                    "which uma-md does not implement"
                )
        elif name not in _REQUIRED and name not in _WITHOUT_EFFECT:
            raise ValueError(
                f"config option {name} (here {value!r}) is unknown to uma-md, and may change "
                "the model's numbers: a newer uma-md may read this checkpoint"
            )
    missing = [name for name in _REQUIRED if options[name] is _MISSING]
    if missing:
        raise ValueError(f"the checkpoint's config lacks {', '.join(missing)}")


_MISSING = object()

# Values that are read, with fairchem-core's defaults where it has safe ones.
_REQUIRED: dict[str, object] = {
    "sphere_channels": _MISSING,
    "hidden_channels": _MISSING,
    "edge_channels": _MISSING,
    "lmax": _MISSING,
    "mmax": _MISSING,
    "num_layers": _MISSING,
    "num_experts": _MISSING,
    "cutoff": _MISSING,
    "num_distance_basis": _MISSING,
    "max_num_elements": 100,
    "max_neighbors": 300,
    "charge_balanced_channels": None,
    "spin_balanced_channels": None,
    "dataset_list": None,
    "dataset_mapping": None,
    "model_version": None,
}

# Options with the values that are implemented.
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "use_composition_embedding": (True,),
    "use_dataset_embedding": (True, False),
    "use_global_embedding": (False,),
    "moe_expert_coefficient_norm": ("softmax",),
    "moe_layer_type": ("pytorch", "dgl"),
    "moe_single": (False,),
    "moe_type": ("so2",),
    "layers_moe": (None,),
    "distance_function": ("gaussian",),
    "norm_type": ("rms_norm_sh",),
    "act_type": ("gate",),
    "ff_type": ("spectral",),
    "chg_spin_emb_type": ("rand_emb", "pos_emb"),
    "direct_forces": (False,),
    "direct_stress": (False,),
}

# Options that say nothing where there are no experts.
_OF_EXPERTS = {
    "use_composition_embedding",
    "use_global_embedding",
    "moe_expert_coefficient_norm",
    "moe_layer_type",
    "moe_single",
    "moe_type",
    "layers_moe",
}

# fairchem-core's defaults of the options above, for files that leave them out.
_DEFAULTS: dict[str, object] = {
    "use_composition_embedding": False,
    "use_dataset_embedding": True,
    "direct_forces": True,
    "ff_type": "grid",
    "chg_spin_emb_type": "pos_emb",
}

# Options of training, of graph building and of execution that leave the numbers as they are.
_WITHOUT_EFFECT = {
    "moe_dropout",
    "composition_dropout",
    "act",
    "grid_resolution",
    "num_sphere_samples",
    "otf_graph",
    "use_pbc",
    "use_pbc_single",
    "always_use_pbc",
    "regress_forces",
    "regress_stress",
    "regress_hessian",
    "hessian_vmap",
    "activation_checkpointing",
    "cs_emb_grad",
    "dataset_emb_grad",
    "use_cuda_graph_wigner",
    "use_quaternion_wigner",
    "radius_pbc_version",
    "edge_chunk_size",
    "execution_mode",
}
