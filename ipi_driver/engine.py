# SPDX-License-Identifier: MIT
"""From structures to energies, forces and virials: the one place where a model is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from ipi_driver.batching import Batcher
from ipi_driver.neighbors import PairStore, Reach
from uma_md.evaluator import Evaluator, atomic_forces, virials
from uma_md.loading import DTYPES, counts_tensor
from uma_md.metadata import Metadata, count_elements
from uma_md.placement import Placement

MOST_ATOMS = 65536  # evaluated at once, so that a batch's memory has a bound


class Findings(NamedTuple):
    """What a model says of a batch of structures.

    Attributes
    ----------
    energies : (batch, atoms), eV
    forces : (batch, atoms, 3), eV/angstrom
    virials : (batch, 3, 3), eV
        -dE/dstrain, symmetric.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray


class Engine(Protocol):
    """Evaluates structures of the same atoms with one task of a model."""

    @property
    def metadata(self) -> Metadata:
        """What the model says of itself."""

    @property
    def place(self) -> str:
        """Where it computes, in words."""

    @property
    def built(self) -> int:
        """Neighbor lists made so far."""

    def load(self, task: str | None) -> None:
        """Load the network of a task; None where the file has only one."""

    def merge(self, charge: int, spin: int) -> None:
        """Fit the network to the atoms, a total charge (e) and a spin multiplicity."""

    def evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Findings:
        """Evaluate (batch, 3, 3) cells and (batch, atoms, 3) positions, in angstrom."""


Loader = Callable[[str | None], tuple[Any, Metadata]]


class LocalEngine:
    """Evaluates on one device of this process.

    Parameters
    ----------
    loader
        Loads the network of a task, and what it says of itself.
    atomic_numbers : (atoms,)
    pbc : (3,)
    placement
        The device, and how many processes share it.
    skin
        How far beyond the cutoff pairs are kept, angstrom.
    """

    def __init__(
        self,
        loader: Loader,
        atomic_numbers: np.ndarray,
        pbc: np.ndarray,
        placement: Placement,
        skin: float,
    ) -> None:
        self._loader = loader
        self._numbers = atomic_numbers
        self._pbc = pbc
        self._placement = placement
        self._skin = skin

    @property
    def place(self) -> str:
        """The device."""
        return str(self._placement.device)

    @property
    def built(self) -> int:
        """Neighbor lists made so far."""
        return self._store.built

    @property
    def reach(self) -> Reach:
        """How far atoms see."""
        return Reach(self.metadata.cutoff, self._skin)

    def load(self, task: str | None) -> None:
        """Load the network of a task.

        Raises
        ------
        OSError, ValueError
            When the loader says so, or the model does not know the atoms.
        """
        self._model, self.metadata = self._loader(task)
        self.metadata.check_elements(self._numbers)
        device = self._placement.device
        self._evaluator = self.new_evaluator()
        self._store = PairStore(self._pbc, self.reach, device)
        self._batcher = Batcher(
            self._numbers,
            self._store,
            self.metadata.cutoff,
            self.metadata.max_neighbors,
            device,
        )

    def new_evaluator(self) -> Evaluator:
        """Make an evaluator of the loaded network."""
        return Evaluator(
            self._model,
            self.metadata.bytes_per_edge,
            chunk=1024 if self._placement.device.type == "cpu" else 16384,
            sharers=self._placement.sharers,
        )

    def merge(self, charge: int, spin: int) -> None:
        """Merge the experts for the atoms, a charge and a spin multiplicity."""
        counts = count_elements(self._numbers)
        self.metadata.check_system(counts, charge, spin)
        with torch.no_grad():
            table = counts_tensor(counts, self._model.max_num_elements)
            self._model.merge(table, charge, spin)

    def evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Findings:
        """Evaluate a batch, as one graph where it is not too large."""
        return in_parts(self._evaluate, MOST_ATOMS, cells, positions)

    def _evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Findings:
        graph = self._batcher.graph(cells, positions)
        graph = graph._replace(vectors=graph.vectors.to(DTYPES[self.metadata.dtype]))
        energies, gradients = self._evaluator(graph)
        return Findings(
            energies.reshape(positions.shape[:2]).cpu().numpy(),
            atomic_forces(graph, gradients).reshape(positions.shape).cpu().numpy(),
            symmetric(virials(graph, gradients).cpu().numpy()),
        )


def symmetric(virials: np.ndarray) -> np.ndarray:
    """The symmetric part of (batch, 3, 3) virials: the other is rounding."""
    return 0.5 * (virials + virials.transpose(0, 2, 1))


def in_parts(
    evaluate: Callable[[np.ndarray, np.ndarray], Findings],
    most_atoms: int,
    cells: np.ndarray,
    positions: np.ndarray,
) -> Findings:
    """Evaluate a batch, at most so many atoms at a time, or else one structure."""
    count = max(1, most_atoms // positions.shape[1])
    parts = [
        evaluate(cells[start : start + count], positions[start : start + count])
        for start in range(0, len(positions), count)
    ]
    return parts[0] if len(parts) == 1 else Findings(*map(np.concatenate, zip(*parts, strict=True)))
