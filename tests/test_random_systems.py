# SPDX-License-Identifier: MIT
"""Random systems on random ranks against ASE; ``make soak`` takes many more and larger ones.

The number of a trial is its seed: ``pytest tests/test_random_systems.py --trials 137:138``.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import get_distances
from lammps_runs import Block, static

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]
ELEMENTS = ("H", "C", "O", "Na", "Al", "Cl", "Cu", "Pt")
SMALLEST, LARGEST = 2.0, 40.0  # sides of boxes, angstrom
DENSEST = 0.08  # atoms per cubic angstrom
FLATTEST = 0.1  # angstrom
AT_ONCE = 12  # trials


@dataclass(frozen=True)
class Trial:
    """One random system and how LAMMPS is to run it."""

    seed: int
    atoms: Atoms
    ranks: int
    setup: str
    boundary: str
    style: str


def trial(seed: int, most_atoms: int) -> Trial:
    """The trial of a seed."""
    rng = np.random.default_rng((20261124, seed))
    atoms = _atoms(rng, most_atoms)
    ranks = int(rng.integers(1, 7))
    grids = [
        (x, y, ranks // x // y)
        for x in range(1, ranks + 1)
        for y in range(1, ranks + 1)
        if ranks % (x * y) == 0
    ]
    grid = grids[rng.integers(len(grids))]
    skin = rng.choice([0.0, rng.uniform(0, 3)])
    # LAMMPS has no bins for a box that shrinks to almost nothing around flat atoms.
    extents = np.ptp(atoms.positions, axis=0)[~atoms.pbc]
    lists = "nsq" if (extents < FLATTEST).any() else "bin"
    setup = f"processors {grid[0]} {grid[1]} {grid[2]}\nneighbor {skin:.3f} {lists}"
    style = f"chunk {int(10 ** rng.uniform(0.5, 4))} recompute {rng.choice(['auto', 'on', 'off'])}"
    return Trial(seed, atoms, ranks, setup, str(rng.choice(["f", "s", "m"])), style)


def _atoms(rng: np.random.Generator, most_atoms: int) -> Atoms:
    """Atoms at least 0.7 A apart in a box that may be sheared and open."""
    sides = np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST), 3))
    pbc = rng.random(3) < 0.7
    cell = np.diag(sides)
    if rng.random() < 0.5:
        # LAMMPS shears along an open direction only.
        xy, xz, yz = rng.uniform(-0.5, 0.5, 3)
        cell[1, 0] = xy * sides[0] * pbc[1]
        cell[2, :2] = xz * sides[0] * pbc[2], yz * sides[1] * pbc[2]
    room = max(1, int(DENSEST * sides.prod()))
    wanted = min(int(np.exp(rng.uniform(0, np.log(most_atoms + 0.5)))), room)
    least = 1 if pbc.any() else 2
    kinds = rng.choice(ELEMENTS, size=rng.integers(1, 5), replace=False)
    points = np.zeros((0, 3))
    for _ in range(50 * max(wanted, least)):
        point = rng.uniform(0.02, 0.98, (1, 3)) @ cell
        if len(points) == 0 or get_distances(point, points, cell, pbc)[1].min() > 0.7:
            points = np.vstack((points, point))
        if len(points) >= max(wanted, least):
            break
    return Atoms(rng.choice(kinds, len(points)), points, cell=cell, pbc=pbc)


def test_random_systems_give_the_numbers_of_ase(pytestconfig, exported, calculators, tmp_path):
    first, end = map(int, pytestconfig.getoption("--trials").split(":"))
    model, calculator = exported("tiny-1p2p1", "omat"), calculators("tiny-1p2p1", "omat")
    for start in range(first, end, AT_ONCE):
        trials = [
            trial(seed, pytestconfig.getoption("--most-atoms"))
            for seed in range(start, min(start + AT_ONCE, end))
        ]
        for ranks in sorted({one.ranks for one in trials}):
            members = [one for one in trials if one.ranks == ranks]
            blocks = [
                Block(one.atoms, model, one.style, one.setup, open_boundary=one.boundary)
                for one in members
            ]
            found = static(blocks, ranks, tmp_path / f"{start}-{ranks}")
            for one, block, prediction in zip(members, blocks, found, strict=True):
                _compare(one, block.atoms, prediction, calculator)


def _compare(one: Trial, atoms: Atoms, prediction, calculator) -> None:
    atoms.calc = calculator
    where = f"trial {one.seed}: {atoms}, {one}"
    natoms = len(atoms)
    assert abs(prediction.energy - atoms.get_potential_energy()) < 1e-8 * max(1, natoms / 10), where
    forces = atoms.get_forces()
    scale = max(1.0, np.abs(forces).max())
    assert np.abs(prediction.forces - forces).max() < 1e-8 * scale, where
    if atoms.pbc.all():
        virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
        largest = max(1.0, np.abs(virial).max())
        assert np.abs(prediction.virial - virial).max() < 1e-6 * largest, where
