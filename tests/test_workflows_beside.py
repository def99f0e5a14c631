# SPDX-License-Identifier: MIT
"""What LAMMPS puts beside the model: other pair styles, fixes, computes, files, atom styles."""

import io

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from lammps_runs import BAR, Block, launch, run, static
from lammps_snapshots import frames_of, thermo_of, watch
from structures import structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]
RANKS = (1, 2, 4)

PARTNERS = {
    "zbl": ("zbl 2.0 4.0", "1 1 {name} 17 17", "1 2 {name} 17 11", "2 2 {name} 11 11"),
    "lj/cut": ("lj/cut 5.5", "* * {name} 0.01 2.7"),
    "dispersion/d3": ("dispersion/d3 bj pbe 12.0 8.0", "* * {name} Cl Na"),
}


@pytest.fixture
def salt(exported):
    def block(after: str = "") -> Block:
        return Block(structure("nacl:2"), exported("tiny-1p2p1", "omat"), after=after)

    return block


def table(path) -> np.ndarray:
    return np.loadtxt(path, skiprows=9, ndmin=2)


@pytest.mark.parametrize("name", PARTNERS)
def test_an_overlay_is_the_sum_of_its_parts(name, salt, calculators, tmp_path):
    style, *coefficients = PARTNERS[name]
    lines = "\n".join(f"pair_coeff {line}" for line in coefficients)
    alone = salt(f"pair_style {style}\n" + lines.format(name=""))
    both = salt(
        f"pair_style hybrid/overlay uma {style}\n"
        f"pair_coeff * * uma {salt().model} Cl Na\n" + lines.format(name=name)
    )
    atoms = alone.atoms
    atoms.calc = calculators("tiny-1p2p1", "omat")
    for ranks in RANKS:
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
    for ranks in RANKS:
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
def test_phonons_by_finite_differences(exported, calculators, tmp_path):
    atoms = bulk("NaCl", "zincblende", a=5.6)
    block = Block(atoms, exported("tiny-1p2p1", "omat"))
    block.atoms.calc = calculators("tiny-1p2p1", "omat")
    masses = np.repeat(block.atoms.get_masses(), 3)
    second = _force_constants(block.atoms, 0.001)
    third = _third_order(block.atoms, 0.01)
    turn = np.kron(np.eye(2), block.prism.vector_to_lammps(np.eye(3)))
    largest = np.abs(np.einsum("abc,ai,bj,ck->ijk", third, turn, turn, turn)).max()
    expected = turn.T @ second @ turn / np.sqrt(np.outer(masses, masses))
    for ranks in (1, 2):
        run(block.setup(tmp_path, 0) + PHONONS, ranks, tmp_path)
        ours = np.loadtxt(tmp_path / "phonons.txt").reshape(6, 6)
        scale = np.abs(ours).max() / np.abs(expected).max()
        assert np.abs(ours - scale * expected).max() < 1e-5 * np.abs(ours).max()
        rows = np.loadtxt(tmp_path / "third.txt")
        assert len(rows) >= 27
        assert np.isfinite(rows).all()
        assert np.abs(rows[:, 5:]).max() == pytest.approx(largest, rel=0.01)


def _force_constants(atoms: Atoms, step: float) -> np.ndarray:
    """Second derivatives of the energy per cell by central differences, eV/angstrom^2."""
    columns = []
    for k in range(3 * len(atoms)):
        pair = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[k // 3, k % 3] += sign * step
            pair.append(moved.get_forces().ravel())
        columns.append(-(pair[0] - pair[1]) / (2 * step))
    return np.array(columns)


def _third_order(atoms: Atoms, step: float) -> np.ndarray:
    """Third derivatives of the energy per cell by central differences, eV/angstrom^3."""
    slices = []
    for k in range(3 * len(atoms)):
        pair = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[k // 3, k % 3] += sign * step
            pair.append(_force_constants(moved, step))
        slices.append((pair[0] - pair[1]) / (2 * step))
    return np.array(slices)


def test_a_dump_is_rerun(salt, tmp_path):
    block = salt()
    head = block.setup(tmp_path, 0)
    move = "\nvelocity all create 900 47 loop geom\nfix nve all nve\n"
    first = run(head + move + watch("run") + "run 4\n", 2, tmp_path)
    again = head + watch("again") + "rerun run.dump dump x y z box yes\n"
    for ranks in RANKS:
        ran, reran = thermo_of(first), thermo_of(run(again, ranks, tmp_path))
        assert len(ran) == 5
        assert list(ran) == list(reran)
        for key, rows in ran.items():
            assert reran[key][-1] == pytest.approx(rows[-1], rel=1e-9)


RESTART = """
velocity all create 900 47 loop geom
fix npt all npt temp 500 500 0.1 iso 0 0 1.0
"""
LAST = "write_dump all custom {name} id x y z vx vy vz fx fy fz modify format float %.17g sort id\n"


@pytest.mark.parametrize("ranks", RANKS)
def test_a_restart_goes_on_bit_by_bit(ranks, salt, tmp_path):
    block = salt()
    # LAMMPS sorts atoms at the start of a run, with any pair style: sums then differ by rounding.
    head = block.setup(tmp_path, 0).replace("map array", "map array sort 0 0.0")
    run(
        head + RESTART + "restart 6 half.*\nrun 12\n" + LAST.format(name="whole.dump"),
        ranks,
        tmp_path,
    )
    model = "\n".join(line for line in head.splitlines() if line.startswith("pair_"))
    resumed = (
        f"units metal\natom_modify map array sort 0 0.0\nread_restart half.6\n{model}\n"
        "fix npt all npt temp 500 500 0.1 iso 0 0 1.0\nrestart 6 again.*\nrun 6\n"
    )
    run(resumed + LAST.format(name="halves.dump"), ranks, tmp_path)
    whole, halves = ((tmp_path / f"{name}.dump").read_text() for name in ("whole", "halves"))
    assert whole == halves


def test_a_written_data_file_has_the_same_energy(salt, tmp_path):
    block = salt()
    head = block.setup(tmp_path, 0)
    see = "\nrun 0\nprint 'energy $(pe:%.12f)'\n"
    first = run(head + "\nwrite_data copy.data nocoeff\n" + see, 2, tmp_path)
    again = run(head.replace(str(tmp_path / "0.data"), "copy.data") + see, 2, tmp_path)
    energies = [line for line in (first + again).splitlines() if line.startswith("energy ")]
    assert len(energies) == 2
    assert energies[0] == energies[1]


def test_a_second_model_after_clear_and_in_place(salt, exported, calculators, tmp_path):
    block = salt()
    head = block.setup(tmp_path, 0)
    see = "\nrun 0\nprint 'energy $(pe:%.16g)'\n"
    other = exported("tiny-1p1", "omat")
    script = head + see + "clear\n" + head.replace(str(block.model), str(other)) + see
    script += f"pair_coeff * * {block.model} Cl Na" + see
    script += f"pair_style uma chunk 100\npair_coeff * * {other} Cl Na" + see
    log = run(script, 2, tmp_path)
    found = [float(line.split()[1]) for line in log.splitlines() if line.startswith("energy ")]
    expected = []
    for variant in ("tiny-1p2p1", "tiny-1p1", "tiny-1p2p1", "tiny-1p1"):
        block.atoms.calc = calculators(variant, "omat")
        expected.append(block.atoms.get_potential_energy())
    assert found == pytest.approx(expected, abs=1e-8)


BONDED = """
create_bonds single/bond 1 1 2
create_bonds single/bond 1 1 3
"""


@pytest.mark.parametrize("style", ["atomic", "charge", "bond", "molecular", "full"])
def test_atom_styles_make_no_difference_and_bonds_are_refused(
    style, exported, calculators, tmp_path
):
    block = Block(structure("water:8"), exported("tiny-1p2p1"))
    room = " extra/bond/per/atom 4 extra/special/per/atom 8\nbond_style zero\nbond_coeff 1"
    bonded = style in ("bond", "molecular", "full")
    head = block.setup(tmp_path, 0).replace("atom_style atomic", f"atom_style {style}")
    data = tmp_path / "0.data"
    extra = {"charge": "0.0 ", "bond": "0 ", "molecular": "0 ", "full": "0 0.0 "}.get(style, "")
    data.write_text(_with_columns(data.read_text(), extra, bonded))
    if bonded:
        head = head.replace(f"read_data {data}", f"read_data {data}{room}")
    see = "\nrun 0\nprint 'energy $(pe:%.16g)'\n"
    if bonded:
        head += BONDED
        result = launch(head + see, 2, tmp_path)
        text = " ".join((result.stdout + result.stderr).split())
        assert result.returncode != 0
        assert "bonded atoms must be neighbors like all others" in text
        head += "\nspecial_bonds lj/coul 1 1 1"
    log = run(head + see, 2, tmp_path)
    (found,) = (float(line.split()[1]) for line in log.splitlines() if line.startswith("energy "))
    block.atoms.calc = calculators("tiny-1p2p1")
    assert found == pytest.approx(block.atoms.get_potential_energy(), abs=1e-8)


def _with_columns(text: str, extra: str, bonded: bool) -> str:
    """A data file of atom style atomic made one of another style."""
    head, _, atoms = text.partition("Atoms # atomic")
    rows = []
    for line in io.StringIO(atoms):
        words = line.split(maxsplit=2)
        if len(words) < 3:
            rows.append(line)
            continue
        number, kind, rest = words
        first = extra.startswith("0 ")
        molecule, charge = ("0 ", extra[2:]) if first else ("", extra)
        rows.append(f"{number} {molecule}{kind} {charge}{rest}")
    if bonded:
        head = head.replace("atom types", "atom types\n1 bond types")
    return head + "Atoms" + "".join(rows)
