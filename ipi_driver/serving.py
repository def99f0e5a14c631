# SPDX-License-Identifier: MIT
"""A model served to i-PI, from one process or many ranks."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ipi_driver.options import Options
from ipi_driver.potential import UMAPotential
from ipi_driver.template import read_template
from ipi_driver.wire.address import Address, Report, serve
from uma_md.committee import Models

if TYPE_CHECKING:
    from mpi4py import MPI

# What launchers tell the processes of an MPI job, with which these know that they are in one.
LAUNCHED = ("PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE")
FIRST_RANK_TELLS = 2.0  # seconds


def run(
    model: Models,
    template: Path,
    options: Options,
    address: Address,
    ranks_per_bead: int,
    report: Report,
) -> None:
    """Load a model and serve it to i-PI until this says EXIT; collective in an MPI job.

    Parameters
    ----------
    model, template
        As for ``ipi_driver.potential.UMAPotential``; of several models, a committee.
    options
    address
    ranks_per_bead
        As for ``ipi_driver.beads.ranked_engine.RankedEngine``.
    report
        Takes each sentence about what was decided.

    Raises
    ------
    Disconnected, OSError, TypeError, ValueError
        When model, template and options do not go together, or i-PI is not there, is gone or
        sends what cannot be served.
    """
    comm = _ranks(address)
    if comm is None or comm.Get_size() == 1:
        potential = UMAPotential(model, read_template(template), options, report)
        _serve_warm(potential, address, report, alone=True)
        return
    from ipi_driver.beads.ranked_engine import RankedEngine

    first = comm.Get_rank() == 0
    try:
        atoms = read_template(template) if first else None
        engine = RankedEngine(comm, model, atoms, options, ranks_per_bead)
        if not first:
            engine.follow()
            return
    except Exception:
        if not first:
            time.sleep(FIRST_RANK_TELLS)  # and ends this rank, too
        raise
    assert atoms is not None
    _serve_warm(UMAPotential(model, atoms, options, report, engine), address, report, alone=False)
    engine.finish()


def _ranks(address: Address) -> MPI.Intracomm | None:
    """The ranks that compute together, where this is an MPI job."""
    if address.mpi:
        from ipi_driver.wire.ffmpi import introduce, split_world

        drivers = split_world()
        introduce(drivers, address.mpi_name)
        return drivers
    if not any(name in os.environ for name in LAUNCHED):
        return None
    from mpi4py import MPI

    return MPI.COMM_WORLD


def _serve_warm(potential: UMAPotential, address: Address, report: Report, *, alone: bool) -> None:
    """Warm up, and serve: i-PI waits for a driver that connects and is not ready."""
    potential.warm_up()
    report(f"ready, connecting to i-PI at {address}")
    serve(potential, address, report, interruptible=alone)
    report(f"i-PI said EXIT: {potential.sum_up()}")
