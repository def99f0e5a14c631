# SPDX-License-Identifier: MIT
"""Ranks that share every structure of a batch, each with its own part of the atoms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ipi_driver.beads.engine import MOST_ATOMS, in_parts
from uma_md.neighbors import Reach, Reference
from uma_md.properties import Properties
from uma_md.ranks.agreement import Ranks
from uma_md.ranks.spatial import Division, SpatialEvaluator
from uma_md.system import System

MOST_DIVISIONS = 8


class _Kept(NamedTuple):
    """A division, and the structures that it was made for."""

    references: list[Reference]
    division: Division


class SpatialTeam:
    """Evaluates batches of structures of the same atoms, spread over ranks.

    A division serves any batch whose structures, one by one, are near those that it was made
    for. All methods are collective.

    Parameters
    ----------
    ranks
    evaluator
        Over the same ranks.
    atomic_numbers : (atoms,)
    pbc : (3,)
    reach

    Attributes
    ----------
    built
        Divisions made so far.
    """

    def __init__(
        self,
        ranks: Ranks,
        evaluator: SpatialEvaluator,
        atomic_numbers: np.ndarray,
        pbc: np.ndarray,
        reach: Reach,
    ) -> None:
        self.built = 0
        self._ranks = ranks
        self._evaluator = evaluator
        self._numbers = atomic_numbers
        self._pbc = pbc
        self._reach = reach
        self._kept: list[_Kept] = []  # the latest used comes first

    def evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Properties:
        """Evaluate (batch, 3, 3) cells and (batch, atoms, 3) positions, in angstrom."""
        with self._ranks.together():
            most_atoms = MOST_ATOMS * self._ranks.size
            return in_parts(self._evaluate, most_atoms, cells, positions)

    def _evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Properties:
        found = self._search(cells, positions) if self._ranks.rank == 0 else None
        number, moved = self._ranks.broadcast(found)
        if number is None or moved is None:
            kept = self._divide(cells, positions)
            moved = np.array([reference.positions for reference in kept.references])
        else:
            kept = self._kept.pop(number)
        self._kept = [kept, *self._kept[: MOST_DIVISIONS - 1]]
        return self._evaluator.evaluate(kept.division, moved.reshape(-1, 3), cells)

    def _search(
        self, cells: np.ndarray, positions: np.ndarray
    ) -> tuple[int | None, np.ndarray | None]:
        """Number of a division that holds for a batch, and positions moved to fit it."""
        for number, kept in enumerate(self._kept):
            if len(kept.references) != len(positions):
                continue
            moved = []
            for reference, one, cell in zip(kept.references, positions, cells, strict=True):
                fitting = reference.aligned(one, cell)
                if fitting is None:
                    break
                moved.append(fitting.positions)
            else:
                return number, np.array(moved)
        return None, None

    def _divide(self, cells: np.ndarray, positions: np.ndarray) -> _Kept:
        references = [
            Reference(one, cell, self._pbc, self._reach)
            for one, cell in zip(positions, cells, strict=True)
        ]
        systems = [
            System(reference.positions, cell, self._pbc, self._numbers)
            for reference, cell in zip(references, cells, strict=True)
        ]
        self.built += 1
        return _Kept(references, self._evaluator.divide(systems, self._reach.skin))
