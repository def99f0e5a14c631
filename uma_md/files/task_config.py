# SPDX-License-Identifier: MIT
"""What a published checkpoint says of its tasks: energy head, scales, element references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uma_md.files.backbone_config import dataset_mapping


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
