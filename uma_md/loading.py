# SPDX-License-Identifier: MIT
"""From a model file to the network of one of its tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers as numbers_of
from ase.data import chemical_symbols

from uma_md.config import CHARGE_RANGE, SPIN_RANGE, ModelConfig
from uma_md.files import exported
from uma_md.files.backbone_config import dataset_mapping, parse_backbone
from uma_md.files.checkpoint import Checkpoint, read_checkpoint
from uma_md.files.metadata import Metadata
from uma_md.files.task_config import (
    check_derivatives,
    element_references,
    energy_head,
    energy_scale,
    energy_tasks,
)
from uma_md.files.validity import check_cutoff, check_finite, check_sizes, valid_config
from uma_md.files.weight_names import COMPUTED, is_unused, published_name
from uma_md.hub.download import resolve
from uma_md.memory import measure_bytes_per_edge, move_network
from uma_md.model import UMA
from uma_md.nn.experts import MixedLinear
from uma_md.options import DTYPE_NAMES
from uma_md.system import default_spin

_OF_CHARGE_AND_SPIN = {
    "charge_embedding.weight": CHARGE_RANGE,
    "spin_embedding.weight": SPIN_RANGE,
}
DTYPES = {name: getattr(torch, name) for name in DTYPE_NAMES}


@dataclass(frozen=True)
class Task:
    """One task of a checkpoint.

    Attributes
    ----------
    name
        Such as ``omol``.
    embedding
        The name whose embedding it uses; empty where the network does not tell tasks apart.
    head
        Index of its expert in the energy head, None where all tasks share one.
    rmsd
        Scale of the network's energy, eV.
    references : list of float
        Energies of the elements by atomic number, eV; empty where the file has none.
    """

    name: str
    embedding: str
    head: int | None
    rmsd: float
    references: list[float]


class UMASource:
    """A checkpoint opened for building networks: config, tasks and access to the weights.

    Parameters
    ----------
    path
        A checkpoint file, or the name of a published model.

    Raises
    ------
    OSError, ValueError
        As ``resolve``, ``read_checkpoint`` and ``parse_backbone`` say.
    """

    def __init__(self, path: str | Path) -> None:
        self.checkpoint: Checkpoint = read_checkpoint(resolve(path))
        model_config = self.checkpoint.model_config
        with valid_config(self.checkpoint):
            self.config: ModelConfig = parse_backbone(model_config)
            self._head = energy_head(model_config, self.checkpoint.tasks_config)
            self._energy_tasks = energy_tasks(self.checkpoint.tasks_config)
            self._embeddings = dict.fromkeys(self._energy_tasks, "")
            if self.config.task_embedding:
                self._embeddings = dataset_mapping(model_config["backbone"], "dataset_list")
            missing = set(self._energy_tasks) - set(self._embeddings)
        check_cutoff(self.config.cutoff)
        if missing:
            raise ValueError(f"the checkpoint has no embedding for its tasks {sorted(missing)}")

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the file's order."""
        return list(self._energy_tasks)

    @property
    def ignored_heads(self) -> dict[str, str]:
        """Heads of the file that do not change the energy, and their kinds."""
        return self._head.ignored

    def task(self, name: str | None) -> Task:
        """Look up a task; None is allowed where the file has only one.

        Raises
        ------
        ValueError
            When the name is unknown, or needed and not given.
        """
        if name is None and len(self.tasks) == 1:
            name = self.tasks[0]
        if name is None or name not in self._energy_tasks:
            found = "none was given" if name is None else f"found {name!r}"
            raise ValueError(f"task must be one of {', '.join(self.tasks)}; {found}")
        entry = self._energy_tasks[name]
        with valid_config(self.checkpoint):
            check_derivatives(self.checkpoint.tasks_config, name, entry)
            task = Task(
                name,
                self._embeddings[name],
                self._head.index(name),
                energy_scale(entry),
                element_references(entry),
            )
        check_finite("the energy's scale and references", [task.rmsd, *task.references])
        return task

    def build(self, task: Task, dtype: torch.dtype) -> UMA:
        """Build the network of one task with the averaged weights, on the CPU."""
        check_sizes(self.checkpoint, self.config)
        model = UMA(self.config, task.rmsd)
        cast_constants(model, dtype)
        waves = self.config.waves
        published = {
            name: published_name(name, self._head, task.embedding, waves=waves)
            for name in stored_weights(model)
        }
        self._check_names(set(published.values()))
        read = self.checkpoint.read(sorted(set(published.values())), dtype)
        state = {name: read.pop(source) for name, source in published.items()}
        if task.head is not None:
            for name in state:
                if name.startswith("head.") and name.endswith("weight"):
                    state[name] = state[name][task.head].clone()
        if self.config.waves:
            _expand_waves(state, self.config.channels)
        _check_shapes(model, state)
        model.load_state_dict(state, strict=False, assign=True)
        references = task.references[: self.config.max_num_elements]
        model.references[: len(references)] = torch.tensor(references, dtype=torch.float64)
        return model.requires_grad_(False).eval()

    def metadata(self, task: Task, dtype: str, charge: int, spin: int) -> Metadata:
        """The record of a task's network, all but the checksum of its source."""
        c = self.config
        check_sizes(self.checkpoint, c)
        single = UMA(replace(c, num_experts=min(1, c.num_experts)), task.rmsd)
        single.requires_grad_(False)
        cast_constants(single.to(DTYPES[dtype]), DTYPES[dtype])
        sizes = {name: math.prod(w.shape) for name, w in self.checkpoint.weights.items()}
        active = {name: weight.numel() for name, weight in stored_weights(single).items()}
        if c.waves:
            active.update(dict.fromkeys(_OF_CHARGE_AND_SPIN, c.channels // 2))
        return Metadata(
            model_id=c.model_id,
            task=task.name,
            charge=charge,
            spin=spin,
            elements=self.elements(task),
            cutoff=c.cutoff,
            dtype=dtype,
            torch_version=torch.__version__.split("+")[0],
            composition=None,
            composition_exact=c.composition_counts_itself,
            supports_single_atoms=c.supports_single_atoms,
            max_neighbors=c.max_neighbors,
            num_layers=c.num_layers,
            lmax=c.lmax,
            mmax=c.mmax,
            sphere_channels=c.channels,
            bytes_per_edge=measure_bytes_per_edge(single, DTYPES[dtype]),
            parameters_total=sum(n for name, n in sizes.items() if not COMPUTED.match(name)),
            parameters_active=sum(active.values()),
            source=self.checkpoint.path.name,
            source_sha256="",
        )

    def elements(self, task: Task) -> tuple[str, ...]:
        """What a task knows, by atomic number: all that the tables have, or what the file lists.

        Elements between that it does not know are empty.

        Raises
        ------
        ValueError
            When the file lists elements that its tables do not have.
        """
        rows = self.config.max_num_elements
        symbols = chemical_symbols[1 : min(rows, len(task.references) or rows)]
        listed = self.config.elements.get(task.name)
        if listed is None:
            return tuple(symbols)
        unknown = set(listed) - set(symbols)
        if unknown or not listed:
            raise ValueError(
                f"the elements of task {task.name} must be those of its tables, the checkpoint "
                f"lists {sorted(unknown)}"
            )
        last = max(symbols.index(symbol) for symbol in listed)
        return tuple(symbol if symbol in listed else "" for symbol in symbols[: last + 1])

    def _check_names(self, used: set[str]) -> None:
        """Every weight of the file must be one that the network uses or knows of."""
        present = set(self.checkpoint.weights)
        missing = sorted(used - present)
        if missing:
            raise ValueError(
                f"the checkpoint lacks the weight {missing[0]} ({len(missing)} in all)"
            )
        unknown = sorted(name for name in present - used if not is_unused(name, self._head))
        if unknown:
            raise ValueError(
                f"the checkpoint has the weight {unknown[0]} ({len(unknown)} such in all), "
                "which uma-md does not know: a newer uma-md may read this checkpoint"
            )


def load_model(
    path: str | Path,
    task: str | None,
    dtype: str,
    device: torch.device,
    *,
    trust_code: bool = False,
) -> tuple[Any, Metadata]:
    """Load the network of one task from a checkpoint or from an exported file.

    Parameters
    ----------
    path
        The file, or the name of a published checkpoint.
    task
        Needed for a checkpoint of several tasks; an exported file has one.
    dtype
        ``float32`` or ``float64``, for a checkpoint; an exported file has its own.
    device
        Where to put the network.
    trust_code
        Run the code of a file that ``uma-md export`` did not write.

    Raises
    ------
    OSError, ValueError
        In one sentence, what must hold and what was found.
    """
    path = resolve(path)
    if path.is_file() and exported.is_exported(path):
        module, metadata = exported.load(path, device, trust_code=trust_code)
        if task not in (None, metadata.task):
            raise ValueError(f"{path} is exported for task {metadata.task}, found task {task!r}")
        return module, metadata
    source = UMASource(path)
    chosen = source.task(task)
    metadata = source.metadata(chosen, dtype, 0, default_spin(chosen.name))
    network = source.build(chosen, DTYPES[dtype])
    move_network(network, device)
    return network, metadata


def counts_tensor(counts: Mapping[str, int], size: int) -> torch.Tensor:
    """Atoms per element as the table by atomic number that ``UMA.merge`` takes."""
    table = torch.zeros(size, dtype=torch.int64)
    for symbol, count in counts.items():
        table[numbers_of[symbol]] = count
    return table


def cast_constants(model: UMA, dtype: torch.dtype) -> None:
    """Give the network's computed tables their dtype; what sums over systems stays in float64."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point() and name not in ("references", "targets"):
                setattr(module, name, buffer.to(dtype))


def stored_weights(model: UMA) -> dict[str, torch.Tensor]:
    """What a network takes from its file: parameters, and plain maps where it has no experts."""
    stored: dict[str, torch.Tensor] = {}
    stored.update((name, weight) for name, weight in model.named_parameters() if weight.numel())
    if model.num_experts == 0:
        for name, module in model.named_modules():
            if isinstance(module, MixedLinear):
                stored[f"{name}.weight"] = module.weight
    return stored


def wave_table(
    frequencies: torch.Tensor, limits: tuple[int, int], *, zero_is_null: bool
) -> torch.Tensor:
    """Sines and cosines of 2 pi n f for each integer n within limits, (integers, 2 frequencies).

    Parameters
    ----------
    frequencies : (frequencies,)
    limits
        The first and the last integer.
    zero_is_null
        Whether the row of 0 is zero, as that of a spin that is not given.
    """
    integers = torch.arange(limits[0], limits[1] + 1, dtype=torch.float64)
    angles = 2 * torch.pi * integers.unsqueeze(1) * frequencies.double()
    table = torch.cat((angles.sin(), angles.cos()), dim=1)
    if zero_is_null:
        table[-limits[0]] = 0
    return table.to(frequencies.dtype)


def _expand_waves(state: dict[str, torch.Tensor], channels: int) -> None:
    """Replace the frequencies of charge and spin by their tables."""
    for weight, limits in _OF_CHARGE_AND_SPIN.items():
        name = weight.partition("_")[0]
        if state[weight].shape != (channels // 2,):
            raise ValueError(
                f"frequencies of {name} must be half as many as the checkpoint's channels, "
                f"{channels}; found a weight of shape {tuple(state[weight].shape)}"
            )
        state[weight] = wave_table(state[weight], limits, zero_is_null=name == "spin")


def _check_shapes(model: UMA, state: dict[str, torch.Tensor]) -> None:
    for name, parameter in stored_weights(model).items():
        if parameter.shape != state[name].shape:
            raise ValueError(
                f"weight {name} must have shape {tuple(parameter.shape)} by the checkpoint's "
                f"config, found {tuple(state[name].shape)}"
            )
