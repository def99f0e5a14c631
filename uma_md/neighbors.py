# SPDX-License-Identifier: MIT
"""Pairs of atoms that may be neighbors, kept while they are certain to hold all that are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import vesin

from uma_md.candidates import candidates_in_shells
from uma_md.frame import Frame, check_crowd

MOST_PAIRS = 20_000_000  # kept in all: a quarter of a gigabyte
MOST_LISTS = 1000
ROUNDING = 1e-6  # angstrom: what rounding may do to a distance
VACUUM = 1.01  # what is left of an empty stretch, in reaches
MOST_BINS = 1e5  # that vesin makes
SHELLS = 4  # of pairs beyond the cutoff: those that no atom can have entered are not looked at


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


class PairsOnce(NamedTuple):
    """Pairs of atoms, each in one of its two ways.

    Attributes
    ----------
    ends : (2, pairs) int64
        Atoms.
    shifts : (pairs, 3) int32, or float64 where atoms are outside the cell
        Whole cells from the first to the second.
    distances : (pairs,), angstrom
    """

    ends: np.ndarray
    shifts: np.ndarray
    distances: np.ndarray

    def both_ways(self) -> Pairs:
        """The directed pairs, sorted by receiver."""
        ends = torch.from_numpy(np.concatenate((self.ends, self.ends[::-1]), axis=1))
        receivers, order = ends[0].sort(stable=True)
        shifts = torch.from_numpy(np.concatenate((self.shifts, -self.shifts)))
        senders = ends[1].index_select(0, order)
        return Pairs(receivers.numpy(), senders.numpy(), shifts.index_select(0, order).numpy())


def find_pairs(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float) -> Pairs:
    """All directed pairs of atoms within a distance, sorted by receiver: see ``find_once``."""
    return find_once(positions, cell, pbc, reach).both_ways()


def find_once(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float) -> PairsOnce:
    """All pairs of atoms within a distance, each once.

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
    found = _search(points, box, lengths, reach)
    if not cells.any():
        return found
    first, second = found.ends
    return found._replace(shifts=found.shifts + (cells[first] - cells[second]))


def _search(points: np.ndarray, box: np.ndarray, heights: np.ndarray, reach: float) -> PairsOnce:
    """Pairs in a box that repeats along all directions.

    They are searched by one thread: so their order is the same in every run.
    """
    wider = reach
    while not (_grid(heights / wider) >= 1).all():
        wider *= 1.1
    neighbors = vesin.NeighborList(cutoff=wider, full_list=False, sorted=False, n_threads=1)
    i, j, shifts, distances = neighbors.compute(
        np.ascontiguousarray(points, dtype=np.float64), box, True, quantities="ijSd"
    )
    found = PairsOnce(np.stack((i, j)).astype(np.int64), shifts, distances)
    if wider > reach:
        near = distances < reach
        found = PairsOnce(found.ends[:, near], shifts[near], distances[near])
    return found


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


class Aligned(NamedTuple):
    """A structure that a reference serves.

    Attributes
    ----------
    positions : (atoms, 3), angstrom
        Moved by whole cells so that the reference's pairs hold.
    bound
        Pairs that were farther apart in the reference are beyond the cutoff now, angstrom.
    """

    positions: np.ndarray
    bound: float


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

    def aligned(self, positions: np.ndarray, cell: np.ndarray) -> Aligned | None:
        """A structure as the reference serves it; None where it may not.

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
        bound = (self._reach.cutoff + 2 * farthest) / shrink
        if bound > sum(self._reach):
            return None
        return Aligned(positions - cells @ frame.vectors, bound)


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
        ends, shifts, distances = find_once(self.positions, cell, pbc, sum(reach))
        self._bounds = reach.cutoff + reach.skin / SHELLS * np.arange(SHELLS)
        shells = np.searchsorted(self._bounds, distances, side="right")
        self.candidates = candidates_in_shells(
            len(positions), ends, shifts, shells, SHELLS + 1, device
        )
        self.follower: PairList | None = None

    def __len__(self) -> int:
        return len(self.candidates.senders)

    def shells(self, distance: float) -> int:
        """How many of the candidates' shells hold pairs within a distance, angstrom."""
        return 1 + int(np.searchsorted(self._bounds, distance + ROUNDING))


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

    def find(self, positions: np.ndarray, cell: np.ndarray) -> tuple[PairList, Aligned]:
        """Give a list that holds for a structure, and the structure as it serves it."""
        latest = self._lists[0] if self._lists else None
        found = self._search(positions, cell)
        if found is None:
            pairs = PairList(positions, cell, self._pbc, self._reach, self._device)
            self.built += 1
            found = pairs, Aligned(pairs.positions, self._reach.cutoff)
        if latest is not None:
            latest.follower = found[0]
        self._keep(found[0])
        return found

    def _search(self, positions: np.ndarray, cell: np.ndarray) -> tuple[PairList, Aligned] | None:
        follower = self._lists[0].follower if self._lists else None
        guess = [follower] if follower in self._lists else []
        for pairs in (*guess, *self._lists):
            aligned = pairs.aligned(positions, cell)
            if aligned is not None:
                return pairs, aligned
        return None

    def _keep(self, pairs: PairList) -> None:
        """Put a list first, and drop the last ones while there are too many, or too many pairs."""
        rest = [other for other in self._lists if other is not pairs][: self._most_lists - 1]
        total = len(pairs) + sum(map(len, rest))
        while rest and total > self._most_pairs:
            total -= len(rest.pop())
        self._lists = [pairs, *rest]
