# SPDX-License-Identifier: MIT
"""Structures of the same atoms side by side, as the graph of one evaluation."""

from __future__ import annotations

from operator import is_not

import numpy as np
import torch

from uma_md.candidates import Candidates, side_by_side
from uma_md.edge_selection import EdgeSelector
from uma_md.graph import Graph, Limits
from uma_md.neighbors import PairList, PairStore, Reach
from uma_md.system import System

MOST_FOLLOWED = 32  # structures, such as the images of a path


class Batcher:
    """Makes one graph of many structures; their edges follow each other.

    Parameters
    ----------
    atomic_numbers : (atoms,)
        Of every structure.
    store
        Where pair lists come from.
    cutoff
        angstrom.
    max_neighbors
        More neighbors than this are an error.
    device
        Where edges are computed.
    """

    def __init__(
        self,
        atomic_numbers: np.ndarray,
        store: PairStore,
        cutoff: float,
        max_neighbors: int,
        device: torch.device,
    ) -> None:
        self._numbers = torch.from_numpy(atomic_numbers.astype(np.int64)).to(device)
        self._store = store
        self._limits = Limits(cutoff, max_neighbors)
        self._select = EdgeSelector()
        self._device = device
        self._lists: list[PairList] = []  # of the latest batch

    def graph(self, cells: np.ndarray, positions: np.ndarray) -> Graph:
        """The graph of a batch, vectors in float64.

        Parameters
        ----------
        cells : (batch, 3, 3), angstrom
        positions : (batch, atoms, 3), angstrom

        Raises
        ------
        ValueError
            When two atoms are at the same position, or an atom has too many neighbors.
        """
        batch, natoms = positions.shape[:2]
        found = [self._store.find(*pair) for pair in zip(positions, cells, strict=True)]
        edges = self._select(
            self._candidates([pairs for pairs, _ in found]),
            self._tensor(np.concatenate([aligned.positions for _, aligned in found])),
            self._tensor(cells),
            torch.arange(natoms, device=self._device).repeat(batch),
            self._limits,
            max(pairs.shells(aligned.bound) for pairs, aligned in found),
        )
        systems = torch.arange(batch, device=self._device)
        return Graph(
            *edges,
            atomic_numbers=self._numbers.repeat(batch),
            systems=systems.repeat_interleave(natoms),
            natoms=torch.full_like(systems, natoms),
        )

    def _candidates(self, lists: list[PairList]) -> Candidates:
        """The pairs of all structures, kept while their lists are the same."""
        if len(lists) != len(self._lists) or any(map(is_not, lists, self._lists)):
            self._kept = side_by_side([pairs.candidates for pairs in lists])
            self._lists = lists
        return self._kept

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


class Follower:
    """Makes the graphs of one structure after another, as of a trajectory.

    Pairs are kept while atoms move little, or while some of the latest structures come again. No
    result depends on it, but for rounding.

    Parameters
    ----------
    limits
    device
        Where edges are computed.
    skin
        How far beyond the cutoff pairs are kept, angstrom.
    """

    def __init__(self, limits: Limits, device: torch.device, skin: float = 0.0) -> None:
        self._limits = limits
        self._device = device
        self._skin = skin
        self._made_for: tuple[list[int], list[bool]] | None = None

    def graph(self, system: System) -> Graph:
        """The graph of a structure, vectors in float64.

        Raises
        ------
        ValueError
            When two atoms are at the same position, or an atom has too many neighbors.
        """
        numbers, pbc = np.asarray(system.atomic_numbers), np.asarray(system.pbc, dtype=bool)
        if self._made_for != (numbers.tolist(), pbc.tolist()):
            reach = Reach(self._limits.cutoff, self._skin)
            store = PairStore(pbc, reach, self._device, most_lists=MOST_FOLLOWED)
            self._batcher = Batcher(numbers, store, *self._limits, self._device)
            self._made_for = numbers.tolist(), pbc.tolist()
        cells = np.asarray(system.cell, dtype=np.float64)[np.newaxis]
        positions = np.asarray(system.positions, dtype=np.float64)[np.newaxis]
        return self._batcher.graph(cells, positions)


def build_graph(
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    atomic_numbers: np.ndarray,
    cutoff: float,
    max_neighbors: int,
    device: torch.device | None = None,
) -> Graph:
    """The graph of one structure, vectors in float64.

    Parameters
    ----------
    positions : (atoms, 3), angstrom
        May lie outside the cell.
    cell : (3, 3), angstrom
        Rows are cell vectors; those along open directions are free.
    pbc : (3,)
        Which cell vectors repeat.
    atomic_numbers : (atoms,)
    cutoff
        angstrom.
    max_neighbors
        More neighbors than this are an error.
    device
        Where edges are computed; the CPU by default.

    Raises
    ------
    ValueError
        When two atoms are at the same position, or an atom has too many neighbors.
    """
    device = device or torch.device("cpu")
    follower = Follower(Limits(cutoff, max_neighbors), device)
    return follower.graph(System(positions, cell, pbc, atomic_numbers))
