# SPDX-License-Identifier: MIT
"""The network of uma-nano: a UMA of three tasks, trainable, and written as a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
from ase.data import atomic_numbers as numbers_of
from dataset import TASKS
from torch import nn

from uma_md.config import ModelConfig
from uma_md.files.backbone_config import parse_backbone
from uma_md.files.safetensors_checkpoint import write_checkpoint
from uma_md.files.task_config import energy_head
from uma_md.files.weight_names import published_name
from uma_md.graph import Graph
from uma_md.loading import UMASource, cast_constants
from uma_md.model import UMA
from uma_md.nn.experts import MixedLinear
from uma_md.nn.layer import Layer
from uma_md.nn.norm import RMSNorm
from uma_md.nn.so3 import SO3Linear

ELEMENTS = {
    "omol": ("H", "C", "N", "O"),
    "omat": ("Al", "Ni", "Cu", "Pt"),
    "oc20": ("H", "C", "O", "Al", "Ni", "Cu", "Pt"),
}


def model_config(channels: int, layers: int, cutoff: float, experts: int) -> dict[str, Any]:
    """The config in the published form."""
    return {
        "model_id": "uma-nano",
        "supports_single_atoms": False,
        "elements": {task: list(symbols) for task, symbols in ELEMENTS.items()},
        "backbone": {
            "model": "fairchem.core.models.uma.escn_moe.eSCNMDMoeBackbone",
            "num_experts": experts,
            "use_composition_embedding": True,
            "max_num_elements": 100,
            "sphere_channels": channels,
            "lmax": 2,
            "mmax": 2,
            "max_neighbors": 300,
            "cutoff": cutoff,
            "edge_channels": 32,
            "distance_function": "gaussian",
            "num_distance_basis": 32,
            "direct_forces": False,
            "num_layers": layers,
            "hidden_channels": channels,
            "norm_type": "rms_norm_sh",
            "act_type": "gate",
            "ff_type": "spectral",
            "chg_spin_emb_type": "rand_emb",
            "dataset_list": list(TASKS),
        },
        "heads": {
            "energy": {
                "module": "fairchem.core.models.uma.escn_moe.DatasetSpecificMoEWrapper",
                "head_cls": "fairchem.core.models.uma.escn_md.MLP_EFS_Head",
                "head_kwargs": {"wrap_property": False},
                "dataset_names": list(TASKS),
            }
        },
    }


class Network(nn.Module):
    """One UMA per task; all share their parameters but the task's embedding and head.

    Parameters
    ----------
    config
        As ``model_config`` makes it.
    references : {task: (max_num_elements,)}
        Energies of the elements, eV, in float64.
    """

    def __init__(self, config: dict[str, Any], references: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.config = config
        parsed: ModelConfig = parse_backbone(config)
        self.tasks = {task: UMA(parsed, 1.0) for task in TASKS}
        for task, model in self.tasks.items():
            self.add_module(task, model)
            cast_constants(model, torch.float32)
            initialize(model)
            model.references.copy_(references[task])
        first = self.tasks[TASKS[0]]
        for task in TASKS[1:]:
            _share(first, self.tasks[task])

    def forward(self, task: str, graph: Graph, state: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        """Energies (systems,), forces (atoms, 3) and virials (systems, 3, 3); eV, angstrom.

        The systems of ``graph`` have one composition, and charge and spin in common.
        """
        model = self.tasks[task]
        first = graph.atomic_numbers[graph.systems == 0]
        model.merge(torch.bincount(first, minlength=model.max_num_elements), *state)
        vectors = graph.vectors.requires_grad_()
        atoms = _atom_energies(model, graph, vectors)
        energies = torch.zeros(len(graph.natoms), dtype=atoms.dtype)
        energies = energies.index_add(0, graph.systems, atoms)
        (pull,) = torch.autograd.grad(energies.sum(), vectors, create_graph=self.training)
        forces = torch.zeros(len(atoms), 3).index_add(0, graph.receivers, pull)
        forces = forces.index_add(0, graph.senders, -pull)
        products = -vectors.unsqueeze(2) * pull.unsqueeze(1)
        virials = torch.zeros(len(graph.natoms), 3, 3)
        return energies, forces, virials.index_add(0, graph.systems[graph.receivers], products)

    def read(self, path: Path) -> None:
        """Take the parameters and references from a checkpoint of the same or fewer experts."""
        source = UMASource(path)
        with torch.no_grad():
            for task, model in self.tasks.items():
                built = source.build(source.task(task), torch.float32)
                model.references.copy_(built.references)
                for name, parameter in model.named_parameters():
                    parameter.copy_(_grown(name, built.get_parameter(name), parameter.shape))

    def write(self, path: Path) -> None:
        """Write the parameters as a checkpoint in safetensors."""
        head = energy_head(self.config, self._tasks_config())
        weights: dict[str, torch.Tensor] = {}
        for task in TASKS:
            for name, parameter in self.tasks[task].named_parameters():
                published = published_name(name, head, task)
                if _is_head_weight(name):
                    experts = [self.tasks[each].get_parameter(name) for each in TASKS]
                    order = sorted(range(len(TASKS)), key=lambda k: head.index(TASKS[k]) or 0)
                    weights[published] = torch.stack([experts[k] for k in order])
                else:
                    weights[published] = parameter
        write_checkpoint(path, self.config, self._tasks_config(), weights)

    def _tasks_config(self) -> list[dict[str, Any]]:
        return [
            {
                "name": f"{task}_energy",
                "property": "energy",
                "datasets": [task],
                "normalizer": {"mean": 0.0, "rmsd": 1.0},
                "element_references": {
                    "_target_": "fairchem.core.modules.normalization.element_references"
                    ".ElementReferences",
                    "element_references": {
                        "_target_": "torch.DoubleTensor",
                        "_args_": [self.tasks[task].references.tolist()],
                    },
                },
            }
            for task in TASKS
        ]


def _atom_energies(model: UMA, graph: Graph, vectors: torch.Tensor) -> torch.Tensor:
    """The stages without chunks or ranks, the edges' geometry computed once."""
    numbers, senders, receivers = graph.atomic_numbers, graph.senders, graph.receivers
    geometry = model.geometry(vectors, numbers[senders], numbers[receivers])
    x = model.embed(numbers).index_add(0, receivers, model.first_message(*geometry))
    for layer, module in enumerate(cast("list[Layer]", list(model.layers))):
        h = model.normalize(layer, x)
        # Unlike indexing, this adds gradients up without sorting: 8% of a training step.
        ends = h.index_select(0, senders), h.index_select(0, receivers)
        messages = module.messages(*ends, *geometry)
        x = model.update(layer, x, torch.zeros_like(x).index_add(0, receivers, messages))
    return model.readout(x, numbers)


def initialize(model: UMA) -> None:
    """Random weights that keep the size of features through the layers."""
    for module in model.modules():
        if isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, SO3Linear):
            bound = 1 / math.sqrt(module.weight.shape[2])
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)
        elif isinstance(module, MixedLinear):
            # Experts differ, but start from something in common: their mean keeps its size.
            bound = 1 / math.sqrt(module.in_features)
            common = torch.empty_like(module.experts[0]).uniform_(-bound, bound)
            spread = torch.empty_like(module.experts).uniform_(-bound, bound)
            module.experts.data.copy_(common + 0.5 * spread)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _grown(name: str, parameter: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A parameter for more experts: each of the old is there several times, somewhat changed.

    What the network computes changes little: copies share the weight of what they come from.
    """
    times = [new // old for new, old in zip(shape, parameter.shape, strict=True)]
    if math.prod(times) == 1:
        return parameter
    copies = parameter.repeat(times)
    if name.endswith("experts"):
        return copies + 0.05 * parameter.std() * torch.randn(shape)
    if copies.dim() == 2:  # a layer of the routing, whose inputs are copies, too
        copies = copies / times[1]
        copies = copies + 0.3 * copies.std() * torch.randn(shape)
    return copies


def _is_head_weight(name: str) -> bool:
    return name.startswith("head.") and name.endswith("weight")


def _share(source: UMA, target: UMA) -> None:
    for name, parameter in source.named_parameters():
        if _is_head_weight(name) or name == "task_embedding.weight":
            continue
        parent, _, leaf = name.rpartition(".")
        setattr(target.get_submodule(parent), leaf, parameter)


def known_numbers(task: str) -> list[int]:
    """Atomic numbers of a task's elements."""
    return [numbers_of[symbol] for symbol in ELEMENTS[task]]
