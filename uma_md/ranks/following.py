# SPDX-License-Identifier: MIT
"""One structure after another over MPI ranks, as of a trajectory: divided anew when it must be."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np

from uma_md.committee import AnyPotential
from uma_md.neighbors import Reach, Reference
from uma_md.properties import Properties
from uma_md.ranks.agreement import Ranks
from uma_md.ranks.spatial import Division, SpatialEvaluator
from uma_md.system import System


class SpatialFollower:
    """Evaluates structures that all ranks know, and keeps the division of the latest.

    A division serves while atoms move little. No result depends on it, but for rounding.

    Parameters
    ----------
    ranks
    potential
    skin
        How far beyond the cutoff pairs are kept, angstrom.
    """

    def __init__(self, ranks: Ranks, potential: AnyPotential, skin: float) -> None:
        self._evaluator = SpatialEvaluator(ranks, potential)
        self._reach = Reach(potential.metadata.cutoff, skin)
        self._kept: tuple[System, Reference, Division] | None = None
        self._moved: np.ndarray | None = None

    def serves(self, system: System) -> bool:
        """Whether the division that is kept serves a structure, valid or not."""
        self._moved = None
        if self._kept is None or not (_is_finite(system.positions) and _is_finite(system.cell)):
            return False
        latest, reference, _ = self._kept
        if not (
            np.array_equal(latest.atomic_numbers, system.atomic_numbers)
            and np.array_equal(latest.pbc, system.pbc)
        ):
            return False
        try:
            aligned = reference.aligned(system.positions, system.cell)
        except np.linalg.LinAlgError:  # a flat cell, which is refused later
            return False
        self._moved = None if aligned is None else aligned.positions
        return aligned is not None

    def step(self, serves: bool) -> AbstractContextManager[None]:
        """Give a block that ends with the evaluation: see ``SpatialEvaluator.step``.

        Parameters
        ----------
        serves
            Whether the division that is kept serves on all ranks.
        """
        if not serves:
            return nullcontext()
        assert self._kept is not None
        return self._evaluator.step(self._kept[2], 1)

    def __call__(self, system: System, divide: bool) -> Properties:
        """Evaluate a structure that ``serves`` was asked about; collective.

        Parameters
        ----------
        system
            Valid, and its atoms those of the network's merge.
        divide
            Whether to divide anew: the same on all ranks, and where one is not served.

        Raises
        ------
        ValueError
            As ``SpatialEvaluator.evaluate`` says.
        """
        if divide:
            self._kept = None
            reference = Reference(system.positions, system.cell, system.pbc, self._reach)
            inside = system._replace(positions=reference.positions)
            division = self._evaluator.divide([inside], self._reach.skin)
            self._kept, self._moved = (system, reference, division), reference.positions
        assert self._kept is not None
        assert self._moved is not None
        cells = np.asarray(system.cell, dtype=np.float64)[np.newaxis]
        return self._evaluator.evaluate(self._kept[2], self._moved, cells)


def _is_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())
