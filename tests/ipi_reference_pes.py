# SPDX-License-Identifier: MIT
"""The analytic potential as a PES file of i-PI, with nothing of the driver's between the two."""

import numpy as np
from ipi.pes.dummy import Dummy_driver
from ipi_analytic import Analytic

from ipi_driver.wire.protocol import Structures

__DRIVER_NAME__ = "reference"
__DRIVER_CLASS__ = "ReferenceDriver"


class ReferenceDriver(Dummy_driver):  # type: ignore[misc]  # of a package without types
    def compute_structure(self, cell, pos):
        energies, forces, virials, extras = Analytic()(
            Structures(cell.T[np.newaxis], pos[np.newaxis])
        )
        return energies[0], forces[0], virials[0], extras[0]
