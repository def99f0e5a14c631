# SPDX-License-Identifier: MIT
"""What `uma-md setup` writes runs at once, from files of other programs, and has ASE's energy."""

import json
import os
import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.io import write
from command_runs import (
    done,
    ethanol_pdb,
    hydroxide_extxyz,
    lammps_table,
    left_handed,
    run_folder,
    slab_poscar,
    triclinic_cif,
    uma_md,
)
from conftest import checkpoint

from uma_md import UMACalculator
from uma_md.commands.setup.record import FIELDS
from uma_md.files.structures import read_structure

TINY = checkpoint("tiny-1p2p1")
CLOSE = 2e-6  # eV per atom, in float32

# file, options of setup, how its reader or its user says what repeats
STRUCTURES = {
    "cif": (triclinic_cif, ("--task", "omat"), "abc"),
    "poscar": (slab_poscar, ("--task", "oc20", "--periodic", "ab", "--model", TINY), "ab"),
    "extxyz": (hydroxide_extxyz, ("--task", "omol", "--model", TINY), ""),
    "pdb": (ethanol_pdb, ("--task", "omol"), ""),
    "left-handed": (left_handed, ("--task", "omol"), "abc"),
}


def expected_energy(path, words, repeats) -> float:
    """ASE's energy of a file, by the checkpoint itself."""
    options = dict(zip(words[::2], words[1::2], strict=True))
    atoms = read_structure(path)
    atoms.pbc = [letter in repeats for letter in "abc"]
    atoms.calc = UMACalculator(options.get("--model", "uma-nano"), options["--task"], "cpu")
    return atoms.get_potential_energy()


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.parametrize("kind", STRUCTURES)
def test_lammps_runs_at_once_with_the_energy_of_ase(kind, tmp_path):
    make, words, repeats = STRUCTURES[kind]
    path, folder = make(tmp_path), tmp_path / "run"
    done("setup", path, *words, "--steps", 3, "--ranks", 2, "-o", folder)
    table = lammps_table(run_folder(folder))
    energy = expected_energy(path, words, repeats)
    structure = read_structure(path)
    natoms = len(structure)
    assert table[0, 3] == pytest.approx(energy, abs=CLOSE * natoms)
    assert table[-1, 0] == 3
    assert len(np.unique(table[:, 3])) == len(table)
    assert (folder / "final.data").is_file()
    frames = (folder / "trajectory.lammpstrj").read_text()
    elements = re.findall(r"^\d+ ([A-Z][a-z]?) ", frames, re.MULTILINE)
    assert elements[:natoms] == list(structure.symbols)


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("name", "task", "barostat"),
    [("cu", "omat", "aniso"), ("slab", "oc20", "x 1 1 2 y 1 1 2"), ("left", "omol", "iso")],
)
def test_lammps_keeps_a_pressure(name, task, barostat, tmp_path):
    folder = tmp_path / "run"
    structure = left_handed(tmp_path) if name == "left" else name
    options = ["--ensemble", "npt", "--steps", 3, "--timestep", 1, "-o", folder, "--ranks", 2]
    done("setup", structure, "--task", task, *options)
    assert barostat in (folder / "in.run").read_text()
    table = lammps_table(run_folder(folder))
    assert np.isfinite(table).all()
    assert table[0, 6] != table[-1, 6]  # the volume


@pytest.mark.ipi
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("cif", ("--ensemble", "npt")),
        ("poscar", ("--ensemble", "nve")),
        ("extxyz", ("--beads", "2")),
    ],
)
def test_i_pi_runs_at_once_with_the_energy_of_ase(kind, more, tmp_path):
    pytest.importorskip("ipi", reason="i-PI is not installed")
    make, words, repeats = STRUCTURES[kind]
    path, folder = make(tmp_path), tmp_path / f"run-{os.getpid()}-{kind}"
    done("setup", path, *words, *more, "--engine", "ipi", "--steps", 3, "-o", folder)
    run_folder(folder)
    table = np.loadtxt(folder / "run.out")
    energy = expected_energy(path, words, repeats)
    assert table[:, 0].tolist() == [0, 1, 2, 3]
    assert table[0, 4] == pytest.approx(energy, abs=5 * CLOSE * len(read_structure(path)))
    assert len(np.unique(table[:, 4])) == 4
    if kind == "poscar":
        assert np.ptp(table[:, 2]) < 0.1 * np.ptp(table[:, 4])  # conserved, while atoms move


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("cif", ("--ensemble", "npt")),
        ("poscar", ("--ensemble", "nve")),
        pytest.param("pdb", ("--ranks", "2"), marks=pytest.mark.mpi),
        ("extxyz", ()),
    ],
)
def test_ase_runs_at_once_with_the_energy_of_ase(kind, more, tmp_path):
    make, words, repeats = STRUCTURES[kind]
    path, folder = make(tmp_path), tmp_path / "run"
    done("setup", path, *words, *more, "--engine", "ase", "--steps", 10, "-o", folder)
    rows = [row.split() for row in run_folder(folder).splitlines()[1:]]
    table = np.array(rows, dtype=float)
    energy = expected_energy(path, words, repeats)
    assert table[:, 0].tolist() == [0, 10]
    assert table[0, 1] == pytest.approx(energy, abs=CLOSE * len(read_structure(path)))
    assert table[0, 1] != table[1, 1]
    last = read_structure(folder / "trajectory.traj")
    assert (last.pbc == [letter in repeats for letter in "abc"]).all()


@pytest.mark.lammps
@pytest.mark.mpi
def test_deuterium_keeps_its_mass(tmp_path):
    """Atom types are elements with a mass, and energies do not depend on it."""
    heavy = molecule("H2O")
    heavy.set_masses([15.999, 2.014, 1.008])
    write(tmp_path / "hdo.extxyz", heavy, columns=["symbols", "positions", "masses"])
    folder = tmp_path / "run"
    said = done("setup", tmp_path / "hdo.extxyz", "--task", "omol", "--steps", 2, "-o", folder)
    assert "atom types: H H O (by element and by the masses of the structure)" in said
    data = (folder / "structure.data").read_text()
    assert re.search(r"\n1 1\.008 .*\n2 2\.014 .*\n3 15\.999 ", data)
    energy = expected_energy(tmp_path / "hdo.extxyz", ("--task", "omol"), "")
    assert lammps_table(run_folder(folder))[0, 3] == pytest.approx(energy, abs=3 * CLOSE)
    written = read_structure(folder / "structure.extxyz")
    assert written.get_masses() == pytest.approx([15.999, 2.014, 1.008])


def test_what_is_chosen_is_said_and_recorded(tmp_path):
    folder = tmp_path / "run"
    said = done("setup", "O2", "--task", "omol", "-o", folder, "--temperature", 250)
    record = json.loads((folder / "setup.json").read_text())
    assert tuple(record) == FIELDS
    for choice in record["choices"]:
        assert f"{choice['what']}: {choice['value']} ({choice['why']})\n" in said
    for advice in record["advice"]:
        assert f"{advice['kind']}: {advice['text']}\n" in said
    assert (record["charge"], record["spin"], record["timestep"]) == (0, 3, 1.0)
    assert "spin multiplicity: 3 (as the structure says)" in said
    assert "task: omol (of cheap methods, as uma-nano learned it)" in said
    assert "langevin" in said
    script = (folder / "in.system").read_text()
    assert "pair_style      uma charge 0 spin 3" in script
    assert "boundary        m m m" in script
    assert "langevin 250 250 0.2 " in (folder / "in.run").read_text()


@pytest.mark.parametrize(
    ("name", "words", "timestep"),
    [
        ("cu", ("--task", "omat"), 2.0),
        ("slab", ("--task", "oc20"), 1.0),
        ("CH4", ("--task", "omol"), 0.5),
        ("CH4", ("--task", "omol", "--timestep", "0.25"), 0.25),
    ],
)
def test_time_steps_follow_the_lightest_atom(name, words, timestep, tmp_path):
    done("setup", name, *words, "-o", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "setup.json").read_text())["timestep"] == timestep


def test_options_come_before_what_the_structure_says(tmp_path):
    words = ("--task", "omol", "--charge", 0, "--spin", 2, "--model", TINY, "-o", tmp_path / "run")
    said = done("setup", hydroxide_extxyz(tmp_path), *words)
    assert "charge: 0 (as given)" in said
    assert "task: omol (molecules and clusters with charge and spin, wB97M-V)" in said
    assert "pair_style      uma charge 0 spin 2" in (tmp_path / "run" / "in.system").read_text()


def test_atoms_are_repeated_and_the_model_may_serve_any_composition(tmp_path):
    path = triclinic_cif(tmp_path)
    words = ("--task", "omat", "--repeat", 1, 2, 3, "--all-experts", "-o", tmp_path / "run")
    done("setup", path, *words)
    assert len(read_structure(tmp_path / "run" / "structure.extxyz")) == 6 * len(
        read_structure(path)
    )
    described = done("info", tmp_path / "run" / "model.pt")
    assert re.search(r"composition +any", described)
    assert re.search(r"elements +Al, Ni, Cu, Pt", described)


def test_an_exported_file_is_taken_as_it_is(exported, tmp_path):
    model = exported("tiny-1p2p1", "omol", "float32")
    done("setup", "H2O", "--task", "omol", "--model", model, "-o", tmp_path / "run")
    assert (tmp_path / "run" / "model.pt").read_bytes() == model.read_bytes()
    refused = uma_md("setup", "H2O", "--task", "omat", "--model", model, "-o", tmp_path / "other")
    assert refused.exit_code == 1
    assert "task must be omol, for which" in refused.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.cif", "--task", "omol"), "found none of them for 'none.cif'"),
        (("H2O", "--task", "water"), "task must be one of omol, omat, oc20; found 'water'"),
        (("cu", "--task", "omol"), "uma-nano for the task omol (H, C, N, O), found Cu"),
        (("H2O", "--task", "omol", "--ensemble", "npt"), "must have a box that is periodic"),
        (("H2O", "--task", "omol", "--periodic", "ab"), "needs a cell vector along a"),
        (("cu", "--task", "omat", "--periodic", "xy"), "must be none or cell vectors"),
        (("cu", "--task", "omat", "--temperature", "-5"), "temperature must be above 0 K"),
        (("cu", "--task", "omat", "--timestep", "0"), "timestep must be above 0 fs"),
        (("cu", "--task", "omat", "--steps", "0"), "steps must be 1 or more, found 0"),
        (("cu", "--task", "omat", "--beads", "4"), "several beads must go with --engine ipi"),
        (("H2O", "--task", "omol", "--spin", "500"), "spin must be 0 to 100, found 500"),
        (
            ("slab", "--task", "oc20", "--engine", "ipi", "--ensemble", "npt"),
            "npt in two directions must run in LAMMPS",
        ),
    ],
)
def test_bad_wishes_are_refused_in_one_sentence_and_nothing_is_left(words, message, tmp_path):
    result = uma_md("setup", *words, "-o", tmp_path / "run")
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result = uma_md("setup", "H2O", "--task", "omol", "-o", tmp_path)
    assert result.exit_code == 1
    assert "must be a new or an empty folder" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    done("setup", "H2O", "--task", "omol", "-o", tmp_path / "empty")


def test_charges_of_single_atoms_are_not_taken_for_the_total(tmp_path):
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    atoms.set_initial_charges([-1, 0])
    write(tmp_path / "oh.extxyz", atoms)
    said = done("setup", tmp_path / "oh.extxyz", "--task", "omol", "-o", tmp_path / "run")
    assert "warning: initial charges of atoms are not read" in said
    assert "warning: an odd number of electrons (9) has an even multiplicity" in said


def test_a_model_without_experts_is_exported_as_it_is(tmp_path):
    model = checkpoint("esen-tiny")
    done("setup", "H2O", "--task", "omol", "--model", model, "-o", tmp_path / "run")
    assert re.search(r"composition +any", done("info", tmp_path / "run" / "model.pt"))


def test_atoms_are_relaxed_with_the_model_before(tmp_path):
    ethanol = molecule("CH3CH2OH")
    ethanol.rattle(0.1, seed=4)
    write(tmp_path / "ethanol.xyz", ethanol, format="extxyz")
    said = done(
        "setup", tmp_path / "ethanol.xyz", "--task", "omol", "--relax", "-o", tmp_path / "run"
    )
    ((first, last),) = re.findall(r"relaxed: .* force from (\S+) to (\S+) eV/A", said)
    assert float(first) > 1 > 0.05 >= float(last)
    relaxed = read_structure(tmp_path / "run" / "structure.extxyz")
    relaxed.calc = UMACalculator(tmp_path / "run" / "model.pt")
    assert np.linalg.norm(relaxed.get_forces(), axis=1).max() == pytest.approx(
        float(last), abs=0.01
    )
    assert [
        choice["what"]
        for choice in json.loads((tmp_path / "run" / "setup.json").read_text())["choices"]
    ].count("relaxed") == 1


def test_atoms_that_a_file_holds_stay_while_it_is_relaxed(tmp_path):
    slab = read_structure(slab_poscar(tmp_path))
    slab.set_constraint(FixAtoms(range(8)))
    write(tmp_path / "held.vasp", slab, format="vasp", direct=True)
    words = ("--task", "oc20", "--periodic", "ab", "--engine", "ase", "-o", tmp_path / "run")
    said = done("setup", tmp_path / "held.vasp", *words, "--relax")
    assert "warning: the file holds atoms where they are, and the run moves all atoms" in said
    moved = read_structure(tmp_path / "run" / "structure.extxyz").positions - slab.positions
    assert np.abs(moved[:8]).max() < 1e-6 < 0.01 < np.abs(moved[8:]).max()


def test_elements_that_a_task_does_not_know_are_named_before_an_export(tmp_path):
    write(tmp_path / "salt.cif", bulk("NaCl", "rocksalt", a=5.6, cubic=True))
    result = uma_md("setup", tmp_path / "salt.cif", "--task", "omol", "-o", tmp_path / "run")
    assert result.exit_code == 1
    assert (
        "must be known to uma-nano for the task omol (H, C, N, O), found Cl, Na: take another task"
        in result.output
    )
    assert not (tmp_path / "run").exists()
