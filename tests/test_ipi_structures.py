# SPDX-License-Identifier: MIT
"""What i-PI's force field gets for single structures, next to ASE's calculator."""

import json
import re

import numpy as np
import pytest
from ase.stress import voigt_6_to_full_3x3_stress
from conftest import checkpoint
from structures import structure, water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_runs import ANGSTROM, ELECTRONVOLT, Field

from ipi_driver.options import Options
from ipi_driver.potential import UMAPotential
from ipi_driver.units import BOHR, HARTREE

pytestmark = [
    pytest.mark.ipi,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


def serve(atoms, task="omol", **options) -> UMAPotential:
    chosen = Options(task=task, dtype="float64", device="cpu", **options)
    return UMAPotential(checkpoint("tiny-1p2p1"), atoms, chosen, lambda _: None)


def upright(atoms):
    """The same crystal in i-PI's frame: cell vectors a along x, b in the xy plane."""
    cell, rotation = atoms.cell.standard_form()
    rotated = atoms.copy()
    rotated.positions = atoms.positions @ rotation.T
    rotated.cell = cell
    return rotated


def check(found, atoms, calculator) -> None:
    """Energy, forces and the whole, symmetric virial."""
    energy, forces, virial, _ = found
    atoms.calc = calculator
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    assert forces == pytest.approx(atoms.get_forces(), abs=1e-8)
    if atoms.pbc.all():
        stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
        assert virial == pytest.approx(-stress * atoms.get_volume(), abs=1e-7)
    elif not atoms.pbc.any():
        assert virial == pytest.approx(atoms.positions.T @ atoms.get_forces(), abs=1e-7)


def test_units_are_those_of_ipi():
    assert pytest.approx(ANGSTROM, rel=1e-15) == 1 / BOHR
    assert pytest.approx(ELECTRONVOLT, rel=1e-15) == 1 / HARTREE


@pytest.mark.parametrize("batch", [1, 3])
def test_triclinic_cells_are_understood(batch, calculators):
    atoms = upright(structure("shear"))
    assert abs(atoms.cell[1, 0]) > 0.1
    with Field(serve(atoms, "omat"), batch) as field:
        copies = [atoms.copy() for _ in range(batch)]
        for number, copy in enumerate(copies):
            copy.rattle(0.02, seed=number)
        found = field.evaluate((copy.cell.array, copy.positions) for copy in copies)
    for one, copy in zip(found, copies, strict=True):
        check(one, copy, calculators("tiny-1p2p1", "omat"))


def test_slabs_are_open_along_their_normal(calculators):
    atoms = structure("slab")
    atoms.pbc = (True, True, False)
    atoms = upright(atoms)
    with Field(serve(atoms, "oc20")) as field:
        (found,) = field.evaluate([(atoms.cell.array, atoms.positions)])
    check(found, atoms, calculators("tiny-1p2p1", "oc20"))


def test_virial_is_the_strain_derivative_of_the_energy():
    atoms = upright(structure("shear"))
    step = 1e-4
    pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    strained = [(atoms.cell.array, atoms.positions)]
    for pair in pairs:
        for sign in (1, -1):
            strain = np.eye(3)
            strain[pair] += sign * step
            # lower triangular with rows as vectors, as i-PI's cells are
            strained.append((atoms.cell.array @ strain.T, atoms.positions @ strain.T))
    with Field(serve(atoms, "omat"), batch=13) as field:
        (_, _, virial, _), *ends = field.evaluate(strained)
    for number, pair in enumerate(pairs):
        up, down = ends[2 * number][0], ends[2 * number + 1][0]
        assert virial[pair] == pytest.approx(-(up - down) / (2 * step), abs=1e-6)


def test_molecule_in_a_big_cell_needs_no_periodicity(calculators):
    atoms = structure("mol:CH3CH2OH@-1,2")
    atoms.positions += (300.0, -20.0, 5.0)
    with Field(serve(atoms)) as field:
        (found,) = field.evaluate([(np.eye(3) * 30, atoms.positions)])
    check(found, atoms, calculators("tiny-1p2p1"))


def test_parameters_of_the_input_come_before_template_and_options(calculators):
    atoms = structure("mol:O2@0,3")
    parameters = {"charge": -1, "spin": 2, "task": "omat"}
    with Field(serve(atoms, charge=1), batch=2, parameters=parameters) as field:
        (found,) = field.evaluate([(np.eye(3) * 20, atoms.positions)])
    atoms.info.update(charge=-1, spin=2)
    check(found, atoms, calculators("tiny-1p2p1", "omat"))


@pytest.mark.parametrize("number", [-1.0, "-1.0", -1])
def test_whole_numbers_may_be_written_as_floats(number):
    served = serve(structure("mol:O2@0,3"))
    served.configure({"charge": number, "spin": "2.0"})
    assert (served.charge, served.spin) == (-1, 2)


def test_a_fingerprint_tells_all_that_decides_an_energy(exported):
    atoms = structure("mol:H2O@0,1")
    word = serve(atoms).fingerprint
    assert re.fullmatch(r"omol-charge\+0-spin1-float64-model[0-9a-f]{10}-atoms[0-9a-f]{10}", word)
    assert serve(atoms, chunk=7, skin=0.5).fingerprint == word
    assert (
        UMAPotential(exported("tiny-1p2p1"), atoms, Options(), lambda _: None).fingerprint == word
    )
    other, periodic = atoms[[1, 0, 2]], atoms.copy()
    periodic.cell, periodic.pbc = np.eye(3) * 9, True
    model = UMAPotential(
        checkpoint("tiny-1p2"),
        atoms,
        Options(task="omol", dtype="float64", device="cpu"),
        lambda _: None,
    )
    words = {
        word,
        model.fingerprint,
        *(serve(one).fingerprint for one in (other, periodic)),
        *(serve(atoms, **one).fingerprint for one in ({"charge": 1}, {"spin": 3})),
        serve(atoms, "omat").fingerprint,
        UMAPotential(
            exported("tiny-1p2p1", dtype="float32"), atoms, Options(), lambda _: None
        ).fingerprint,
    }
    assert len(words) == 8


def test_a_fingerprint_may_be_sent_along():
    atoms = structure("mol:H2O@0,1")
    served = serve(atoms, extras=("energies", "fingerprint"))
    with Field(served, batch=2, parameters={"fingerprint": served.fingerprint}) as field:
        (found,) = field.evaluate([(np.eye(3) * 20, atoms.positions)])
    assert found[3]["fingerprint"] == served.fingerprint
    assert set(json.loads(found[3]["raw"])) == {"energies", "fingerprint"}


def test_extras_are_energies_of_the_atoms(calculators):
    atoms = structure("mol:H2O@2,1")
    structures = [(np.eye(3) * 20, atoms.positions)] * 2
    with Field(serve(atoms, extras=("energies",)), batch=2) as field:
        found = field.evaluate(structures)
    for energy, _, _, extras in found:
        assert np.sum(extras["energies"]) / ELECTRONVOLT == pytest.approx(energy)
        assert set(json.loads(extras["raw"])) == {"energies"}


def test_padding_is_not_computed():
    atoms = structure("mol:H2O@0,1")
    served = serve(atoms)
    with Field(served, batch=4) as field:
        first, again = (field.evaluate([(np.eye(3) * 20, atoms.positions)]) for _ in range(2))
    assert (served.tally.structures, served.tally.batches) == (2, 2)
    assert first[0][0] == again[0][0]


def test_beads_in_any_order_share_neighbor_lists(calculators):
    """Wrapped or not, in a cell that changes a little: no list is built after the first."""
    served = serve(water_box(2))
    rng = np.random.default_rng(1)
    with Field(served, batch=3) as field:
        for step in range(3):
            beads = []
            for _ in range(6):
                bead = water_box(2)
                bead.set_cell(bead.cell * (1 + 0.002 * step), scale_atoms=True)
                bead.positions += rng.normal(scale=0.05, size=(6, 3))
                bead.positions += rng.integers(-2, 3, size=(6, 3)) @ bead.cell.array
                beads.append(bead)
            for found, bead in zip(
                field.evaluate((bead.cell.array, bead.positions) for bead in beads),
                beads,
                strict=True,
            ):
                check(found, bead, calculators("tiny-1p2p1"))
    assert "1 neighbor lists built" in served.sum_up()
