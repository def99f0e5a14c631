# SPDX-License-Identifier: MIT
"""What two ranks measure of their messages, by ``mpiexec -n 2`` and this module.

Both ranks send and receive at once, as in an exchange; rank 0 prints bandwidth and latency.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from mpi4py import MPI

SMALL, LARGE = 8, 1 << 24  # bytes
ROUNDS = 200, 10


def seconds(comm: MPI.Intracomm, size: int, rounds: int) -> float:
    """Time of a message of so many bytes each way, the best of three series."""
    out, into = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.uint8)
    other, series = 1 - comm.rank, []
    for _ in range(3):
        comm.Barrier()
        start = time.perf_counter()
        for _ in range(rounds):
            comm.Sendrecv(out, other, recvbuf=into, source=other)
        series.append((time.perf_counter() - start) / rounds)
    return min(series)


def main() -> None:
    """Measure and print."""
    comm = MPI.COMM_WORLD
    latency, whole = (seconds(comm, *pair) for pair in zip((SMALL, LARGE), ROUNDS, strict=True))
    if comm.rank == 0:
        sys.stdout.write(json.dumps([LARGE / max(whole - latency, 1e-9), latency]))


if __name__ == "__main__":
    main()
