# SPDX-License-Identifier: MIT
"""What LAMMPS puts beside the model: other pair styles, fixes, computes, derivatives of forces."""

import functools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from lammps_runs import BAR, RANKS, Block, run, static
from lammps_snapshots import frames_of, watch
from structures import structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

PARTNERS = {
    "zbl": ("zbl 2.0 4.0", "1 1 {name} 17 17", "1 2 {name} 17 11", "2 2 {name} 11 11"),
    "lj/cut": ("lj/cut 5.5", "* * {name} 0.01 2.7"),
    "dispersion/d3": ("dispersion/d3 bj pbe 12.0 8.0", "* * {name} Cl Na"),
}


@pytest.fixture
def salt(exported):
    def block(after: str = "") -> Block:
        return Block(structure("nacl:1"), exported("tiny-1p2p1", "omat"), after=after)

    return block


def table(path) -> np.ndarray:
    return np.loadtxt(path, skiprows=9, ndmin=2)


@pytest.mark.parametrize("name", PARTNERS)
def test_an_overlay_is_the_sum_of_its_parts(name, salt, calculators, tmp_path):
    style, *coefficients = PARTNERS[name]
    lines = "\n".join(f"pair_coeff {line}" for line in coefficients)
    alone = salt(f"pair_style {style}\n" + lines.format(name=""))
    both = salt(
        f"pair_style hybrid/overlay uma device cpu {style}\n"
        f"pair_coeff * * uma {salt().model} Cl Na\n" + lines.format(name=name)
    )
    atoms = alone.atoms
    atoms.calc = calculators("tiny-1p2p1", "omat")
    for ranks in (1, 2, 4):
        other, total = static([alone, both], ranks, tmp_path / str(ranks))
        assert abs(other.energy) > 1e-3
        assert total.energy - other.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        assert np.abs(total.forces - other.forces - atoms.get_forces()).max() < 1e-8
        virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
        assert np.abs(total.virial - other.virial - virial).max() < 1e-6 * np.abs(virial).max()
        per_atom = total.atom_energies - other.atom_energies
        assert np.abs(per_atom - atoms.calc.results["energies"]).max() < 1e-8


FIXES = """
fix nve all nve
fix spring all spring/self 0.8
fix pull all addforce 0.1 -0.2 0.3
fix wall all wall/harmonic zlo -0.5 0.5 1.0 3.0
fix_modify spring energy no
"""


@pytest.mark.parametrize("ranks", RANKS)
def test_forces_of_fixes_come_on_top(ranks, salt, calculators, tmp_path):
    block = salt()
    script = block.setup(tmp_path, 0) + "\nchange_box all boundary p p f\n"
    run(script + FIXES + watch("pulled") + "run 4\n", ranks, tmp_path)
    frames = [
        (atoms, forces) for _, atoms, forces in frames_of(tmp_path / "pulled.dump", block.elements)
    ]
    start = frames[0][0].positions
    for atoms, forces in frames:
        atoms.calc = calculators("tiny-1p2p1", "omat")
        moved = atoms.positions - start
        moved[:, :2] -= np.round(moved[:, :2] / atoms.cell.lengths()[:2]) * atoms.cell.lengths()[:2]
        expected = atoms.get_forces() - 0.8 * moved + [0.1, -0.2, 0.3]
        near = np.maximum(0.0, 3.0 - (atoms.positions[:, 2] + 0.5))
        assert near.any()
        expected[:, 2] += 2 * 0.5 * near
        assert np.abs(forces - expected).max() < 1e-7
    assert len(frames) == 5


COMPUTES = """
velocity all create 600 71 loop geom
compute model all pair uma
compute kinetic all ke/atom
compute potential all pe/atom
compute stress all centroid/stress/atom NULL virial
compute flux all heat/flux kinetic potential stress
thermo_style custom step pe c_model c_model[*] c_flux[*] press temp vol
thermo_modify format float %.16g
fix nve all nve
run 2
print "seen $(c_model:%.16g) $(c_model[1]:%.16g) $(c_model[2]:%.16g) $(pe:%.16g) &
$(c_flux[1]:%.16g) $(c_flux[2]:%.16g) $(c_flux[3]:%.16g) $(press:%.16g) $(temp:%.16g)"
compute virial all pressure NULL virial
run 0
print "virial $(c_virial:%.16g)"
write_dump all custom all.dump vx vy vz c_kinetic c_potential c_stress[*] modify sort id &
format float %.17g
"""


def test_computes_see_energy_merges_heat_flux_and_the_whole_pressure(salt, tmp_path):
    block = salt()
    found = []
    for ranks in (1, 2, 4):
        log = run(block.setup(tmp_path, 0) + COMPUTES, ranks, tmp_path)
        seen, virial = (_numbers(log, word) for word in ("seen", "virial"))
        rows = table(tmp_path / "all.dump")
        energy, merges, seconds, pe = seen[:4]
        assert energy == pytest.approx(pe, abs=1e-10)
        assert merges == 1
        assert 0 < seconds < 60
        velocity, kinetic, potential, stress = np.split(rows, [3, 4, 5], axis=1)
        # xx yy zz xy xz yz yx zx zy
        tensor = stress[:, [[0, 3, 4], [6, 1, 5], [7, 8, 2]]] / BAR
        flux = ((kinetic + potential) * velocity).sum(axis=0) - np.einsum(
            "nij,nj->i", tensor, velocity
        )
        assert seen[4:7] == pytest.approx(flux, rel=1e-9)
        ideal = (len(block.atoms) - 1) * 8.617343e-5 * seen[8] / block.atoms.get_volume() * BAR
        assert seen[7] == pytest.approx(virial[0] + ideal, rel=1e-5)
        found.append(seen[4:])
    assert found[1] == pytest.approx(found[0], rel=1e-8)
    assert found[2] == pytest.approx(found[0], rel=1e-8)


def _numbers(log: str, word: str) -> np.ndarray:
    """The numbers on the line that begins with a word."""
    line = next(line for line in log.splitlines() if line.startswith(f"{word} "))
    return np.array(line.split()[1:], dtype=float)


PHONONS = """
dynamical_matrix all regular 0.001 file phonons.txt
third_order all regular 0.01 file third.txt
"""


@pytest.mark.slow
def test_derivatives_of_forces_are_those_of_ase(exported, calculators, tmp_path):
    """Second and third derivatives of the energy by LAMMPS's finite differences and by ours."""
    atoms = bulk("NaCl", "zincblende", a=5.6)
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)  # LAMMPS's axes
    atoms.rattle(0.2, seed=3)
    block = Block(atoms, exported("tiny-1p2p1", "omat"))
    calculator = calculators("tiny-1p2p1", "omat")
    masses = np.repeat(atoms.get_masses(), 3)
    start = np.zeros(len(masses), int)
    second = _derivatives(_gradient(atoms, calculator, 0.001), start, 0.001, order=1)
    second /= np.sqrt(np.outer(masses, masses))
    third = _derivatives(_gradient(atoms, calculator, 0.01), start, 0.01, order=2)
    for ranks in (1, 2):
        run(block.setup(tmp_path, 0) + PHONONS, ranks, tmp_path)
        found = np.loadtxt(tmp_path / "phonons.txt").reshape(6, 6)
        assert found == pytest.approx(second, abs=1e-8)
        # Of forces, so that the sign is the other one.
        rows = np.loadtxt(tmp_path / "third.txt")
        assert -rows[:, 5:].ravel() == pytest.approx(third.ravel(), abs=1e-8)


def _gradient(atoms: Atoms, calculator, step: float):
    """The energy's gradient after displacements, which are counted in steps."""

    @functools.cache
    def gradient(displacements: tuple[int, ...]) -> np.ndarray:
        moved = atoms.copy()
        moved.calc = calculator
        moved.positions += step * np.reshape(displacements, (-1, 3))
        return -moved.get_forces().ravel()

    return gradient


def _derivatives(gradient, at: np.ndarray, step: float, order: int) -> np.ndarray:
    """Central differences of a gradient, nested as often as the order says."""
    if order == 0:
        return gradient(tuple(at))
    slices = []
    for unit in np.eye(len(at), dtype=int):
        up, down = (_derivatives(gradient, at + k * unit, step, order - 1) for k in (1, -1))
        slices.append((up - down) / (2 * step))
    return np.array(slices)
