# SPDX-License-Identifier: MIT
"""What each rank does that ``rank_session.py`` keeps: take work, answer, wait.

Those that have none sleep until a line comes for them: a rank that waits in MPI would keep a core
busy.
"""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from mpi4py import MPI

WORLD = MPI.COMM_WORLD


def serve(address: str, do: Callable[[Any, MPI.Intracomm], object]) -> None:
    """Answer all work, which is given with the ranks that share it, until the tests end or die."""
    communicators: dict[int, MPI.Intracomm] = {}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        stream = connection.makefile("rw")
        print(WORLD.rank, file=stream, flush=True)
        for work, ranks, seconds in _orders(stream):
            if ranks not in communicators:
                communicators[ranks] = WORLD.Create_group(WORLD.group.Incl(range(ranks)))
            # The alarm ends this process even where it hangs in MPI, and with it all others.
            signal.alarm(seconds)
            answer = do(work, communicators[ranks])
            signal.alarm(0)
            print(json.dumps(answer), file=stream, flush=True)


def _orders(stream: TextIO) -> Iterator[tuple[Any, int, int]]:
    """Work, number of ranks and time limit, until nothing more can come."""
    while line := stream.readline():
        yield json.loads(line)
