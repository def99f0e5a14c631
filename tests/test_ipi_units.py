# SPDX-License-Identifier: MIT
"""A wrong unit is told from another structure of the same atoms."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.io import write
from structures import water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_driver.template import read_template
from ipi_driver.units import BOHR, READ_AS, find_wrong_unit

pytestmark = pytest.mark.ipi

FACTORS = pytest.mark.parametrize("factor", READ_AS)


def oxide() -> Atoms:
    return bulk("MgO", "rocksalt", 4.21, cubic=True)


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    atoms.pbc = (True, True, False)
    return atoms


def gas() -> Atoms:
    """Water molecules far apart."""
    atoms = Atoms(cell=np.eye(3) * 30, pbc=True)
    for place in np.ndindex(2, 2, 2):
        water = molecule("H2O")
        water.rotate(37.0 * sum(place), (1, 2, 3))
        water.positions += 15.0 * np.array(place) + 5
        atoms += water
    return atoms


KINDS = {
    "water": lambda: water_box(8),
    "gas": gas,
    "ethanol": lambda: molecule("CH3CH2OH"),
    "hydrogen": lambda: molecule("H2"),
    "copper": lambda: bulk("Cu"),
    "oxide": oxide,
    "slab": slab,
    "argon": lambda: bulk("Ar", cubic=True),
}


@pytest.fixture(params=KINDS)
def template(request) -> Atoms:
    return KINDS[request.param]()


def found(template: Atoms, atoms: Atoms, cell=None):
    box = atoms.cell.complete().array if cell is None else cell
    return find_wrong_unit(template, box[np.newaxis], atoms.positions[np.newaxis])


def scaled(atoms: Atoms, factor: float) -> Atoms:
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell * factor)
    atoms.positions *= factor
    return atoms


@FACTORS
def test_the_same_structure_in_another_unit_is_found(template, factor):
    mistake = found(template, scaled(template, factor))
    assert mistake.positions
    assert mistake.cell == template.pbc.any()
    assert mistake.factor == factor


@FACTORS
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"hydrogen", "argon"}))
def test_another_configuration_in_another_unit_is_found(kind, factor):
    template = KINDS[kind]()
    start = template.copy()
    start.rattle(0.04, seed=1)
    start.set_cell(start.cell * 1.01, scale_atoms=True)
    assert found(template, scaled(start, factor)).positions


@FACTORS
@pytest.mark.parametrize("kind", ["water", "gas", "ethanol", "oxide", "slab"])
def test_positions_alone_in_another_unit_are_found(kind, factor):
    template = KINDS[kind]()
    cell = template.cell.complete().array if template.pbc.any() else np.eye(3) * 40
    mistake = found(template, scaled(template, factor), cell)
    assert (mistake.positions, mistake.cell, mistake.factor) == (True, False, factor)


@FACTORS
@pytest.mark.parametrize("kind", ["water", "gas", "slab"])
def test_a_cell_alone_in_another_unit_is_found(kind, factor):
    template = KINDS[kind]()
    mistake = found(template, template, template.cell.complete().array * factor)
    assert mistake.cell
    assert mistake.factor == factor


def test_the_words_say_what_was_read_as_what():
    template = water_box(8)
    mistake = found(template, scaled(template, BOHR))
    assert mistake.text == (
        "distances between nearest atoms are 0.529 times and cell vectors 0.529 times the "
        "template's: angstrom were read as bohr"
    )
    mistake = found(template, template, template.cell.array / BOHR)
    assert mistake.text == "cell vectors are 1.890 times the template's: bohr were read as angstrom"


@pytest.mark.parametrize("strain", [0.7, 0.85, 1.0, 1.2, 1.5])
def test_pressure_and_tension_are_no_unit(template, strain):
    assert found(template, scaled(template, strain)) is None


@pytest.mark.parametrize("length", [0.5, 1.0, 1.3, 1.5, 2.0, 3.0])
def test_a_stretched_bond_is_no_unit(length):
    template = molecule("H2")
    start = template.copy()
    start.set_distance(0, 1, length)
    assert found(template, start) is None


@pytest.mark.parametrize("amplitude", [0.1, 0.3, 1.0])
def test_disorder_is_no_unit(template, amplitude):
    for seed in range(5):
        start = template.copy()
        start.rattle(amplitude, seed=seed)
        assert found(template, start) is None


def test_condensation_is_no_unit():
    """Molecules come nearer, in a smaller cell, and keep their bonds."""
    template = gas()
    for factor in (0.4, BOHR * 1.05, 0.6):
        start = template.copy()
        for first in range(0, len(start), 3):
            start.positions[first : first + 3] += (factor - 1) * start.positions[first]
        start.set_cell(start.cell * factor)
        assert found(template, start) is None
        assert found(start, template) is None


def test_wrapping_and_diffusion_are_no_unit(template):
    rng = np.random.default_rng(3)
    cells = rng.integers(-3, 4, (len(template), 3)) * template.pbc
    start = template.copy()
    start.positions += cells @ start.cell.array
    assert found(template, start) is None
    start = template.copy()
    same = [np.flatnonzero(start.numbers == number) for number in set(start.numbers)]
    if len(same) == 1:  # atoms of one element change places
        start.positions = start.positions[rng.permutation(len(start))]
    assert found(template, start) is None


@pytest.mark.parametrize("factor", [BOHR, 1, 1 / BOHR])
def test_atoms_without_neighbors_tell_nothing(factor):
    template = Atoms("Ar2", [(0, 0, 0), (9, 0, 0)])
    assert found(template, scaled(template, factor), np.eye(3) * 60) is None
    atom = Atoms("He", [(1, 2, 3)])
    assert found(atom, scaled(atom, factor), np.eye(3) * 60) is None


def test_a_template_in_bohr_is_refused(tmp_path):
    path = tmp_path / "init.xyz"
    write(
        path, molecule("H2O"), comment="# positions{atomic_unit}  cell{atomic_unit}", format="xyz"
    )
    with pytest.raises(ValueError, match=r"must be in angstrom, found positions\{atomic_unit\} in"):
        read_template(path)
    write(path, molecule("H2O"), comment="# positions{angstrom}  cell{atomic_unit}", format="xyz")
    assert len(read_template(path)) == 3
