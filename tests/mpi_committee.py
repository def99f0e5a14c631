# SPDX-License-Identifier: MIT
"""Committees whose atoms are spread over ranks, for ``test_committee.py``."""

from typing import Any

from mpi_cases import atoms_of, model
from mpi_checks import WORLD, outcome
from mpi_faults import at_the_update

from uma_md import UMACalculator

# Layers, degrees and what is summed over ranks in each layer are not the same.
MEMBERS = ("tiny-1p1", "tiny-1p2", "tiny-m")
WHERE: dict[str, Any] = {"task": "omat", "dtype": "float64", "device": "cpu"}


def committee():
    """Results over the ranks and of this one alone for two structures, and what faults give."""
    models = [model(name) for name in MEMBERS]
    spread = UMACalculator(models, **WHERE, comm=WORLD)
    alone = UMACalculator(models, **WHERE)
    found = []
    for name in ("water:8", "cutri:4"):
        results = []
        for calculator in (spread, alone):
            calculator.calculate(atoms_of(name), ["energy"])
            results.append(calculator.results)
        found.append(results)
    faults = []
    for member in range(len(MEMBERS)):
        for moved in (0.0, 0.001):  # with the division that is there, and of an atom that moved
            atoms = atoms_of("water:8")
            atoms.positions[0, 0] += moved
            spread.reset()
            with spoiled(spread, member):
                mine = outcome(lambda atoms=atoms: spread.get_potential_energy(atoms))
            faults.append(WORLD.gather(mine))
    spread.reset()
    return found, faults, spread.get_potential_energy(atoms_of("water:8"))


def break_network():
    raise ValueError("the network broke")


def spoiled(calculator, member):
    """A member that fails on one rank in the midst of an evaluation."""
    potential = calculator._potential.members[member]
    return at_the_update(potential, 0, WORLD.size - 1, break_network)
