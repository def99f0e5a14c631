# SPDX-License-Identifier: MIT
"""Pairs of atoms that may be neighbors, kept while they are certain to hold all that are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import vesin

MOST_PAIRS = 20_000_000  # kept in all: about a gigabyte
ROUNDING = 1e-6  # angstrom: what rounding may do to a distance


class Pairs(NamedTuple):
    """Pairs of atoms: ``positions[j] + shift @ cell - positions[i]`` leads from i to j.

    Attributes
    ----------
    receivers, senders : (pairs,) int64
        The atoms i and j.
    shifts : (pairs, 3) float64
        Whole cells between the two.
    """

    receivers: np.ndarray
    senders: np.ndarray
    shifts: np.ndarray


def find_pairs(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float) -> Pairs:
    """All directed pairs of atoms within a distance, sorted by receiver.

    Parameters
    ----------
    positions : (atoms, 3), angstrom
    cell : (3, 3), angstrom
        Rows are cell vectors; those along open directions are free.
    pbc : (3,)
        Which cell vectors repeat.
    reach
        angstrom.
    """
    neighbors = vesin.NeighborList(
        cutoff=reach + ROUNDING,
        full_list=True,
        sorted=True,
        n_threads=torch.get_num_threads(),  # a rank's share of the cores, not all of them
    )
    receivers, senders, shifts = neighbors.compute(
        np.ascontiguousarray(positions, dtype=np.float64),
        np.ascontiguousarray(cell, dtype=np.float64),
        np.asarray(pbc, dtype=bool),
        quantities="ijS",
    )
    return Pairs(receivers.astype(np.int64), senders.astype(np.int64), shifts.astype(np.float64))


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
        Rows are cell vectors, independent also where they do not repeat.
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
        self.positions = positions - whole_cells(positions, cell, pbc, np.floor) @ cell
        self._pbc = pbc
        self._reach = reach
        self._cell = cell

    def aligned(self, positions: np.ndarray, cell: np.ndarray) -> np.ndarray | None:
        """Positions moved by whole cells so that the pairs hold; None where they may not.

        Parameters
        ----------
        positions : (atoms, 3), angstrom
        cell : (3, 3), angstrom
        """
        strain = np.linalg.solve(self._cell, cell) if self._pbc.any() else np.eye(3)
        away = positions - self.positions @ strain
        cells = whole_cells(away, cell, self._pbc, np.rint)
        away -= cells @ cell
        away -= away.mean(axis=0)
        farthest = np.sqrt(np.einsum("ij,ij->i", away, away).max())
        shrink = np.linalg.svd(strain, compute_uv=False)[-1]
        if self._reach.cutoff + 2 * farthest > shrink * sum(self._reach):
            return None
        return positions - cells @ cell


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
    senders, receivers : (pairs,)
    shifts : (pairs, 3), float64
        Cells between the two: ``positions[j] + shift @ cell - positions[i]`` is the vector.
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
        self.receivers, self.senders, self.shifts = (
            torch.from_numpy(part).to(device) for part in pairs
        )
        self.follower: PairList | None = None

    def __len__(self) -> int:
        return len(self.senders)


def whole_cells(
    vectors: np.ndarray, cell: np.ndarray, pbc: np.ndarray, rounding: np.ufunc
) -> np.ndarray:
    """Rounded fractional coordinates along the directions that repeat, zero along the others."""
    if not pbc.any():
        return np.zeros_like(vectors)
    return rounding(np.linalg.solve(cell.T, vectors.T).T) * pbc


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
    ) -> None:
        self.built = 0
        self._pbc = pbc
        self._reach = reach
        self._device = device
        self._most_pairs = most_pairs
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
        """Put a list first, and drop the last ones while there are too many pairs."""
        rest = [other for other in self._lists if other is not pairs]
        total = len(pairs) + sum(map(len, rest))
        while rest and total > self._most_pairs:
            total -= len(rest.pop())
        self._lists = [pairs, *rest]
