# SPDX-License-Identifier: MIT
"""Structures of many compositions, charges, spins, cells and sizes, from a seed."""

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule
from structures import structure

MOLECULES = ("H2O", "CH4", "CH3CH2OH", "NH3", "C6H6", "LiF", "SO2", "H2", "CH3SCH3", "Si2H6")


def assorted(count: int, seed: int = 0) -> list[Atoms]:
    """So many structures in random order, half of them molecules in open space."""
    rng = np.random.default_rng(seed)
    makers = (_molecule, _molecule, _molecule, _ion, _in_a_box, _crystal, _sheet, _pair, _large)
    made = []
    for number in range(count):
        atoms = makers[number % len(makers)](rng)
        atoms.rattle(0.05, rng=rng)
        made.append(atoms)
    return [made[number] for number in rng.permutation(count)]


def _molecule(rng: np.random.Generator) -> Atoms:
    return molecule(rng.choice(MOLECULES))


def _ion(rng: np.random.Generator) -> Atoms:
    """A charge and a spin of its own, far from the origin."""
    atoms = _molecule(rng)
    atoms.info.update(charge=int(rng.integers(-2, 3)), spin=int(rng.integers(1, 4)))
    atoms.translate(rng.normal(scale=1e3, size=3))
    return atoms


def _in_a_box(rng: np.random.Generator) -> Atoms:
    """Periodic along some directions, perhaps with neighbors among its images."""
    atoms = _molecule(rng)
    atoms.set_cell(rng.uniform(5, 12, size=3))
    atoms.pbc = rng.random(3) < 0.6
    atoms.translate(rng.normal(scale=10, size=3))
    return atoms


def _crystal(rng: np.random.Generator) -> Atoms:
    cells = (
        bulk("Cu"),
        bulk("Cu", cubic=True),
        bulk("NaCl", "rocksalt", a=5.64),
        bulk("NaCl", "rocksalt", a=5.64) * (3, 1, 1),
        bulk("Si"),
    )
    atoms = cells[rng.integers(len(cells))].copy()
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(scale=0.05, size=(3, 3))), scale_atoms=True)
    return atoms


def _sheet(rng: np.random.Generator) -> Atoms:
    if rng.random() < 0.5:
        return graphene(size=(2, 2, 1), vacuum=5.0)
    return fcc111("Cu", (2, 2, 2), vacuum=6.0)


def _pair(rng: np.random.Generator) -> Atoms:
    """Two molecules near each other or far apart: the shares of elements of one."""
    first = molecule("H2O")
    second = first.copy()
    second.translate([rng.uniform(2.5, 15), 0, 0])
    return first + second


def _large(rng: np.random.Generator) -> Atoms:
    """More atoms than all pairs are taken of, in a box or without it."""
    atoms = structure("water:16")
    atoms.pbc = rng.random() < 0.5
    return atoms
