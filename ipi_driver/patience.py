# SPDX-License-Identifier: MIT
"""Waiting for a message of another rank without taking a core."""

from __future__ import annotations

import time

from mpi4py import MPI

EAGER = 1e-3  # seconds of looking without rest, then with
REST = 5e-5


def wait_for(comm: MPI.Comm, source: int) -> int:
    """Wait until a rank has sent a message; returns its tag, and leaves the message there."""
    status = MPI.Status()
    start = time.perf_counter()
    while not comm.Iprobe(source, MPI.ANY_TAG, status):
        if time.perf_counter() - start > EAGER:
            time.sleep(REST)
    return status.Get_tag()
