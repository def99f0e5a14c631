# SPDX-License-Identifier: MIT
"""What ``docs/ase.md`` says of ASE is so."""

import numpy as np
import pytest
from ase.build import fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.mixing import SumCalculator
from ase.filters import FrechetCellFilter
from ase.io import read, write
from structures import structure


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.extxyz", True),
        ("a.traj", True),
        ("a.json", False),
        ("a.db", False),
        ("POSCAR", False),
        ("a.cif", False),
    ],
)
def test_formats_that_keep_charge_and_spin(name, kept, tmp_path):
    atoms = molecule("OH", cell=[9.0, 9.0, 9.0], pbc=True)
    atoms.info.update(charge=-1, spin=1)
    write(tmp_path / name, atoms)
    (back,) = read(tmp_path / name, ":")
    info = back.info
    assert ({"charge": -1, "spin": 1}.items() <= info.items()) == kept
    assert ("charge" in info) == kept


def test_a_sum_of_calculators_is_told_of_a_change_of_charge(calculators):
    atoms = structure("mol:OH@0,2")
    atoms.calc = SumCalculator([calculators("tiny-1p2p1")])
    before = atoms.get_potential_energy()
    atoms.info["charge"] = -1
    assert atoms.get_potential_energy() == before
    atoms.calc.atoms = None
    assert atoms.get_potential_energy() != before


def test_stress_along_open_directions_is_that_of_the_volume_chosen(calculators):
    slab = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    slab.rattle(0.05, seed=1)
    slab.calc = calculators("tiny-1p2p1", "omat")
    assert slab.pbc.tolist() == [True, True, False]
    wide = slab.copy()
    wide.cell[2, 2] *= 2
    wide.calc = slab.calc
    assert 2 * wide.get_stress() == pytest.approx(slab.get_stress(), abs=1e-9)
    assert np.abs(slab.get_stress()[2:5]).max() > 1e-6
    held = FrechetCellFilter(slab, mask=[1, 1, 0, 0, 0, 1])
    assert (held.get_forces()[-3:][2] == 0).all()
    with pytest.raises(PropertyNotImplementedError):
        molecule("H2O", calculator=slab.calc).get_stress()
    flat = slab.copy()
    flat.cell[2] = flat.cell[0] + 2 * flat.cell[1]  # along the open direction, in the others' plane
    flat.calc = slab.calc
    assert flat.get_potential_energy() == pytest.approx(slab.get_potential_energy(), abs=1e-9)
    with pytest.raises(PropertyNotImplementedError):
        flat.get_stress()


def test_mirror_images_differ(calculators):
    atoms, mirrored = structure("water:8"), structure("water:8")
    mirrored.positions[:, 0] *= -1
    mirrored.positions[:, 0] += mirrored.cell[0, 0]
    energies = [calculators("tiny-1p2p1").get_potential_energy(a) for a in (atoms, mirrored)]
    assert abs(energies[0] - energies[1]) > 1e-6
