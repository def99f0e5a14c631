# SPDX-License-Identifier: MIT
"""``uma-ipi`` for processes of their own, and one that sleeps in the middle of its third batch."""

import time
from pathlib import Path

from ipi_driver import potential, serving
from ipi_driver.cli import main

AGES = 1000.0  # seconds


def run(arguments: list[str]) -> None:
    """Run ``uma-ipi``."""
    main(arguments)


def run_and_sleep(marker: Path, arguments: list[str]) -> None:
    """Run ``uma-ipi``, which leaves a marker where it sleeps."""

    class Sleeping(potential.UMAPotential):
        def __call__(self, structures):
            if self.tally.batches == 2:
                marker.touch()
                time.sleep(AGES)
            return super().__call__(structures)

    vars(serving)["UMAPotential"] = Sleeping
    main(arguments)
