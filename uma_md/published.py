# SPDX-License-Identifier: MIT
"""What the published files call the weights of the network, and how they describe tasks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from uma_md.config import dataset_mapping

# Our names of the weights, as patterns, and what the published files call them.
_PUBLISHED_NAMES = (
    (r"charge_embedding\.weight", "charge_embedding.rand_emb.weight"),
    (r"spin_embedding\.weight", "spin_embedding.rand_emb.weight"),
    (r"task_embedding\.weight", "dataset_embedding.dataset_emb_dict.{task}.weight"),
    (r"system_mixing\.(\w+)", r"mix_csd.\1"),
    (r"routing\.0\.(\w+)", r"routing_mlp.0.\1"),
    (r"routing\.1\.(\w+)", r"routing_mlp.2.\1"),
    (r"routing\.2\.(\w+)", r"routing_mlp.4.\1"),
    (r"composition_embedding\.weight", "composition_embedding.weight"),
    (r"atom_embedding\.weight", "sphere_embedding.weight"),
    (r"geometry\.sender\.weight", "source_embedding.weight"),
    (r"geometry\.receiver\.weight", "target_embedding.weight"),
    (r"first_message\.radial\.(.+)", r"edge_degree_embedding.rad_func.\1"),
    (r"layers\.(\d+)\.message_norm\.(\w+)", r"blocks.\1.norm_1.affine_\2"),
    (r"layers\.(\d+)\.node_norm\.(\w+)", r"blocks.\1.norm_2.affine_\2"),
    (r"layers\.(\d+)\.messages\.radial\.(.+)", r"blocks.\1.edge_wise.so2_conv_1.rad_func.\2"),
    *(
        (rf"layers\.(\d+)\.messages\.{ours}", rf"blocks.\1.edge_wise.{theirs}")
        for which, n in (("first", 1), ("second", 2))
        for ours, theirs in (
            (rf"{which}\.zero\.experts", f"so2_conv_{n}.fc_m0.weights"),
            (rf"{which}\.zero\.bias", f"so2_conv_{n}.fc_m0.bias"),
            (
                rf"{which}\.orders\.(\d+)\.linear\.experts",
                rf"so2_conv_{n}.so2_m_conv.\2.fc.weights",
            ),
        )
    ),
    (r"layers\.(\d+)\.node_update\.gates\.(\w+)", r"blocks.\1.atom_wise.scalar_mlp.0.\2"),
    (r"layers\.(\d+)\.node_update\.first\.(\w+)", r"blocks.\1.atom_wise.so3_linear_1.\2"),
    (r"layers\.(\d+)\.node_update\.second\.(\w+)", r"blocks.\1.atom_wise.so3_linear_2.\2"),
    (r"norm\.(\w+)", r"norm.affine_\1"),
)

# Tables that fairchem-core keeps among the weights and that this package computes.
COMPUTED = re.compile(r"backbone\.(Jd_\d+$|wigner_data\.|SO3_grid\.|mappingReduced\.)")
_OTHER_TASKS = re.compile(r"backbone\.dataset_embedding\.dataset_emb_dict\.")


@dataclass(frozen=True)
class EnergyHead:
    """The head that gives the energy.

    Attributes
    ----------
    name
        In the file's list of heads.
    config
        As in the file.
    wrapped
        Whether a wrapper around it tells tasks apart.
    mixture
        Whether each task has an expert of its own.
    """

    name: str
    config: dict[str, Any]
    wrapped: bool
    mixture: bool

    def index(self, task: str) -> int | None:
        """The expert of a task, None where all tasks share one perceptron."""
        if not self.mixture:
            return None
        mapping = dataset_mapping(self.config, "dataset_names")
        if task not in mapping:
            raise ValueError(f"the checkpoint's energy head does not know task {task!r}")
        return sorted(set(mapping.values())).index(mapping[task])


def published_name(name: str, head: EnergyHead, embedding: str) -> str:
    """The published name of one of our weights, for the task with the given embedding."""
    part = re.fullmatch(r"head\.(\d)\.(\w+)", name)
    if part:
        wrapper = "head." if head.wrapped else ""
        kind = "weights" if head.mixture and part[2] == "weight" else part[2]
        return f"output_heads.{head.name}.{wrapper}energy_block.{part[1]}.{kind}"
    for pattern, replacement in _PUBLISHED_NAMES:
        if re.fullmatch(pattern, name):
            return "backbone." + re.sub(pattern, replacement, name).format(task=embedding)
    raise AssertionError(f"no published name for {name}")


def is_unused(name: str) -> bool:
    """Whether a published weight has no part in a task: a computed table, another task's."""
    return bool(COMPUTED.match(name) or _OTHER_TASKS.match(name))


def _class_name(path: Any) -> str:
    return str(path).rsplit(".", 1)[-1]


def energy_head(model_config: dict[str, Any]) -> EnergyHead:
    """Find the head that gives the energy.

    Raises
    ------
    ValueError
        When there is none, more than one, or one of a kind that is not implemented.
    """
    heads = model_config.get("heads") or {}
    wrappers = ("DatasetSpecificSingleHeadWrapper", "DatasetSpecificMoEWrapper")
    plain = ("MLP_EFS_Head", "MLP_Energy_Head")
    found = []
    for name, head in heads.items():
        kind = _class_name(head.get("module"))
        inner = _class_name(head.get("head_cls")) if kind in wrappers else kind
        if inner not in plain:
            raise ValueError(f"head {name} must be an MLP_EFS_Head, the checkpoint has {inner!r}")
        options = (head.get("head_kwargs") or {}) if kind in wrappers else head
        if options.get("reduce", "sum") != "sum":
            raise ValueError(f"head option reduce must be 'sum', found {options['reduce']!r}")
        mixture = kind == "DatasetSpecificMoEWrapper"
        found.append(EnergyHead(name, head, kind in wrappers, mixture))
    if len(found) != 1:
        raise ValueError(f"the checkpoint must have one energy head, found {len(found)}")
    return found[0]


def energy_tasks(tasks_config: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The energy entries of ``tasks_config`` by the dataset that each serves."""
    energies: dict[str, dict[str, Any]] = {}
    for entry in tasks_config:
        if entry.get("property") == "energy":
            energies.update(dict.fromkeys(entry["datasets"], entry))
    if not energies:
        raise ValueError("the checkpoint's tasks_config must list an energy, found none")
    return energies


def energy_scale(entry: dict[str, Any]) -> float:
    """Scale of the network's energy in one entry of ``tasks_config``, eV."""
    normalizer = entry.get("normalizer") or {}
    if float(normalizer.get("mean", 0.0)) != 0.0:
        raise ValueError(
            f"the energy normalizer's mean must be 0, the checkpoint has {normalizer['mean']}"
        )
    return float(normalizer.get("rmsd", 1.0))


def check_derivatives(
    tasks_config: list[dict[str, Any]], name: str, energy: dict[str, Any]
) -> None:
    """Forces and stress are gradients of the energy only when all share one scale."""
    for entry in tasks_config:
        if name in entry["datasets"] and energy_scale(entry) != energy_scale(energy):
            raise ValueError(
                f"normalizer rmsd of {entry.get('name')} must equal the energy's "
                f"({energy_scale(energy)}), the checkpoint has {energy_scale(entry)}"
            )


def element_references(entry: dict[str, Any]) -> list[float]:
    """Energies of the elements by atomic number in one entry, eV; empty where it has none."""
    config = entry.get("element_references")
    if not config:
        return []
    if _class_name(config.get("_target_")) != "ElementReferences":
        raise ValueError(
            f"element_references must be given as ElementReferences, found {config.get('_target_')}"
        )
    return [float(value) for value in config["element_references"]["_args_"][0]]
