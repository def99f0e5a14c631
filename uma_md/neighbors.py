# SPDX-License-Identifier: MIT
"""Pairs of atoms that may be neighbors, kept while they are certain to hold all that are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import vesin

from uma_md.candidates import candidates_of
from uma_md.frame import Frame, check_crowd

MOST_PAIRS = 20_000_000  # kept in all: a quarter of a gigabyte
MOST_LISTS = 1000
ROUNDING = 1e-6  # angstrom: what rounding may do to a distance
VACUUM = 1.01  # what is left of an empty stretch, in reaches
MOST_BINS = 1e5  # that vesin makes


class Pairs(NamedTuple):
    """Pairs of atoms: ``positions[j] + shift @ cell - positions[i]`` leads from i to j.

    Attributes
    ----------
    receivers, senders : (pairs,) int64
        The atoms i and j.
    shifts : (pairs, 3) int32, or float64 where atoms are outside the cell
        Whole cells between the two.
    """

    receivers: np.ndarray
    senders: np.ndarray
    shifts: np.ndarray


def find_pairs(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float) -> Pairs:
    """All directed pairs of atoms within a distance, sorted by receiver.

    Atoms may be far outside the cell, and far from each other: empty stretches are cut before
    the search, and open directions made to repeat beyond the reach. So the time depends on
    the atoms and not on the vacuum between them.

    Parameters
    ----------
    positions : (atoms, 3), angstrom
    cell : (3, 3), angstrom
        Rows are cell vectors; those along open directions are free.
    pbc : (3,)
        Which cell vectors repeat.
    reach
        angstrom.

    Raises
    ------
    ValueError
        When atoms are so dense that the pairs would fill the memory.
    """
    reach += ROUNDING
    frame = Frame(cell, pbc)
    coordinates, cells = frame.wrap(positions)
    points, lengths = frame.shortened(
        positions - cells @ frame.vectors, coordinates, reach * VACUUM
    )
    box = frame.vectors * (lengths / frame.heights)[:, np.newaxis]
    spheres = abs(np.linalg.det(box)) / (4 / 3 * np.pi * reach**3)
    check_crowd(len(points) ** 2, spheres * len(points))
    receivers, senders, shifts = _search(points, box, lengths, reach)
    if cells.any():
        shifts = shifts + (cells[receivers] - cells[senders])
    return Pairs(receivers, senders, shifts)


def _search(
    points: np.ndarray, box: np.ndarray, heights: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs in a box that repeats along all directions: receivers, senders and whole boxes.

    Each pair is searched once, by one thread: so their order is the same in every run.
    """
    wider = reach
    while not (_grid(heights / wider) >= 1).all():
        wider *= 1.1
    neighbors = vesin.NeighborList(cutoff=wider, full_list=False, sorted=False, n_threads=1)
    i, j, shifts = neighbors.compute(
        np.ascontiguousarray(points, dtype=np.float64), box, True, quantities="ijS"
    )
    if wider > reach:
        vectors = points[j] - points[i] + shifts @ box
        near = np.einsum("ij,ij->i", vectors, vectors) < reach**2
        i, j, shifts = i[near], j[near], shifts[near]
    ends = torch.from_numpy(np.stack((np.concatenate((i, j)), np.concatenate((j, i)))).astype(int))
    receivers, order = ends[0].sort(stable=True)
    both_ways = torch.from_numpy(np.concatenate((shifts, -shifts)))
    senders, shifts_of = ends[1].index_select(0, order), both_ways.index_select(0, order)
    return receivers.numpy(), senders.numpy(), shifts_of.numpy()


def _grid(cutoffs: np.ndarray) -> np.ndarray:
    """Bins per direction that vesin 0.6 makes of a box so many cutoffs wide, (3,).

    It limits their number, in long and thin boxes to none along the short sides, by which it
    then divides.
    """
    a, b, c = np.maximum(np.trunc(cutoffs), 1)
    if a * b * c > MOST_BINS:
        c_before, b_before = c, b
        c = np.trunc(np.cbrt(MOST_BINS / ((a / b) * (b / c) ** 2)))
        b = np.trunc(b_before / c_before * c)
        a = np.trunc(a / b_before * b)
    return np.array([a, b, c])


class Reach(NamedTuple):
    """How far atoms see, in angstrom: the model's cutoff, and what is kept beyond it."""

    cutoff: float
    skin: float


class Reference:
    """A structure whose pairs within cutoff + skin are known, and what others they serve.

    Another structure of the same atoms is served as long as no pair can have come within
    the cutoff that was beyond cutoff + skin: with ``F`` the strain from the reference's cell
    to the other's and ``d`` the displacements that remain, a pair that was at distance r is
    now no closer than ``s r - 2 max|d|``, where s is the smallest singular value of F.
    Atoms may have been moved by whole cells, each on its own.

    Parameters
    ----------
    positions : (atoms, 3), angstrom
    cell : (3, 3), angstrom
        Rows are cell vectors; those along open directions are free.
    pbc : (3,)
    reach

    Attributes
    ----------
    positions : (atoms, 3), angstrom
        Inside the cell.
    """

    def __init__(
        self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: Reach
    ) -> None:
        self._frame = Frame(cell, pbc)
        self.positions = positions - self._frame.wrap(positions)[1] @ self._frame.vectors
        self._pbc = pbc
        self._reach = reach

    def aligned(self, positions: np.ndarray, cell: np.ndarray) -> np.ndarray | None:
        """Positions moved by whole cells so that the pairs hold; None where they may not.

        Parameters
        ----------
        positions : (atoms, 3), angstrom
        cell : (3, 3), angstrom
        """
        frame = Frame(cell, self._pbc)
        strain = np.linalg.solve(self._frame.vectors, frame.vectors)
        away = positions - self.positions @ strain
        cells = np.rint(frame.coordinates(away)) * self._pbc
        away -= cells @ frame.vectors
        away -= away.mean(axis=0)
        farthest = np.sqrt(np.einsum("ij,ij->i", away, away).max())
        shrink = np.linalg.svd(strain, compute_uv=False)[-1]
        if self._reach.cutoff + 2 * farthest > shrink * sum(self._reach):
            return None
        return positions - cells @ frame.vectors


class PairList(Reference):
    """All pairs of a reference structure within cutoff + skin.

    Parameters
    ----------
    positions, cell, pbc, reach
        As for ``Reference``.
    device
        Where the pairs are kept.

    Attributes
    ----------
    candidates
        The pairs.
    follower : PairList, optional
        The list that was used after this one, a good guess for the next time.
    """

    def __init__(
        self,
        positions: np.ndarray,
        cell: np.ndarray,
        pbc: np.ndarray,
        reach: Reach,
        device: torch.device,
    ) -> None:
        super().__init__(positions, cell, pbc, reach)
        pairs = find_pairs(self.positions, cell, pbc, sum(reach))
        self.candidates = candidates_of(len(positions), *pairs, None, device)
        self.follower: PairList | None = None

    def __len__(self) -> int:
        return len(self.candidates.senders)


class PairStore:
    """Pair lists of many beads, whatever the order in which these come.

    Any list that holds for a structure serves it, so that beads close to each other share
    one. What was not used for the longest time is dropped when there are too many.

    Parameters
    ----------
    pbc : (3,)
    reach
    device
        Where the pairs are kept.
    most_pairs
        Kept in all lists together.
    most_lists
        All of them are looked at for a structure that none serves.

    Attributes
    ----------
    built
        Lists made so far.
    """

    def __init__(
        self,
        pbc: np.ndarray,
        reach: Reach,
        device: torch.device,
        most_pairs: int = MOST_PAIRS,
        most_lists: int = MOST_LISTS,
    ) -> None:
        self.built = 0
        self._pbc = pbc
        self._reach = reach
        self._device = device
        self._most_pairs = most_pairs
        self._most_lists = most_lists
        self._lists: list[PairList] = []  # the latest used comes first

    def find(self, positions: np.ndarray, cell: np.ndarray) -> tuple[PairList, np.ndarray]:
        """Give a list that holds for a structure, and positions that match it by whole cells."""
        latest = self._lists[0] if self._lists else None
        found = self._search(positions, cell)
        if found is None:
            pairs = PairList(positions, cell, self._pbc, self._reach, self._device)
            self.built += 1
            found = pairs, pairs.positions
        if latest is not None:
            latest.follower = found[0]
        self._keep(found[0])
        return found

    def _search(
        self, positions: np.ndarray, cell: np.ndarray
    ) -> tuple[PairList, np.ndarray] | None:
        follower = self._lists[0].follower if self._lists else None
        guess = [follower] if follower in self._lists else []
        for pairs in (*guess, *self._lists):
            moved = pairs.aligned(positions, cell)
            if moved is not None:
                return pairs, moved
        return None

    def _keep(self, pairs: PairList) -> None:
        """Put a list first, and drop the last ones while there are too many, or too many pairs."""
        rest = [other for other in self._lists if other is not pairs][: self._most_lists - 1]
        total = len(pairs) + sum(map(len, rest))
        while rest and total > self._most_pairs:
            total -= len(rest.pop())
        self._lists = [pairs, *rest]
