# SPDX-License-Identifier: MIT
"""Structures of the same atoms side by side, as the graph of one evaluation."""

from __future__ import annotations

import numpy as np
import torch

from ipi_driver.neighbors import PairStore
from ipi_driver.protocol import Results, Structures
from uma_md.graph import Graph, check_neighbors


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
            When two atoms are at one place, or an atom has too many neighbors.
        """
        batch, natoms = positions.shape[:2]
        vectors, senders, receivers = self._candidates(cells, positions)
        distances = torch.linalg.vector_norm(vectors, dim=1)
        near = distances < self._cutoff
        vectors, senders, receivers = vectors[near], senders[near], receivers[near]
        self._check(distances, receivers, natoms)
        systems = torch.arange(batch, device=self._device)
        return Graph(
            vectors=vectors,
            senders=senders,
            receivers=receivers,
            atomic_numbers=self._numbers.repeat(batch),
            systems=systems.repeat_interleave(natoms),
            natoms=torch.full_like(systems, natoms),
        )

    def _candidates(
        self, cells: np.ndarray, positions: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Vectors and both ends of all kept pairs, with rows counted through the batch."""
        natoms = positions.shape[1]
        found = [self._store.find(*pair) for pair in zip(positions, cells, strict=True)]
        boxes = torch.from_numpy(np.ascontiguousarray(cells)).to(self._device)
        placed = torch.from_numpy(np.concatenate([place for _, place in found])).to(self._device)
        lists = [pairs for pairs, _ in found]
        senders = torch.cat([pairs.senders + n * natoms for n, pairs in enumerate(lists)])
        receivers = torch.cat([pairs.receivers + n * natoms for n, pairs in enumerate(lists)])
        shifts = torch.cat([pairs.shifts @ boxes[n] for n, pairs in enumerate(lists)])
        return placed[senders] - placed[receivers] + shifts, senders, receivers

    def _check(self, distances: torch.Tensor, receivers: torch.Tensor, natoms: int) -> None:
        counts = torch.bincount(receivers, minlength=1)
        check_neighbors(counts.cpu().numpy(), self._cutoff, self._max_neighbors)
        if not bool((distances > 0).all()):
            raise ValueError("atoms must be apart, found two of one structure at one place")


def without_padding(structures: Structures) -> Structures:
    """Structures of a batch that are not copies to fill it up.

    i-PI repeats the last structure of a batch that it cannot fill.
    """
    cells, positions = structures
    count = len(positions)
    while count > 1 and (
        np.array_equal(positions[count - 1], positions[count - 2])
        and np.array_equal(cells[count - 1], cells[count - 2])
    ):
        count -= 1
    return Structures(cells[:count], positions[:count])


def repeat_last(results: Results, size: int) -> Results:
    """Results of ``size`` structures, where those that were not computed equal the last one."""
    if len(results.energies) == size:
        return results
    rows = np.minimum(np.arange(size), len(results.energies) - 1)
    energies, forces, virials = (array[rows] for array in results[:3])
    return Results(energies, forces, virials, [results.extras[row] for row in rows])
