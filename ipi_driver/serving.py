# SPDX-License-Identifier: MIT
"""Where i-PI is, and serving it there, from one process or many ranks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ipi_driver.driver import Driver, Potential
from ipi_driver.potential import Options, UMAPotential
from ipi_driver.protocol import SocketPayload
from ipi_driver.shared_memory import SharedMemoryPayload
from ipi_driver.template import read_template
from ipi_driver.transports import PREFIX, connect_inet, connect_unix

if TYPE_CHECKING:
    from mpi4py import MPI

Report = Callable[[str], None]

# What launchers tell the processes of an MPI job, with which these know that they are in one.
LAUNCHED = ("PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE")
FIRST_RANK_TELLS = 2.0  # seconds


@dataclass(frozen=True)
class Place:
    """How to reach i-PI: one of a UNIX socket, an INET socket and MPI.

    Attributes
    ----------
    unix
        Address of a UNIX socket in i-PI's input.
    host, port
        Of an INET socket.
    shm
        Whether numbers travel through shared memory, beside a UNIX socket.
    mpi
        Whether i-PI is rank 0 of this MPI job.
    mpi_name
        Name of the ``ffmpi`` force field, where i-PI's input has several.
    prefix
        What i-PI puts in front of the address of a UNIX socket.
    wait
        Seconds to wait for i-PI to be there.
    """

    unix: str | None = None
    host: str = "localhost"
    port: int | None = None
    shm: bool = False
    mpi: bool = False
    mpi_name: str = ""
    prefix: str = PREFIX
    wait: float = 60.0

    def __post_init__(self) -> None:
        if (self.unix is not None) + (self.port is not None) + self.mpi != 1:
            raise ValueError("one of --unix NAME, --port PORT and --mpi must be given")
        if self.shm and self.unix is None:
            raise ValueError("--shm needs the address of i-PI's input as --unix NAME")

    def __str__(self) -> str:
        if self.mpi:
            return "rank 0 of this MPI job"
        if self.unix is None:
            return f"port {self.port} of {self.host}"
        return f"UNIX socket {self.unix}" + (" with shared memory" if self.shm else "")


def run(
    model: Path,
    template: Path,
    options: Options,
    place: Place,
    ranks_per_bead: int,
    report: Report,
) -> None:
    """Load a model and serve it to i-PI until this says EXIT; collective in an MPI job.

    Parameters
    ----------
    model, template
    options
    place
    ranks_per_bead
        As for ``ipi_driver.ranked_engine.RankedEngine``.
    report
        Takes each sentence about what was decided.

    Raises
    ------
    Disconnected, OSError, TypeError, ValueError
        When model, template and options do not go together, or i-PI is not there, is gone or
        sends what cannot be served.
    """
    comm = _ranks(place)
    if comm is None or comm.Get_size() == 1:
        potential = UMAPotential(model, read_template(template), options, report)
        _serve_warm(potential, place, report, alone=True)
        return
    from ipi_driver.ranked_engine import RankedEngine

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
    _serve_warm(UMAPotential(model, atoms, options, report, engine), place, report, alone=False)
    engine.finish()


def _ranks(place: Place) -> MPI.Intracomm | None:
    """The ranks that compute together, where this is an MPI job."""
    if place.mpi:
        from ipi_driver.ffmpi import introduce, split_world

        drivers = split_world()
        introduce(drivers, place.mpi_name)
        return drivers
    if not any(name in os.environ for name in LAUNCHED):
        return None
    from mpi4py import MPI

    return MPI.COMM_WORLD


def _serve_warm(potential: UMAPotential, place: Place, report: Report, *, alone: bool) -> None:
    """Warm up, and serve: i-PI waits for a driver that connects and is not ready."""
    potential.warm_up()
    report(f"ready, connecting to i-PI at {place}")
    serve(potential, place, report, interruptible=alone)
    report(f"i-PI said EXIT: {potential.sum_up()}")


def serve(
    potential: Potential, place: Place, report: Report, *, interruptible: bool = True
) -> None:
    """Connect to i-PI and answer until it says EXIT.

    Parameters
    ----------
    potential
        Ready to compute.
    place
    report
        Takes each sentence about what was agreed.
    interruptible
        Whether a computation may be left when i-PI ends; ranks must finish together.

    Raises
    ------
    Disconnected
        When i-PI is not there, or is gone without EXIT.
    ValueError
        When it sends what cannot be served.
    """
    if place.mpi:
        from ipi_driver.ffmpi import MPIDriver  # needs mpi4py, which starts MPI

        MPIDriver(potential, report).serve()
        return
    stream = (
        connect_inet(place.host, place.port or 0, place.wait)
        if place.unix is None
        else connect_unix(place.unix, place.wait, place.prefix)
    )
    with stream:
        payload = SharedMemoryPayload() if place.shm else SocketPayload()
        Driver(stream, potential, report, payload, interruptible=interruptible).serve()
