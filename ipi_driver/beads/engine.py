# SPDX-License-Identifier: MIT
"""From structures to energies, forces and virials: the one place where a model is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from uma_md.batching import Batcher
from uma_md.committee import AnyPotential, members_of
from uma_md.files.metadata import Metadata
from uma_md.neighbors import PairStore, Reach
from uma_md.properties import Properties, joined

MOST_ATOMS = 65536  # evaluated at once, so that a batch's memory has a bound

Loader = Callable[[str | None], AnyPotential]


class Engine(Protocol):
    """Evaluates structures of the same atoms with one task of a model."""

    @property
    def metadata(self) -> Metadata:
        """What the model says of itself."""

    @property
    def records(self) -> tuple[Metadata, ...]:
        """What each member of a committee says of itself, or the one model."""

    @property
    def hardware(self) -> str:
        """What it computes on, in words."""

    @property
    def engine(self) -> str:
        """What computes messages, ``kernels`` or ``portable``."""

    @property
    def precision(self) -> str:
        """What products of matrices are computed in, as the option says, or ``float64``."""

    @property
    def built(self) -> int:
        """Neighbor lists made so far."""

    def load(self, task: str | None) -> None:
        """Load the network of a task; None where the file has only one."""

    def merge(self, charge: int, spin: int) -> None:
        """Fit the network to the atoms, a total charge (e) and a spin multiplicity."""

    def evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Properties:
        """Evaluate (batch, 3, 3) cells and (batch, atoms, 3) positions, in angstrom."""


class LocalEngine:
    """Evaluates on one device of this process.

    Parameters
    ----------
    loader
        Loads the network of a task.
    atomic_numbers : (atoms,)
    pbc : (3,)
    device
    skin
        How far beyond the cutoff pairs are kept, angstrom.

    Attributes
    ----------
    potential
        The loaded network.
    """

    def __init__(
        self,
        loader: Loader,
        atomic_numbers: np.ndarray,
        pbc: np.ndarray,
        device: torch.device,
        skin: float,
    ) -> None:
        self._loader = loader
        self._numbers = atomic_numbers
        self._pbc = pbc
        self._device = device
        self._skin = skin

    @property
    def metadata(self) -> Metadata:
        """What the model says of itself."""
        return self.potential.metadata

    @property
    def records(self) -> tuple[Metadata, ...]:
        """What each member of a committee says of itself, or the one model."""
        return tuple(member.metadata for member in members_of(self.potential))

    @property
    def hardware(self) -> str:
        """The device."""
        return str(self._device)

    @property
    def engine(self) -> str:
        """What computes messages, ``kernels`` or ``portable``."""
        return self.potential.engine

    @property
    def precision(self) -> str:
        """What products of matrices are computed in, as the option says, or ``float64``."""
        return self.potential.precision

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
        self.potential = self._loader(task)
        self.metadata.check_elements(self._numbers)
        self._store = PairStore(self._pbc, self.reach, self._device)
        self._batcher = Batcher(
            self._numbers,
            self._store,
            self.metadata.cutoff,
            self.metadata.max_neighbors,
            self._device,
        )

    def merge(self, charge: int, spin: int) -> None:
        """Merge the experts for the atoms, a charge and a spin multiplicity."""
        self.potential.merge(self._numbers, charge, spin)

    def evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Properties:
        """Evaluate a batch, as one graph where it is not too large."""
        return in_parts(self._evaluate, MOST_ATOMS, cells, positions)

    def _evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Properties:
        return self.potential.properties(self._batcher.graph(cells, positions))


def in_parts(
    evaluate: Callable[[np.ndarray, np.ndarray], Properties],
    most_atoms: int,
    cells: np.ndarray,
    positions: np.ndarray,
) -> Properties:
    """Evaluate a batch, at most so many atoms at a time, or else one structure."""
    count = max(1, most_atoms // positions.shape[1])
    parts = [
        evaluate(cells[start : start + count], positions[start : start + count])
        for start in range(0, len(positions), count)
    ]
    return joined(parts)
