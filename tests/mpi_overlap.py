# SPDX-License-Identifier: MIT
"""Marks of a profile, for ``test_overlap.py``: what a rank computes while rows are on their way."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from mpi_cases import atoms_of, model
from torch.profiler import ProfilerActivity, profile

from uma_md import UMACalculator

WORLD = MPI.COMM_WORLD
NAMES = ("exchange", "messages", "arrived")


def marks_of(found: profile) -> list[str]:
    """Names of what rows and messages did, in the order in which it began."""
    marks = [event for event in found.events() if event.name in NAMES]
    return [mark.name for mark in sorted(marks, key=lambda mark: mark.time_range.start)]


def overlaps():
    """Marks of a force call by each engine, and forces of two calls, of all ranks."""
    found = {}
    for engine in ("portable", "kernels"):
        atoms = atoms_of("water:32")
        atoms.calc = UMACalculator(
            model("tiny-1p1"),
            "omol",
            dtype="float64",
            engine=engine,
            chunk=500,
            device="cpu",
            comm=WORLD,
        )
        forces = [atoms.get_forces()]
        atoms.rattle(1e-3)
        atoms.get_forces()
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            atoms.positions[:] = atoms_of("water:32").positions
            forces.append(atoms.get_forces())
        layers = atoms.calc.metadata.num_layers
        found[engine] = WORLD.allgather((marks_of(profiled), np.array(forces), layers))
    return found
