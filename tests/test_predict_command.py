# SPDX-License-Identifier: MIT
"""``uma-md predict``: structures of a file in, results in extended XYZ out."""

import os
import signal
import sqlite3

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, write
from click.testing import CliRunner
from conftest import checkpoint
from structures import structure

from uma_md import UMACalculator
from uma_md.cli import main
from uma_md.files.structures import read_structure, read_structures
from uma_md.mixed_batching import MixedBatcher

pytestmark = pytest.mark.filterwarnings("ignore:crystal system:UserWarning")  # ASE's, of CIF


def run(source, output, *words, variant="tiny-1p2p1", task="omol"):
    """Call the command; gives exit code and what it prints."""
    command = ["predict", source, "-o", output, "--model", checkpoint(variant), "--task", task]
    options = ["--device", "cpu", "--dtype", "float64", *words]
    result = CliRunner().invoke(main, [*map(str, command), *map(str, options)])
    return result.exit_code, result.output


def frames(output) -> list[Atoms]:
    return list(iread(output, ":", format="extxyz"))


def boxes() -> list[Atoms]:
    made = [molecule("H2O"), molecule("CH4"), bulk("NaCl", "rocksalt", a=5.64, cubic=True)]
    for atoms in made[:2]:
        atoms.set_cell([8.0, 8.5, 9.0])
        atoms.pbc = True
    return made


@pytest.mark.parametrize("name", ["a.extxyz", "a.xyz", "a.traj", "a.db", "a.cif"])
def test_every_structure_of_a_file_is_computed(name, tmp_path, calculators):
    write(tmp_path / name, boxes())
    code, text = run(tmp_path / name, tmp_path / "out.extxyz")
    assert code == 0, text
    assert text.splitlines()[-1] == f"{tmp_path}/out.extxyz: 3 of 3 structures, task omol"
    found = frames(tmp_path / "out.extxyz")
    given = list(read_structures(tmp_path / name))
    assert [atoms.info["structure"] for atoms in found] == [0, 1, 2]
    for one, atoms in zip(found, given, strict=True):
        assert (one.numbers == atoms.numbers).all()
        assert one.positions == pytest.approx(atoms.positions, abs=1e-7)
        atoms.calc = calculators("tiny-1p2p1")
        assert one.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        assert one.get_forces() == pytest.approx(atoms.get_forces(), abs=1e-7)
        assert one.get_stress() == pytest.approx(atoms.get_stress(), abs=1e-8)
        assert one.info["units"].startswith("energy eV, forces eV/angstrom, stress eV/angstrom^3")
        assert (one.info["model"], one.info["task"]) == ("UMA-S-1.2.1", "omol")


def test_several_models_are_a_committee(tmp_path, fine_tunes):
    write(tmp_path / "a.extxyz", boxes())
    other = fine_tunes("tiny-1p2p1", 1)
    code, text = run(tmp_path / "a.extxyz", tmp_path / "out.extxyz", "--model", other)
    assert code == 0, text
    members = [
        UMACalculator(file, "omol", "cpu", "float64") for file in (checkpoint("tiny-1p2p1"), other)
    ]
    for atoms in frames(tmp_path / "out.extxyz"):
        energies, forces, stresses = zip(
            *(
                (c.get_potential_energy(atoms), c.get_forces(atoms), c.get_stress(atoms))
                for c in members
            ),
            strict=True,
        )
        assert atoms.get_potential_energy() == pytest.approx(np.mean(energies), abs=1e-7)
        assert atoms.info["energy_std"] == pytest.approx(np.std(energies) / len(atoms), abs=1e-7)
        assert atoms.info["stress_std"] == pytest.approx(np.std(stresses, axis=0), abs=1e-7)
        half = np.linalg.norm(forces[0] - forces[1], axis=1) / 2
        assert atoms.arrays["forces_std"] == pytest.approx(half, abs=1e-7)


def test_one_structure_of_a_format_that_holds_no_more(tmp_path):
    write(tmp_path / "POSCAR", boxes()[2])
    code, text = run(tmp_path / "POSCAR", tmp_path / "out.extxyz", task="omat")
    assert code == 0, text
    assert len(frames(tmp_path / "out.extxyz")) == 1


def test_charge_and_spin_of_frames_and_of_flags(tmp_path, calculators):
    write(tmp_path / "a.extxyz", [structure("mol:OH@-1,1"), structure("mol:OH@0,2")])
    run(tmp_path / "a.extxyz", tmp_path / "own.extxyz")
    own = [atoms.get_potential_energy() for atoms in frames(tmp_path / "own.extxyz")]
    run(tmp_path / "a.extxyz", tmp_path / "flags.extxyz", "--charge", "-1", "--spin", "1")
    flags = [atoms.get_potential_energy() for atoms in frames(tmp_path / "flags.extxyz")]
    assert own[0] == flags[0] == pytest.approx(flags[1], abs=1e-8)
    assert abs(own[1] - flags[1]) > 1e-6
    expected = calculators("tiny-1p2p1").get_potential_energy(structure("mol:OH@0,2"))
    assert own[1] == pytest.approx(expected, abs=1e-7)


def test_results_that_the_file_had_are_replaced(tmp_path):
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=5.0, forces=np.ones((3, 3)))
    other = molecule("H2O")
    other.info["energy"] = 5.0
    other.arrays["forces"] = np.ones((3, 3))
    write(tmp_path / "a.traj", [atoms, other])
    code, text = run(tmp_path / "a.traj", tmp_path / "out.extxyz")
    assert code == 0, text
    for one in frames(tmp_path / "out.extxyz"):
        assert one.get_potential_energy() < 0
        assert np.abs(one.get_forces() - 1).max() > 1e-3
        assert "forces" not in one.arrays


def test_what_fails_is_named_and_the_rest_is_written(tmp_path):
    bad = Atoms("H2", [[0, 0, 0], [0, 0, 0]])
    write(tmp_path / "a.extxyz", [molecule("H2O"), bad, molecule("CH4")])
    code, text = run(tmp_path / "a.extxyz", tmp_path / "out.extxyz")
    assert code == 1
    lines = text.splitlines()
    assert lines[0].endswith("out.extxyz: 2 of 3 structures, task omol")
    assert lines[1].startswith("structure 1: atoms must be apart")
    assert lines[2].startswith("Error: all structures must be such that the model can serve them")
    assert [atoms.info["structure"] for atoms in frames(tmp_path / "out.extxyz")] == [0, 2]


def test_structures_before_a_broken_one_are_computed(tmp_path):
    path = tmp_path / "a.extxyz"
    write(path, [molecule("H2O"), molecule("CH4"), molecule("NH3")])
    path.write_text(path.read_text()[:-40])
    code, text = run(path, tmp_path / "out.extxyz")
    assert code == 1
    assert f"structure 2: {path} must be a whole file of format extxyz, found" in text
    assert len(frames(tmp_path / "out.extxyz")) == 2


def test_nothing_is_written_where_nothing_is_computed(tmp_path):
    write(tmp_path / "a.extxyz", Atoms("H2", [[0, 0, 0], [0, 0, 0]]))
    code, text = run(tmp_path / "a.extxyz", tmp_path / "out.extxyz")
    assert code == 1
    assert "0 of 1 structures" in text
    assert not (tmp_path / "out.extxyz").exists()


def ctrl_c():
    raise KeyboardInterrupt  # a signal would do nothing in tests that a shell put into background


def end_of_the_queue():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("interrupt", "code"), [(ctrl_c, 1), (end_of_the_queue, 143)])
def test_an_interrupted_run_leaves_what_was_computed(interrupt, code, tmp_path, monkeypatch):
    write(tmp_path / "a.extxyz", [molecule(name) for name in ("H2O", "CH4", "NH3", "H2O")])
    original, calls = MixedBatcher.graph, []

    def graph(self, members):
        calls.append(members)
        if len(calls) == 3:
            interrupt()
        return original(self, members)

    monkeypatch.setattr(MixedBatcher, "graph", graph)
    found, text = run(tmp_path / "a.extxyz", tmp_path / "out.extxyz")
    assert found == code
    assert "3 of 4 structures" in text
    assert [atoms.info["structure"] for atoms in frames(tmp_path / "out.extxyz")] == [0, 1, 3]
    assert sorted(other.name for other in tmp_path.iterdir()) == ["a.extxyz", "out.extxyz"]


def test_the_file_that_is_read_is_not_replaced(tmp_path):
    write(tmp_path / "a.extxyz", molecule("H2O"))
    before = (tmp_path / "a.extxyz").read_bytes()
    (tmp_path / "link").symlink_to("a.extxyz")
    for name in ("a.extxyz", "link"):
        code, text = run(tmp_path / "a.extxyz", tmp_path / name)
        assert code == 1
        assert "output must be another file than what is read" in text
    assert (tmp_path / "a.extxyz").read_bytes() == before


def test_moments_that_are_not_read_are_said_without_a_stack(tmp_path):
    write(tmp_path / "a.traj", [molecule("OH"), molecule("O2")])
    code, text = run(tmp_path / "a.traj", tmp_path / "out.extxyz")
    assert code == 0
    assert text.count("initial magnetic moments of atoms are not read") == 1
    assert len(text.splitlines()) == 2


def test_a_database_is_read_and_not_touched(tmp_path):
    path = tmp_path / "a.db"
    write(path, boxes())
    before = path.read_bytes()
    path.chmod(0o444)
    found = list(read_structures(path))
    assert [len(atoms) for atoms in found] == [3, 5, 8]
    assert len(read_structure(path)) == 8
    assert path.read_bytes() == before
    assert [other.name for other in tmp_path.iterdir()] == ["a.db"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (
            "CREATE TRIGGER t AFTER INSERT ON systems BEGIN DELETE FROM systems; END",
            "a trigger, which is a program",
        ),
        ("CREATE VIEW v AS SELECT * FROM systems", "a view, which is a program"),
        ("DROP TABLE systems", "readonly"),
    ],
)
def test_databases_that_are_more_or_less_than_tables_are_refused(change, kind, tmp_path):
    path = tmp_path / "a.db"
    write(path, boxes())
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"must be a whole file of format db, found .*{kind}"):
        list(read_structures(path))
    assert path.read_bytes() == before


def test_formats_that_are_no_data_are_refused(tmp_path):
    (tmp_path / "a.xml").write_text("<modeling></modeling>")
    code, text = run(tmp_path / "a.xml", tmp_path / "out.extxyz")
    assert code == 1
    assert "must be a structure file of one of the formats" in text
