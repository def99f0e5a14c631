# SPDX-License-Identifier: MIT
"""The ASE calculator: changes between calls, defaults, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from conftest import checkpoint
from structures import structure

from ipi_driver.options import Options
from ipi_driver.potential import UMAPotential
from ipi_driver.units import HARTREE
from uma_md import UMACalculator
from uma_md.files.structures import read_structure


def fresh(variant: str, task: str = "omol") -> UMACalculator:
    return UMACalculator(checkpoint(variant), task, dtype="float64", device="cpu")


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
        ({"charge": True}, TypeError, "charge must be an integer, found True"),
        ({"charge": np.bool_(False)}, TypeError, "charge must be an integer, found"),
        ({"charge": "0"}, TypeError, "charge must be an integer, found '0'"),
        ({"charge": None}, TypeError, "charge must be an integer, found None"),
        ({"charge": np.nan}, TypeError, "charge must be an integer, found nan"),
        ({"spin": np.inf}, TypeError, "spin must be an integer, found inf"),
        ({"spin": 1 + 0j}, TypeError, "spin must be an integer, found"),
        ({"spin": np.array([1])}, TypeError, "spin must be an integer, found array"),
        ({"spin": [1]}, TypeError, r"spin must be an integer, found \[1\]"),
        ({"charge": -101}, ValueError, "charge must be -100 to 100, found -101"),
        ({"spin": 101}, ValueError, "spin must be 0 to 100, found 101"),
    ],
)
def test_bad_charges_and_spins_are_refused(change, error, message, calculators):
    """With results at hand as well, and again, and in a template of i-PI."""
    atoms = molecule("H2O")
    atoms.calc = calculators("tiny-1p1")
    atoms.get_potential_energy()
    atoms.info.update(change)
    for _ in range(2):
        with pytest.raises(error, match=message):
            atoms.get_potential_energy()
    with pytest.raises(error, match=message):
        UMAPotential(checkpoint("tiny-1p1"), atoms, Options(task="omol", device="cpu"), print)
    atoms.info.clear()
    assert np.isfinite(atoms.get_potential_energy())


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.int8, np.array, str])
def test_whole_numbers_of_any_kind_are_charges_and_spins(kind, calculators, tmp_path):
    atoms = molecule("H2O")
    atoms.info.update(charge=-1, spin=2)
    atoms.calc = calculators("tiny-1p2p1")
    expected = atoms.get_potential_energy()
    if kind is str:  # as extended XYZ reads them back
        (tmp_path / "atoms.xyz").write_text(
            "1\nProperties=species:S:1:pos:R:3 charge=-1.0 spin=2.0\nH 0 0 0\n"
        )
        info = read_structure(tmp_path / "atoms.xyz").info
    else:
        info = {"charge": kind(-1), "spin": kind(2)}
    for start in ({"charge": 0}, {"charge": -1, "spin": 2}):
        atoms.info.update(start)
        atoms.get_potential_energy()
        atoms.info.update(info)
        assert atoms.get_potential_energy() == expected
    options = Options(task="omol", dtype="float64", device="cpu")
    served = UMAPotential(checkpoint("tiny-1p2p1"), atoms, options, lambda _: None)
    assert (served.charge, served.spin) == (-1, 2)
    assert Options(charge=info["charge"]).charge == -1


def test_a_charge_that_is_changed_in_its_array_is_noticed(calculators):
    atoms = molecule("H2O")
    atoms.info["charge"] = np.array(0)
    atoms.calc = calculators("tiny-1p2p1")
    before = atoms.get_potential_energy()
    atoms.info["charge"][()] = 1
    assert atoms.get_potential_energy() != before


def test_charges_and_moments_of_atoms_are_warned_of_once(calculators):
    calculator = fresh("tiny-1p2p1")
    atoms = molecule("OH")
    assert atoms.get_initial_magnetic_moments().any()
    atoms.set_initial_charges([-1, 0])
    with pytest.warns(UserWarning, match="are not read") as warned:
        calculator.get_potential_energy(atoms)
    sentences = [str(warning.message) for warning in warned]
    assert [s.partition(" of atoms are not read: give ")[0] for s in sentences] == [
        "initial charges",
        "initial magnetic moments",
    ]
    atoms.rattle()
    calculator.get_potential_energy(atoms)
    told = molecule("OH")
    told.info["spin"] = 2
    fresh("tiny-1p2p1").get_potential_energy(told)
    UMACalculator(checkpoint("tiny-1p2p1"), "omol", spin=2, device="cpu").get_potential_energy(
        molecule("OH")
    )
    reports: list[str] = []
    options = Options(task="omol", device="cpu", charge=0)
    UMAPotential(checkpoint("tiny-1p2p1"), atoms, options, reports.append)
    assert [text for text in reports if "not read" in text] == [f"warning: {sentences[1]}"]


def test_a_failure_leaves_no_results_of_other_atoms():
    calculator = fresh("tiny-1p1")
    calculator.get_potential_energy(molecule("H2O"))
    with pytest.raises(ValueError, match="two at the same position"):
        calculator.calculate(Atoms("H2"))
    with pytest.raises(ValueError, match="two at the same position"):
        calculator.get_potential_energy(Atoms("H2"))


def test_bad_structures_are_refused(calculators):
    calculator = calculators("tiny-1p1")
    cases = [
        (Atoms(), "must have atoms, found none"),
        (Atoms("Fm", cell=[9, 9, 9], pbc=True), "knows the elements H to Es, found Fm"),
        (Atoms("H"), "UMA-1.1 does not describe a single isolated atom"),
        (Atoms("Cu", cell=[40] * 3, pbc=True), "UMA-1.1 does not describe a single isolated atom"),
        (Atoms("Cu", cell=[40, 3, 3], pbc=(1, 0, 0)), "does not describe a single isolated atom"),
        (Atoms("H2", pbc=True), "needs a cell vector, found none along a"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), "must be apart, found two at the same position"),
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


def test_single_atoms_with_neighbors_are_served_by_all_models(calculators):
    """Images are neighbors; and of two atoms none is single, as far apart as they may be."""
    calculator = calculators("tiny-1p1")
    for atoms in (
        Atoms("Cu", cell=[40, 3, 40], pbc=True),
        Atoms("Cu", cell=[0, 3, 0], pbc=(0, 1, 0)),
        Atoms("Cu2", [[0, 0, 0], [0, 0, 50]]),
    ):
        assert np.isfinite(calculator.get_potential_energy(atoms))


@pytest.mark.parametrize("variant", ["tiny-1p1", "tiny-1p2"])
def test_atoms_far_from_each_other_are_served_alike(variant, calculators):
    """As by fairchem-core, also where no atom has a neighbor; in each way to evaluate."""
    calculator = calculators(variant)
    atoms = Atoms("O2", [[0, 0, 0], [0, 0, 500]])
    energy = calculator.get_potential_energy(atoms)
    assert not calculator.get_forces(atoms).any()
    boxed = Atoms("O2", atoms.positions, cell=[40, 40, 600], pbc=True)
    for found in calculator.predict([atoms, boxed]):
        assert found.energy == pytest.approx(energy, abs=1e-9)
    served = UMAPotential(
        checkpoint(variant), atoms, Options(task="omol", device="cpu", dtype="float64"), print
    )
    assert served.warm_up().energies[0] * HARTREE == pytest.approx(energy, abs=1e-9)


@pytest.mark.parametrize("cell", [None, [40] * 3])
def test_a_template_of_one_isolated_atom_is_refused_alike(cell):
    options = Options(task="omol", device="cpu")
    lone = Atoms("Cu", cell=cell, pbc=cell is not None)
    with pytest.raises(ValueError, match=r"UMA-1\.1 does not describe a single isolated atom"):
        UMAPotential(checkpoint("tiny-1p1"), lone, options, lambda _: None).warm_up()


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
