# SPDX-License-Identifier: MIT
"""Evaluates beads on the ranks of an MPI job in several ways; rank 0 writes what they found.

``mpiexec -n 4 python ipi_ranks.py CHECKPOINT RESULT``
"""

import sys
from typing import Any

import numpy as np
from mpi4py import MPI
from structures import structure

from ipi_driver.beads.ranked_engine import RankedEngine
from ipi_driver.options import Options
from ipi_driver.potential import UMAPotential
from ipi_driver.units import HARTREE
from ipi_driver.wire.protocol import Structures

ANGSTROM = 1.8897261
WAYS = (0, 1, 2, 4)  # ranks per bead


def beads(atoms, seed: int, count: int = 3) -> Structures:
    """Structures around one, as i-PI sends them: moved by whole cells, in a cell that changes."""
    rng = np.random.default_rng(seed)
    moved = atoms.positions + rng.normal(scale=0.05, size=(count, len(atoms), 3))
    if atoms.pbc.all():
        moved += rng.integers(-2, 3, size=moved.shape) @ atoms.cell.array
    cell = atoms.cell.array if atoms.pbc.any() else 40 * np.eye(3)
    return Structures(np.array([cell] * count) * ANGSTROM, moved * ANGSTROM)


def compare(name: str, task: str, ways=WAYS) -> list[float]:
    """Largest differences from one rank, of energies, forces and virials in eV and bohr."""
    atoms, comm = structure(name), MPI.COMM_WORLD
    options = Options(task=task, dtype="float64", device="cpu")
    local = UMAPotential(sys.argv[1], atoms, options, lambda _: None)
    found = []
    for way in ways:
        engine = RankedEngine(
            comm, sys.argv[1], atoms if comm.rank == 0 else None, options, ranks_per_bead=way
        )
        if comm.rank:
            engine.follow()
            continue
        ranked = UMAPotential(sys.argv[1], atoms, options, lambda _: None, engine)
        for seed, count in enumerate((3, 3, 1)):
            one, many = (each(beads(atoms, seed, count)) for each in (local, ranked))
            found += [np.abs(a - b).max() * HARTREE for a, b in zip(one[:3], many[:3], strict=True)]
        engine.finish()
    return found


def main() -> None:
    found = {name: compare(name, task) for name, task in (("water:8", "omol"), ("far", "omol"))}
    found["shear"] = compare("shear", "omat", (0, 4))
    if MPI.COMM_WORLD.rank == 0:
        arrays: dict[str, Any] = {name: np.array(values) for name, values in found.items()}
        np.savez(sys.argv[2], **arrays)


if __name__ == "__main__":
    main()
