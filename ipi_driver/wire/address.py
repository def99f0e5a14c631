# SPDX-License-Identifier: MIT
"""Where i-PI is, and serving a potential there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ipi_driver.wire.driver import Driver, Potential
from ipi_driver.wire.protocol import SocketPayload
from ipi_driver.wire.shared_memory import SharedMemoryPayload
from ipi_driver.wire.sockets import PREFIX, connect_inet, connect_unix

Report = Callable[[str], None]


@dataclass(frozen=True)
class Address:
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


def serve(
    potential: Potential, address: Address, report: Report, *, interruptible: bool = True
) -> None:
    """Connect to i-PI and answer until it says EXIT.

    Parameters
    ----------
    potential
        Ready to compute.
    address
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
    if address.mpi:
        from ipi_driver.wire.ffmpi import MPIDriver  # needs mpi4py, which starts MPI

        MPIDriver(potential, report).serve()
        return
    stream = (
        connect_inet(address.host, address.port or 0, address.wait)
        if address.unix is None
        else connect_unix(address.unix, address.wait, address.prefix)
    )
    with stream:
        payload = SharedMemoryPayload() if address.shm else SocketPayload()
        Driver(stream, potential, report, payload, interruptible=interruptible).serve()
