# SPDX-License-Identifier: MIT
"""Train uma-nano on labelled structures; stops and resumes at any time.

Usage: ``[mpiexec -n N] python train.py --data FOLDER [FOLDER ...] --output FOLDER --steps N``

MPI ranks draw batches of their own; rank 0 takes the step along the mean of their gradients.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dataset import TASKS, Labelled, is_held_out, load_folder
from mpi4py import MPI
from network import Network, known_numbers, model_config
from pytorch_optimizer import SOAP
from systems import graph_of, molecules
from torch import nn

from uma_md.graph import Graph

# How often a batch comes from a family: liquids and metals are harder than single molecules.
SHARES = {
    "liquid water": 12, "water droplets": 10, "settled droplets": 30, "water clusters": 8,
    "stretched water": 2, "ice": 2,
    "water molecules": 2, "hydrated ions": 17, "ions": 4, "open shells": 6,
    "organic molecules": 16, "solvated molecules": 28, "metals": 8, "alloys": 10, "slabs": 25,
}  # fmt: skip
EDGES_PER_BATCH = 450
BATCHES_PER_STEP = 3  # of each rank
FORCE_SCALE = 0.6  # eV/angstrom: errors beyond count linearly
MOLECULE_WEIGHT = 4.0  # of forces on whole molecules, which order liquids, against those on atoms
ENERGY_SCALE = 0.03  # eV/atom
VIRIAL_SCALE = 0.3  # eV/atom
VIRIAL_WEIGHT = 1.0  # angstrom per atom
AVERAGE = 0.999


@dataclass(frozen=True)
class Sample:
    """A labelled structure, its graph, and which molecule each atom belongs to."""

    item: Labelled
    graph: Graph
    molecules: np.ndarray

    @property
    def key(self) -> tuple[object, ...]:
        """What structures of one batch have in common."""
        atoms = self.item.atoms
        return self.item.task, self.state, atoms.get_chemical_formula(), self.item.family

    @property
    def state(self) -> tuple[int, int]:
        """Charge and spin multiplicity."""
        return self.item.atoms.info["charge"], self.item.atoms.info["spin"]


def prepare(items: Iterable[Labelled], cutoff: float) -> list[Sample]:
    """Build the graphs of structures."""
    samples = []
    for item in items:
        graph = graph_of(item.atoms, cutoff)
        graph = graph._replace(vectors=graph.vectors.float())
        samples.append(Sample(item, graph, molecules(graph)))
    return samples


def join(samples: list[Sample]) -> tuple[Graph, torch.Tensor, torch.Tensor, torch.Tensor]:
    """One graph of several systems, with their energies, forces and virials."""
    graphs = [sample.graph for sample in samples]
    starts = np.cumsum([0, *(len(graph.atomic_numbers) for graph in graphs)])
    graph = Graph(
        torch.cat([graph.vectors for graph in graphs]),
        torch.cat([graph.senders + start for graph, start in zip(graphs, starts, strict=False)]),
        torch.cat([graph.receivers + start for graph, start in zip(graphs, starts, strict=False)]),
        torch.cat([graph.atomic_numbers for graph in graphs]),
        torch.cat([graph.systems + k for k, graph in enumerate(graphs)]),
        torch.cat([graph.natoms for graph in graphs]),
    )
    energies = torch.tensor([sample.item.energy for sample in samples], dtype=torch.float64)
    forces = np.concatenate([sample.item.forces for sample in samples])
    virials = torch.from_numpy(np.stack([sample.item.virial for sample in samples]))
    return graph, energies, torch.from_numpy(forces).float(), virials.float()


class Batches:
    """Draws batches: a family by its share, a system of it, and frames of that system."""

    def __init__(self, samples: list[Sample], *seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.families: dict[str, dict[tuple[object, ...], list[Sample]]] = {}
        for sample in samples:
            groups = self.families.setdefault(sample.item.family, {})
            groups.setdefault(sample.key, []).append(sample)
        self.names = sorted(self.families)
        shares = np.array([SHARES.get(name, 5) for name in self.names], dtype=float)
        self.shares = shares / shares.sum()

    def draw(self) -> list[Sample]:
        """Frames of one system, up to ``EDGES_PER_BATCH`` edges."""
        groups = list(self.families[self.rng.choice(self.names, p=self.shares)].values())
        sizes = np.array([len(group) for group in groups], dtype=float)
        group = groups[self.rng.choice(len(groups), p=sizes / sizes.sum())]
        chosen: list[Sample] = []
        edges = 0
        for k in self.rng.permutation(len(group)):
            edges += len(group[k].graph.senders)
            if chosen and edges > EDGES_PER_BATCH:
                break
            chosen.append(group[k])
        return chosen


def references(samples: list[Sample]) -> dict[str, torch.Tensor]:
    """Energies of the elements of each task, by least squares."""
    fitted = {}
    for task in TASKS:
        items = [sample.item for sample in samples if sample.item.task == task]
        numbers = known_numbers(task)
        counts = np.array([[(i.atoms.numbers == z).sum() for z in numbers] for i in items]).reshape(
            -1, len(numbers)
        )
        natoms = counts.sum(axis=1, keepdims=True)
        energies = np.array([item.energy for item in items])
        solution = np.linalg.lstsq(counts / natoms, energies / natoms[:, 0], rcond=None)[0]
        table = torch.zeros(100, dtype=torch.float64)
        table[numbers] = torch.from_numpy(solution)
        fitted[task] = table
    return fitted


def loss_of(network: Network, samples: list[Sample], energy_weight: float) -> torch.Tensor:
    """Loss of a batch, all of one task and state."""
    graph, energies, forces, virials = join(samples)
    item = samples[0].item
    found, pull, strained = network(item.task, graph, samples[0].state)
    per_atom = (found - energies).float() / graph.natoms
    loss = _robust((pull - forces).square().sum(dim=1), FORCE_SCALE)
    loss = loss + energy_weight * _robust(per_atom.square(), ENERGY_SCALE)
    if item.task == "omol":
        on_molecules = _by_molecule(samples, pull - forces).square().sum(dim=1)
        loss = loss + MOLECULE_WEIGHT * _robust(on_molecules, FORCE_SCALE)
    if torch.isfinite(virials).all():
        parts = (strained - virials) / graph.natoms.view(-1, 1, 1)
        loss = loss + VIRIAL_WEIGHT * _robust(parts.square().sum(dim=(1, 2)), VIRIAL_SCALE)
    return loss


def _robust(squares: torch.Tensor, scale: float) -> torch.Tensor:
    """Mean loss of squared errors: quadratic where small against the scale, linear where large."""
    return scale * (torch.sqrt(1 + squares / scale**2) - 1).mean()


def _by_molecule(samples: list[Sample], errors: torch.Tensor) -> torch.Tensor:
    """Errors of the forces on molecules, (molecules, 3): sums of those of their atoms."""
    counts = [int(sample.molecules.max()) + 1 for sample in samples]
    starts = np.cumsum([0, *counts])
    rows = [sample.molecules + start for sample, start in zip(samples, starts, strict=False)]
    index = torch.from_numpy(np.concatenate(rows).astype(np.int64))
    return errors.new_zeros(int(starts[-1]), 3).index_add(0, index, errors)


def errors(network: Network, samples: list[Sample]) -> dict[str, tuple[int, float, float]]:
    """Number, RMS force error (meV/angstrom) and RMS energy error (meV/atom) by family."""
    network.eval()
    squares = defaultdict(list)
    for sample in samples:
        graph, energies, forces, _ = join([sample])
        found, pull, _ = network(sample.item.task, graph, sample.state)
        per_atom = float((found - energies).detach() / graph.natoms)
        squares[sample.item.family].append((per_atom**2, (pull - forces).square().mean().item()))
    network.train()
    rows = {}
    for family, pairs in sorted(squares.items()):
        energy, force = np.sqrt(np.mean(pairs, axis=0)) * 1000
        rows[family] = (len(pairs), float(force), float(energy))
    return rows


class Training:
    """The network, its average, the optimizer and the step that they are at."""

    def __init__(
        self, network: Network, steps: int, rate: float, energy_weights: tuple[float, float]
    ) -> None:
        self.network = network
        self.average = copy.deepcopy(network)
        # Adam in the eigenbasis of Shampoo (arXiv:2409.11321).
        self.optimizer = SOAP(network.parameters(), lr=rate, weight_decay=1e-4)
        self.steps = steps
        self.rate = rate
        self.energy_weights = energy_weights  # first and last
        self.done = 0

    def step(self, batches: Batches) -> float:
        """One optimizer step; returns the loss."""
        rate = self.rate * min(1.0, (self.done + 1) / 500)
        rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.done / self.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        first, last = self.energy_weights
        weight = first + (last - first) * self.done / self.steps
        total = 0.0
        for _ in range(BATCHES_PER_STEP):
            loss = loss_of(self.network, batches.draw(), weight) / BATCHES_PER_STEP
            loss.backward()
            total += loss.item()
        parameters = list(self.network.parameters())
        _average_gradients(parameters)
        if MPI.COMM_WORLD.Get_rank() == 0:
            nn.utils.clip_grad_norm_(parameters, 1.0)
            self.optimizer.step()
        _broadcast(parameters)
        self.done += 1
        keep = min(AVERAGE, self.done / (self.done + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        return total

    def save(self, folder: Path) -> None:
        """Write the average as a checkpoint, and what resuming needs."""
        self.average.write(folder / "uma-nano.safetensors")
        state = {
            "config": self.network.config,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
        }
        torch.save(state, folder / "part.pt")
        (folder / "part.pt").replace(folder / "state.pt")

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        _copy(state["network"], self.network)
        _copy(state["average"], self.average)
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = int(state["done"])


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    """Over the ranks; where no rank has any, they are zero."""
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    mean = nn.utils.parameters_to_vector(gradients)
    MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, mean.numpy())
    mean /= MPI.COMM_WORLD.Get_size()
    for each, part in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
        each.grad = part.view_as(each)


def _broadcast(parameters: list[nn.Parameter]) -> None:
    """What rank 0 has, to all."""
    with torch.no_grad():
        values = nn.utils.parameters_to_vector(parameters)
        MPI.COMM_WORLD.Bcast(values.numpy())
        nn.utils.vector_to_parameters(values, parameters)


def _copy(state: dict[str, torch.Tensor], network: Network) -> None:
    """Set the parameters; what ``merge`` left in the buffers has no part."""
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])


def print_errors(rows: dict[str, tuple[int, float, float]]) -> None:
    """A table of errors by family."""
    for family, (count, force, energy) in rows.items():
        print(f"  {family:20} {count:4} {force:8.1f} meV/A {energy:8.2f} meV/atom", flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--experts", type=int, default=32)
    parser.add_argument("--cutoff", type=float, default=4.5)
    parser.add_argument("--start", type=Path, help="checkpoint to start from, with a new schedule")
    parser.add_argument(
        "--energy-weights",
        type=float,
        nargs=2,
        default=(20.0, 60.0),
        metavar=("FIRST", "LAST"),
        help="of energies against forces, angstrom per atom",
    )
    parser.add_argument("--every", type=int, default=500, help="steps between tables of errors")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Train to the given number of steps, from the last saved state where there is one."""
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    options.output.mkdir(parents=True, exist_ok=True)
    items = [item for folder in options.data for item in load_folder(folder)]
    samples = prepare(items, options.cutoff)
    training = [sample for sample in samples if not is_held_out(sample.item)]
    held_out = [sample for sample in samples if is_held_out(sample.item)]
    print(f"{len(training)} structures to learn, {len(held_out)} held out", flush=True)
    config = model_config(options.channels, options.layers, options.cutoff, options.experts)
    network = Network(config, references(training))
    print(f"{sum(p.numel() for p in network.parameters())} parameters", flush=True)
    if options.start:
        network.read(options.start)
    run = Training(network, options.steps, options.rate, options.energy_weights)
    resumed = options.output / "state.pt"
    if resumed.exists():
        run.resume(torch.load(resumed))
    rank = MPI.COMM_WORLD.Get_rank()
    batches = Batches(training, run.done, rank)
    clock, recent = time.perf_counter(), []
    while run.done < options.steps:
        recent.append(run.step(batches))
        if rank > 0:
            continue
        if run.done % 100 == 0:
            seconds = (time.perf_counter() - clock) / len(recent)
            print(f"step {run.done}: loss {np.mean(recent):.4f}, {seconds:.3f} s/step", flush=True)
            run.save(options.output)
            clock, recent = time.perf_counter(), []
        if run.done % options.every == 0 or run.done == options.steps:
            print_errors(errors(run.average, held_out))
            clock = time.perf_counter()
    if rank == 0:
        run.save(options.output)


if __name__ == "__main__":
    main()
