# SPDX-License-Identifier: MIT
"""Structures of the same atoms side by side, as the graph of one evaluation."""

from __future__ import annotations

import numpy as np
import torch

from uma_md.graph import Edges, Graph, select_edges
from uma_md.neighbors import PairStore, Reach


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
        self._cutoff = cutoff
        self._max_neighbors = max_neighbors
        self._device = device

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
        atoms = torch.arange(natoms, device=self._device).repeat(batch)
        edges = select_edges(
            self._candidates(cells, positions), atoms, self._cutoff, self._max_neighbors
        )
        systems = torch.arange(batch, device=self._device)
        return Graph(
            *edges,
            atomic_numbers=self._numbers.repeat(batch),
            systems=systems.repeat_interleave(natoms),
            natoms=torch.full_like(systems, natoms),
        )

    def _candidates(self, cells: np.ndarray, positions: np.ndarray) -> Edges:
        """All kept pairs, with rows counted through the batch."""
        natoms = positions.shape[1]
        found = [self._store.find(*pair) for pair in zip(positions, cells, strict=True)]
        boxes = torch.from_numpy(np.ascontiguousarray(cells)).to(self._device)
        points = torch.from_numpy(np.concatenate([moved for _, moved in found])).to(self._device)
        lists = [pairs for pairs, _ in found]
        senders = torch.cat([pairs.senders + n * natoms for n, pairs in enumerate(lists)])
        receivers = torch.cat([pairs.receivers + n * natoms for n, pairs in enumerate(lists)])
        shifts = torch.cat([pairs.shifts @ boxes[n] for n, pairs in enumerate(lists)])
        return Edges(points[senders] - points[receivers] + shifts, senders, receivers)


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
        Rows are cell vectors, independent also along open directions.
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
    numbers = np.asarray(atomic_numbers)
    store = PairStore(np.asarray(pbc, dtype=bool), Reach(cutoff, 0.0), device)
    batcher = Batcher(numbers, store, cutoff, max_neighbors, device)
    cells = np.asarray(cell, dtype=np.float64)[np.newaxis]
    return batcher.graph(cells, np.asarray(positions, dtype=np.float64)[np.newaxis])
