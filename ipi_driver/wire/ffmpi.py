# SPDX-License-Identifier: MIT
"""Serving i-PI over MPI, as its ``ffmpi`` force field: one job with i-PI as rank 0.

    mpiexec -n 1 i-pi input.xml : -n 1 uma-ipi MODEL --template FILE --mpi

Batches come as they are, without copies to fill them up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from ipi_driver.wire.driver import Potential
from ipi_driver.wire.protocol import (
    MOST_BATCH_BYTES,
    Results,
    Structures,
    check_natoms,
    extras_bytes,
    parse_parameters,
    pop_batch_size,
)
from uma_md.ranks.agreement import wait_for

IPI = 0  # i-PI's rank
HELLO, INIT, WORK, RESULT, EXTRA, EXIT = range(1, 7)  # tags


def split_world() -> MPI.Intracomm:
    """The ranks of the job but i-PI's; i-PI takes part in this once, at its start."""
    world = MPI.COMM_WORLD
    if world.Get_rank() == IPI or world.Get_size() < 2:
        raise ValueError(
            "i-PI must be rank 0 of the job: run 'mpiexec -n 1 i-pi input.xml : -n 1 uma-ipi ...'"
        )
    drivers = world.Split(color=1, key=world.Get_rank())
    assert isinstance(drivers, MPI.Intracomm)
    return drivers


def introduce(drivers: MPI.Intracomm, name: str) -> None:
    """Tell i-PI which ranks work together and for which force field; the first one speaks."""
    members = drivers.allgather(MPI.COMM_WORLD.Get_rank())
    if drivers.Get_rank() == 0:
        words = np.array([members[0], len(members), *members], np.int32)
        MPI.COMM_WORLD.Send(words, IPI, HELLO)
        MPI.COMM_WORLD.Send(np.frombuffer(name.encode(), np.uint8), IPI, HELLO)


class MPIDriver:
    """Serves one potential to the i-PI of this MPI job.

    Parameters
    ----------
    potential
        Ready to compute.
    report
        Takes each sentence about what was agreed.
    """

    def __init__(self, potential: Potential, report: Callable[[str], None]) -> None:
        self._world = MPI.COMM_WORLD
        self._potential = potential
        self._report = report

    def serve(self) -> None:
        """Answer until i-PI says EXIT.

        Raises
        ------
        ValueError
            When it sends what cannot be served.
        """
        while True:
            tag = wait_for(self._world, IPI)
            if tag == INIT:
                self._initialize()
            elif tag == WORK:
                self._compute()
            elif tag == EXIT:
                self._receive(np.int32, EXIT)
                return
            else:
                raise ValueError(f"i-PI must send INIT, WORK or EXIT, found a message of tag {tag}")

    def _receive(self, dtype: type, tag: int) -> np.ndarray:
        """A message of any length."""
        status = MPI.Status()
        self._world.Probe(IPI, tag, status)
        values: np.ndarray = np.empty(status.Get_count(MPI.BYTE) // np.dtype(dtype).itemsize, dtype)
        self._world.Recv(values, IPI, tag)
        return values

    def _initialize(self) -> None:
        self._receive(np.int32, INIT)
        parameters = parse_parameters(self._receive(np.uint8, INIT).tobytes().decode())
        size = pop_batch_size(parameters, self._potential.natoms)
        self._report(f"i-PI asks for up to {size} structures at a time")
        self._potential.configure(parameters)

    def _compute(self) -> None:
        natoms, batch = map(int, self._receive(np.int32, WORK))
        check_natoms(natoms, self._potential.natoms)
        if not 0 < batch * natoms * 24 <= MOST_BATCH_BYTES:
            raise ValueError(f"i-PI must send structures within reason, announced {batch}")
        work = self._receive(np.float64, WORK).reshape(batch, 18 + 3 * natoms)
        cells = work[:, :9].reshape(batch, 3, 3).transpose(0, 2, 1)
        results = self._potential(Structures(cells, work[:, 18:].reshape(batch, natoms, 3)))
        self._send(results)

    def _send(self, results: Results) -> None:
        batch = len(results.energies)
        parts = (array.reshape(batch, -1) for array in results[:3])
        self._world.Send(np.hstack([*parts]), IPI, RESULT)
        self._world.Send(np.frombuffer(extras_bytes(results.extras), np.uint8), IPI, EXTRA)
