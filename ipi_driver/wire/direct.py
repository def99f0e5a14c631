# SPDX-License-Identifier: MIT
"""A potential that i-PI calls, in its own process or in that of its own driver."""

from __future__ import annotations

import numpy as np
from ipi.pes.dummy import Dummy_driver

from ipi_driver.wire.driver import Potential
from ipi_driver.wire.protocol import Structures, repeat_last, without_padding

Answer = tuple[float, np.ndarray, np.ndarray, str]


class DirectDriver(Dummy_driver):  # type: ignore[misc]  # of a package without types
    """Answers i-PI's calls with one structure or a list of them, a list in one evaluation.

    Parameters
    ----------
    potential
        Ready to compute.
    verbose
        i-PI's own.
    """

    def __init__(self, potential: Potential, *, verbose: bool = False) -> None:
        self._potential = potential
        super().__init__(verbose=verbose)

    def compute_structure(self, cell: np.ndarray, pos: np.ndarray) -> Answer:
        """Energy, forces, virial and extras of one structure, in atomic units."""
        return self._compute_all([cell], [pos])[0]

    def compute(
        self, cell: np.ndarray | list[np.ndarray], pos: np.ndarray | list[np.ndarray]
    ) -> Answer | list[Answer]:
        """One answer for one structure, a list of answers for a list."""
        if isinstance(cell, list):
            return self._compute_all(cell, list(pos))
        return self.compute_structure(cell, np.asarray(pos))

    def _compute_all(self, cells: list[np.ndarray], positions: list[np.ndarray]) -> list[Answer]:
        others = {len(one) for one in positions} - {self._potential.natoms}
        if others:
            raise ValueError(
                f"i-PI and the template must have the same atoms, found {others.pop()} atoms in "
                f"i-PI and {self._potential.natoms} in the template"
            )
        columns = np.array(cells, dtype=np.float64)
        structures = Structures(columns.transpose(0, 2, 1), np.array(positions, dtype=np.float64))
        results = self._potential(without_padding(structures))
        return list(zip(*repeat_last(results, len(positions)), strict=True))
