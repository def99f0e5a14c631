# SPDX-License-Identifier: MIT
"""The ASE calculator: changes between calls, defaults, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from conftest import checkpoint
from structures import structure

from uma_md import UMACalculator


def fresh(variant: str, task: str = "omol") -> UMACalculator:
    return UMACalculator(checkpoint(variant), task, dtype="float64")


@pytest.mark.parametrize("variant", ["tiny-1p2", "tiny-1p2p1"])
def test_one_calculator_is_right_when_everything_changes(variant):
    calculator = fresh(variant)
    cases = [
        ("water:8", "omol"),
        ("mol:OH@-1,1", "omol"),
        ("mol:OH@0,2", "omol"),
        ("nacl:2", "omat"),
        ("mol:OH@0,2", "oc20"),
        ("water:8", "omol"),
    ]
    for spec, task in cases:
        atoms, other = structure(spec), structure(spec)
        calculator.task = task
        atoms.calc, other.calc = calculator, fresh(variant, task)
        assert atoms.get_potential_energy() == other.get_potential_energy()
        assert (atoms.get_forces() == other.get_forces()).all()


def test_changing_charge_or_spin_alone_is_noticed(calculators):
    atoms = structure("mol:OH@0,2")
    atoms.calc = calculators("tiny-1p2p1")
    energies = [atoms.get_potential_energy()]
    atoms.info["charge"] = -1
    energies.append(atoms.get_potential_energy())
    atoms.info["spin"] = 1
    energies.append(atoms.get_potential_energy())
    assert len(set(energies)) == 3


def test_charge_and_spin_default_as_in_fairchem(calculators):
    for task, spin in (("omol", 1), ("omat", 0)):
        plain, told = molecule("H2O"), molecule("H2O")
        told.info.update(charge=0, spin=spin)
        plain.calc = told.calc = calculators("tiny-1p1", task)
        assert plain.get_potential_energy() == told.get_potential_energy()
        assert plain.info == {}


@pytest.mark.parametrize("pbc", [(1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 0)])
def test_open_directions_equal_vacuum(pbc, calculators):
    """A direction without repeats is one whose repeats lie beyond the cutoff."""
    calculator = calculators("tiny-1p1", "omat")
    atoms = structure("nacl:2")
    atoms.set_cell(atoms.cell.array + np.diag([0.2, 0.1, 0.3]), scale_atoms=False)
    atoms.pbc = pbc
    wide = atoms.copy()
    cell = atoms.cell.array.copy()
    for axis in range(3):
        if not pbc[axis]:
            cell[axis] *= 5
    wide.set_cell(cell)
    wide.pbc = True
    atoms.calc, wide.calc = calculator, calculator
    forces = atoms.get_forces()
    assert atoms.get_potential_energy() == pytest.approx(wide.get_potential_energy(), abs=1e-9)
    assert np.abs(forces - wide.get_forces()).max() < 1e-10


def test_a_molecule_needs_no_cell_and_has_no_stress(calculators):
    atoms = molecule("H2O")
    atoms.calc = calculators("tiny-1p1")
    atoms.get_forces()
    with pytest.raises(NotImplementedError):
        atoms.get_stress()


def test_results_do_not_depend_on_which_is_asked_first(calculators):
    first, second = structure("water:8"), structure("water:8")
    first.calc, second.calc = fresh("tiny-1p1"), fresh("tiny-1p1")
    stress = first.get_stress()
    second.get_potential_energy()
    assert (stress == second.get_stress()).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"charge": 0.5}, TypeError, "charge must be an integer, found 0.5"),
        ({"charge": -101}, ValueError, "charge must be -100 to 100, found -101"),
        ({"spin": 101}, ValueError, "spin must be 0 to 100, found 101"),
    ],
)
def test_bad_charges_and_spins_are_refused(change, error, message, calculators):
    atoms = molecule("H2O")
    atoms.info.update(change)
    atoms.calc = calculators("tiny-1p1")
    with pytest.raises(error, match=message):
        atoms.get_potential_energy()


def test_bad_structures_are_refused(calculators):
    calculator = calculators("tiny-1p1")
    cases = [
        (Atoms(), "must have atoms, found none"),
        (Atoms("Fm", cell=[9, 9, 9], pbc=True), "knows the elements H to Es, found Fm"),
        (Atoms("H"), "UMA-1.1 does not describe a single isolated atom"),
        (Atoms("H2", pbc=True), "needs a cell vector, found none along a"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), "must be apart, found two at one place"),
        (Atoms("H", cell=[1, 1, 1], pbc=True), "at most 300 neighbors within 6.0 angstrom"),
    ]
    for atoms, message in cases:
        atoms.calc = calculator
        with pytest.raises(ValueError, match=message):
            atoms.get_potential_energy()


def test_a_single_atom_is_served_where_the_model_supports_it(calculators):
    atoms = Atoms("H", info={"spin": 2})
    atoms.calc = calculators("tiny-1p2p1")
    assert np.isfinite(atoms.get_potential_energy())
    assert (atoms.get_forces() == 0).all()


def test_bad_arguments_are_refused():
    path = checkpoint("tiny-1p1")
    with pytest.raises(ValueError, match="task must be one of .*; none was given"):
        UMACalculator(path)
    with pytest.raises(ValueError, match="dtype must be one of float32, float64"):
        UMACalculator(path, "omol", dtype="half")
    with pytest.raises(ValueError, match="device must be auto, cpu or cuda, found 'gpu'"):
        UMACalculator(path, "omol", device="gpu")
    with pytest.raises(ValueError, match="chunk must be 1 or more"):
        UMACalculator(path, "omol", chunk=0)
    with pytest.raises(ValueError, match="recompute must be auto, on or off"):
        UMACalculator(path, "omol", recompute="never")
    with pytest.raises(FileNotFoundError, match="checkpoint must be an existing file"):
        UMACalculator("missing.pt", "omol")


def test_an_exported_file_has_one_task(exported):
    with pytest.raises(ValueError, match="exported for task omol, found task 'omat'"):
        UMACalculator(exported("tiny-1p1"), "omat")
