# SPDX-License-Identifier: MIT
"""``uma-ipi`` that leaves a file and sleeps in the middle of its third batch.

``python ipi_sleeping.py MARKER ARGUMENTS OF uma-ipi``
"""

import sys
import time
from pathlib import Path

from ipi_driver import potential, serving
from ipi_driver.cli import main

AGES = 1000.0  # seconds


class Sleeping(potential.UMAPotential):
    def __call__(self, structures):
        if self.tally.batches == 2:
            Path(sys.argv[1]).touch()
            time.sleep(AGES)
        return super().__call__(structures)


if __name__ == "__main__":
    vars(serving)["UMAPotential"] = Sleeping
    main(sys.argv[2:])
