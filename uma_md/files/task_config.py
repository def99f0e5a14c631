# SPDX-License-Identifier: MIT
"""What a published checkpoint says of its tasks: energy head, scales, element references."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from uma_md.files.backbone_config import dataset_mapping

_WRAPPERS = ("DatasetSpecificSingleHeadWrapper", "DatasetSpecificMoEWrapper")
_ENERGY_HEADS = ("MLP_EFS_Head", "MLP_Energy_Head")
# What heads give that leave the energy as it is.
_OTHER_HEADS = {
    "Linear_Force_Head": ("forces",),
    "MLP_Stress_Head": ("stress",),
    "Hessian_Head": ("hessian",),
    "ChargeSpinHead": ("charge", "spin"),
}


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
    ignored
        The file's other heads, which do not change the energy, with their kinds.
    """

    name: str
    config: dict[str, Any]
    wrapped: bool
    mixture: bool
    ignored: dict[str, str] = field(default_factory=dict)

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


def energy_head(model_config: dict[str, Any], tasks_config: list[dict[str, Any]]) -> EnergyHead:
    """Find the head that gives the energy.

    Raises
    ------
    ValueError
        When there is none, more than one, or one of a kind that is not implemented; when
        another head gives the energy or the forces of a task.
    """
    heads = model_config.get("heads") or {}
    found, others = [], {}
    for name, head in heads.items():
        kind = _kind(head)
        if kind in _OTHER_HEADS:
            others[str(name)] = kind
            continue
        if kind not in _ENERGY_HEADS:
            raise ValueError(f"head {name} must be an MLP_EFS_Head, the checkpoint has {kind!r}")
        options = (head.get("head_kwargs") or {}) if _is_wrapped(head) else head
        if options.get("reduce", "sum") != "sum":
            raise ValueError(f"head option reduce must be 'sum', found {options['reduce']!r}")
        found.append(name)
    if len(found) != 1:
        raise ValueError(f"the checkpoint must have one energy head, found {len(found)}")
    if others:
        _check_sources(model_config, tasks_config, found[0])
    head = heads[found[0]]
    mixture = _class_name(head.get("module")) == "DatasetSpecificMoEWrapper"
    return EnergyHead(found[0], head, _is_wrapped(head), mixture, others)


def _is_wrapped(head: dict[str, Any]) -> bool:
    return _class_name(head.get("module")) in _WRAPPERS


def _kind(head: dict[str, Any]) -> str:
    return _class_name(head.get("head_cls" if _is_wrapped(head) else "module"))


def _check_sources(
    model_config: dict[str, Any], tasks_config: list[dict[str, Any]], energy: str
) -> None:
    """Refuse energies or forces that fairchem-core takes from another head than the energy's."""
    for entry in tasks_config:
        prop, name = entry.get("property"), entry.get("name")
        if prop not in ("energy", "forces"):
            continue
        source = _source(model_config, name)
        if source not in (None, energy):
            raise ValueError(
                f"{name} must come from the energy head {energy} or its gradient, the "
                f"checkpoint takes it from head {source} ({_kind(model_config['heads'][source])})"
            )


def _source(model_config: dict[str, Any], task: Any) -> str | None:
    """The head whose output is that of a task, by its name; None where no name is the task's.

    Outputs have the names of their heads, or, where these are passed through, names of their
    own; of several with one name fairchem-core takes that of the last head.
    """
    heads = model_config["heads"]
    if not model_config.get("pass_through_head_outputs"):
        return task if task in heads else None
    giving = [name for name in sorted(heads) if task in _outputs(heads[name])]
    return giving[-1] if giving else None


def _outputs(head: dict[str, Any]) -> set[str]:
    """Names of what a head gives."""
    given = _OTHER_HEADS.get(_kind(head), ("energy", "forces", "stress"))
    if _is_wrapped(head):
        names = head.get("dataset_names") or head.get("dataset_mapping") or ()
        return {f"{name}_{prop}" for name in names for prop in given}
    prefix = f"{head['prefix']}_" if head.get("prefix") else ""
    return {f"{prefix}{prop}" for prop in given}


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
