# SPDX-License-Identifier: MIT
"""Which rank owns which atoms, and each rank's own part of the graph.

Atoms are split over ranks by recursive bisection. A rank sees its own atoms and, for any
number of layers, images of others one cutoff around them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from uma_md.candidates import candidates_of
from uma_md.edge_selection import EdgeSelector
from uma_md.frame import Frame
from uma_md.graph import Graph, Limits
from uma_md.neighbors import ROUNDING, Pairs, find_pairs
from uma_md.ranks.neighbor_estimate import estimate_neighbors
from uma_md.system import System


def assign_owners(system: System, ranks: int, reach: float) -> np.ndarray:
    """Split a system's atoms over ranks by recursive bisection, (atoms,) int32.

    Each cut is across the longest side of what it cuts, and leaves both sides edges in the
    ratio of their ranks, to within half an atom's, by an estimate of each atom's number of
    neighbors. Where there are as many atoms as ranks none is without.

    Parameters
    ----------
    system
    ranks
    reach
        What counts as a neighbor, angstrom.
    """
    return divide(system, ranks, reach)[0]


def divide(system: System, ranks: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Owners of atoms as ``assign_owners`` gives them, and the weights of atoms, (atoms,) both."""
    frame = Frame(system.cell, system.pbc)
    coordinates = frame.wrap(system.positions)[0]
    weights = estimate_neighbors(coordinates, frame, reach) + 1
    return bisect(coordinates * frame.heights, weights, ranks), weights


def bisect(points: np.ndarray, weights: np.ndarray, ranks: int) -> np.ndarray:
    """Cut points into as many parts of equal weight as there are ranks, (points,) int32.

    Parameters
    ----------
    points : (points, 3)
    weights : (points,) int64
    ranks
    """
    owners = np.zeros(len(points), dtype=np.int32)
    parts = [(np.arange(len(points)), 0, ranks)]
    while parts:
        chosen, first, count = parts.pop()
        owners[chosen] = first
        if count == 1 or len(chosen) == 0:
            continue
        axis = np.ptp(points[chosen], axis=0).argmax()
        chosen = chosen[np.argsort(points[chosen, axis], kind="stable")]
        left = count // 2
        cut = _cut(weights[chosen], left, count)
        parts += [(chosen[:cut], first, left), (chosen[cut:], first + left, count - left)]
    return owners


def _cut(weights: np.ndarray, left: int, count: int) -> int:
    """How many of these come before a cut that leaves left / count of their weight there."""
    ends = np.cumsum(weights)
    middles = 2 * ends - weights
    cut = int(np.searchsorted(middles, 2 * float(ends[-1]) * left / count))
    if len(weights) < count:
        return cut
    return min(max(cut, left), len(weights) - (count - left))


def owned_pairs(system: System, owned: np.ndarray, reach: float) -> Pairs:
    """All pairs within ``reach`` whose receivers are in ``owned``."""
    if len(owned) == 0:
        none = np.zeros(0, dtype=np.int64)
        return Pairs(none, none, np.zeros((0, 3)))
    frame = Frame(system.cell, system.pbc)
    coordinates, wrapped = frame.wrap(system.positions)
    margin = (reach + ROUNDING) / frame.heights
    low, high = coordinates[owned].min(axis=0) - margin, coordinates[owned].max(axis=0) + margin
    atoms, cells = frame.images(coordinates, low, high)
    is_owned = np.zeros(len(coordinates), dtype=bool)
    is_owned[owned] = True
    other = cells.any(axis=1) | ~is_owned[atoms]
    atoms = np.concatenate((owned, atoms[other]))
    shifts = np.concatenate((np.zeros((len(owned), 3)), cells[other])) - wrapped[atoms]
    points = system.positions[atoms] + shifts @ system.cell
    found = find_pairs(points, np.zeros((3, 3)), np.zeros(3, dtype=bool), reach)
    mine = found.receivers < len(owned)
    receivers, senders = found.receivers[mine], found.senders[mine]
    return Pairs(atoms[receivers], atoms[senders], shifts[senders] - shifts[receivers])


class Part:
    """One rank's part of the graph of several systems side by side.

    Atoms are counted through all systems, in their order. Images of one remote atom share
    a row; images of a rank's own atoms share that atom's row.

    Parameters
    ----------
    systems
    owners : (atoms,)
        The rank that owns each atom of all systems.
    rank
        The rank whose part this is.
    reach
        Pairs up to this distance are kept, angstrom: the cutoff, and more if the part is to
        serve while atoms move.
    device
        Where the graph is computed.

    Attributes
    ----------
    owned, remote : (owned,), (remote,)
        Atoms of the part's rows, owned ones first.
    remote_ranks, remote_rows : (remote,)
        Owner of each remote row, ascending, and its number there.
    """

    def __init__(
        self,
        systems: Sequence[System],
        owners: np.ndarray,
        rank: int,
        reach: float,
        device: torch.device,
    ) -> None:
        self._device = device
        self._select = EdgeSelector()
        self._natoms = np.array([len(system.positions) for system in systems])
        first = np.cumsum(self._natoms) - self._natoms
        self.owned = np.flatnonzero(owners == rank)
        ends = [
            owned_pairs(system, np.flatnonzero(owners[start : start + count] == rank), reach)
            for system, start, count in zip(systems, first, self._natoms, strict=True)
        ]
        senders = np.concatenate([p.senders + k for p, k in zip(ends, first, strict=True)])
        receivers = np.concatenate([p.receivers + k for p, k in zip(ends, first, strict=True)])
        self._find_rows(owners, rank, senders)
        row_of = np.empty(len(owners), dtype=np.int64)
        row_of[self._atoms] = np.arange(len(self._atoms))
        counts = np.array([len(pairs.senders) for pairs in ends])
        system_of = np.repeat(np.arange(len(systems)), counts)
        shifts = np.concatenate([pairs.shifts for pairs in ends])
        if len(self.remote):
            order = np.argsort(owners[senders] != rank, kind="stable")
            senders, receivers = senders[order], receivers[order]
            shifts, system_of = shifts[order], system_of[order]
        numbers = np.concatenate([system.atomic_numbers for system in systems])
        self._candidates = candidates_of(
            len(self._atoms),
            row_of[receivers],
            row_of[senders],
            shifts,
            system_of,
            device,
        )
        self._numbers = self._tensor(numbers[self._atoms].astype(np.int64))
        system_of = np.repeat(np.arange(len(systems)), self._natoms)[self.owned]
        self._systems = self._tensor(system_of)
        self._owned_atoms = self._tensor(self.owned - first[system_of])

    def _find_rows(self, owners: np.ndarray, rank: int, senders: np.ndarray) -> None:
        """Number the rows: own atoms in their order, then remote ones by owner."""
        order = np.argsort(owners, kind="stable")
        sizes = np.bincount(owners)
        row = np.empty(len(owners), dtype=np.int64)
        row[order] = np.arange(len(owners)) - (np.cumsum(sizes) - sizes)[owners[order]]
        remote = np.unique(senders[owners[senders] != rank])
        self.remote = remote[np.argsort(owners[remote], kind="stable")]
        self.remote_ranks = owners[self.remote]
        self.remote_rows = row[self.remote]
        self._atoms = np.concatenate((self.owned, self.remote))

    def graph(
        self, positions: np.ndarray, cells: np.ndarray, cutoff: float, max_neighbors: int
    ) -> Graph:
        """Give the edges at these positions, vectors in float64, inner ones first.

        Parameters
        ----------
        positions : (atoms, 3), angstrom
            Of all systems' atoms, not moved by whole cells since the part was made.
        cells : (systems, 3, 3), angstrom
        cutoff
            angstrom.
        max_neighbors
            More neighbors than this are an error.

        Raises
        ------
        ValueError
            When two atoms are at the same position, or an atom has too many neighbors.
        """
        edges = self._select(
            self._candidates,
            self._tensor(positions[self._atoms]),
            self._tensor(np.asarray(cells, dtype=np.float64)),
            self._owned_atoms,
            Limits(cutoff, max_neighbors),
        )
        inner = int((edges.senders < len(self.owned)).sum()) if len(self.remote) else -1
        return Graph(*edges, self._numbers, self._systems, self._tensor(self._natoms), inner)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(self._device)
