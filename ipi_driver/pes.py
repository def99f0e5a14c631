# SPDX-License-Identifier: MIT
r"""UMA as a potential inside i-PI's own process or its own driver.

    <ffdirect name='uma'> <pes>custom</pes> <pes_path>PATH OF THIS FILE</pes_path>
      <parameters>{ model: water.pt, template: init.xyz }</parameters> </ffdirect>

    i-pi-py_driver -u -a ADDRESS -m custom -P $(uma-ipi --pes-path) \
        -o model=water.pt,template=init.xyz

Parameters are the options of ``uma-ipi``: model, template, task, charge, spin, device, dtype,
extras, skin. i-PI finds the class through the two names in capitals.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ipi.pes.dummy import Dummy_driver
from ipi.utils.messages import info, verbosity

from ipi_driver.batching import repeat_last, without_padding
from ipi_driver.potential import Options, UMAPotential
from ipi_driver.protocol import Structures
from ipi_driver.template import read_template

__DRIVER_NAME__ = "uma"
__DRIVER_CLASS__ = "UMADriver"

Answer = tuple[float, np.ndarray, np.ndarray, str]


class UMADriver(Dummy_driver):  # type: ignore[misc]  # of a package without types
    """Answers i-PI's calls with one structure or a list of them, a list in one evaluation.

    Parameters
    ----------
    model, template
        Paths.
    extras
        Names separated by spaces.
    options
        As for ``ipi_driver.potential.Options``; what i-PI adds for its own use is passed over.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        When model, template and options do not go together.
    """

    def __init__(self, model: str, template: str, extras: str = "", **options: Any) -> None:
        verbose = options.pop("verbose", False)
        options.pop("verbosity", None)
        chosen = Options(extras=tuple(extras.split()), **options)
        self._potential = UMAPotential(model, read_template(template), chosen, _say)
        self._potential.warm_up()
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
        found = {len(one) for one in positions} - {self._potential.natoms}
        if found:
            raise ValueError(
                f"i-PI and the template must have the same atoms, found {found.pop()} atoms in "
                f"i-PI and {self._potential.natoms} in the template"
            )
        columns = np.array(cells, dtype=np.float64)
        structures = Structures(columns.transpose(0, 2, 1), np.array(positions, dtype=np.float64))
        results = self._potential(without_padding(structures))
        return list(zip(*repeat_last(results, len(positions)), strict=True))


def _say(sentence: str) -> None:
    info(f" @UMA: {sentence}", verbosity.low)
