# SPDX-License-Identifier: MIT
"""What `uma-md check` finds in folders that are good, and in ones that were damaged."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.units import fs
from command_runs import done, ethanol_pdb, hydroxide_extxyz, triclinic_cif, uma_md
from conftest import checkpoint

from uma_md.commands.check.items import Subject, check_input
from uma_md.commands.check.physics import fastest_vibration, pressure_error, slope_error
from uma_md.commands.check.report import FORMAT, FORMAT_VERSION, STATES

pytestmark = pytest.mark.usefixtures("prepared_programs")

TINY = checkpoint("tiny-1p2p1")
ALL = ["forces", "elements", "ranks 1", "ranks 2", "force slope", "time step", "five steps"]


def check(folder: Path, *words: object) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Exit code, items by name, and the whole report of a check."""
    path = folder.parent / "report.json"
    result = uma_md("check", folder, "--device", "cpu", "--json", path, *words)
    assert path.is_file(), result.output
    report = json.loads(path.read_text())
    items = {item["name"]: item for item in report["items"]}
    for item in items.values():
        pattern = rf"^{item['status']} +{item['name']} +{re.escape(item['text'])}$"
        assert re.search(pattern, result.output, re.MULTILINE), result.output
    assert report["passed"] == all(item["status"] != "failed" for item in items.values())
    assert result.exit_code == (0 if report["passed"] else 1)
    return result.exit_code, items, report


@pytest.fixture
def ethanol(tmp_path):
    """A folder of ethanol for LAMMPS."""
    folder = tmp_path / "ethanol"
    done("setup", ethanol_pdb(tmp_path), "--task", "omol", "-o", folder)
    return folder


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.slow
def test_a_good_folder_passes_in_every_item(ethanol):
    before = {path.name: path.read_bytes() for path in ethanol.iterdir()}
    code, items, report = check(ethanol)
    assert code == 0, items
    assert list(items) == ALL
    assert {item["status"] for item in items.values()} == {"ok"}
    assert items["ranks 2"]["values"]["force_eV_per_A"] < 1e-4
    assert 8.5 < items["time step"]["values"]["period_fs"] < 10  # of O-H
    assert items["five steps"]["values"]["steps"] == 5
    expected: dict[str, Any] = {"structure": str(ethanol), "engine": "lammps", "task": "omol"}
    expected |= {"format": FORMAT, "format_version": FORMAT_VERSION, "charge": 0, "spin": 1}
    expected |= {"model": "uma-nano", "atoms": 9, "timestep": 0.5}
    assert {name: report[name] for name in expected} == expected
    assert all(item["status"] in STATES for item in report["items"])
    assert [advice["rule"] for advice in report["advice"]] == ["uma-nano"]
    assert {path.name: path.read_bytes() for path in ethanol.iterdir()} == before


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.slow
def test_a_structure_is_checked_in_float64(tmp_path):
    """A charged one without cell, and a triclinic one with pressure."""
    words = ("--model", TINY, "--dtype", "float64", "--json", tmp_path / "report.json")
    said = done("check", hydroxide_extxyz(tmp_path), "--task", "omol", *words)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["charge"] == -1
    assert report["passed"], said
    done("check", triclinic_cif(tmp_path), "--task", "omat", *words)
    report = json.loads((tmp_path / "report.json").read_text())
    items = {item["name"]: item["values"] for item in report["items"]}
    assert items["ranks 2"]["pressure_GPa"] < 1e-7
    assert items["pressure slope"]["eV_per_atom"] < 1e-3
    assert items["force slope"]["relative"] < 1e-2


@pytest.mark.slow
def test_a_folder_for_ase_runs_its_five_steps(tmp_path):
    words = ("--task", "omol", "--engine", "ase", "--model", TINY, "-o", tmp_path / "run")
    done("setup", hydroxide_extxyz(tmp_path), *words)
    _, items, _ = check(tmp_path / "run")
    assert items["five steps"]["status"] == "ok"
    assert items["five steps"]["values"]["steps"] == 5


def spoil(path: Path, pattern: str, other: str) -> None:
    """Change one place of a file."""
    text, count = re.subn(pattern, other, path.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.slow
def test_exchanged_elements_are_found(tmp_path):
    ethanol = tmp_path / "run"
    done("setup", ethanol_pdb(tmp_path), "--task", "omol", "--all-experts", "-o", ethanol)
    spoil(ethanol / "in.system", r"model.pt H C O", "model.pt C H O")
    code, items, _ = check(ethanol, "--ranks", 1)
    assert code == 1
    assert items["elements"]["status"] == "failed"
    assert "must be C, found H in LAMMPS: compare the elements" in items["elements"]["text"]


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.slow
def test_moved_atoms_wrong_masses_and_long_steps_are_found(ethanol):
    spoil(ethanol / "structure.data", r"^(3 \d )\S+", r"\g<1>4.6")
    spoil(ethanol / "structure.data", r"^1 1\.008 ", "1 2.014 ")
    record = json.loads((ethanol / "setup.json").read_text())
    (ethanol / "setup.json").write_text(json.dumps(record | {"timestep": 2.0}))
    code, items, _ = check(ethanol, "--ranks", 2)
    assert code == 1
    assert items["ranks 2"]["status"] == "failed"
    assert items["ranks 2"]["values"]["force_eV_per_A"] > 0.01
    assert "must have the mass 1.0080 u, found 2.0140 in LAMMPS" in items["elements"]["text"]
    assert items["time step"]["status"] == "failed"
    assert "dynamics may blow up, take 0.79 fs" in items["time step"]["text"]
    assert items["force slope"]["status"] == "ok"


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.slow
def test_an_error_of_lammps_is_the_text_of_the_item(ethanol):
    spoil(ethanol / "in.system", r"^pair_style +uma", "pair_style uma charm")
    _, items, _ = check(ethanol, "--ranks", 1)
    for name in ("elements", "ranks 1", "five steps"):
        assert items[name]["status"] == "failed"
        assert "charm" in items[name]["text"]
    assert items["forces"]["status"] == "ok"


@pytest.mark.ipi
@pytest.mark.slow
def test_an_input_of_i_pi_is_checked_and_run(tmp_path):
    pytest.importorskip("ipi", reason="i-PI is not installed")
    folder = tmp_path / "run"
    done("setup", "H2O", "--task", "omol", "--engine", "ipi", "--beads", 2, "-o", folder)
    code, items, _ = check(folder)
    assert code == 0, items
    assert items["i-PI input"]["text"] == "nothing to remark on input.xml"
    assert items["five steps"]["values"]["steps"] == 5
    spoil(folder / "input.xml", r" <timeout> 600 </timeout>", "")
    item = check_input(Subject(folder, "cpu", (1,)))
    assert item.status == "warning"
    assert "no <timeout>" in item.text
    spoil(folder / "input.xml", r"mode='ase' units='angstrom'", "mode='xyz'")
    item = check_input(Subject(folder, "cpu", (1,)))
    assert item.status == "failed"
    assert "write <file mode='ase'>" in item.text


@pytest.mark.slow
def test_a_script_of_ase_is_run(tmp_path):
    folder = tmp_path / "run"
    done("setup", "CH4", "--task", "omol", "--engine", "ase", "-o", folder)
    code, items, _ = check(folder)
    assert code == 0, items
    assert list(items) == ["forces", "force slope", "time step", "five steps"]
    spoil(folder / "run.py", "dynamics.run", "dynamics.walk")
    code, items, _ = check(folder)
    assert code == 1
    assert "has no attribute 'walk'" in items["five steps"]["text"]


def test_strong_forces_are_a_warning(tmp_path):
    atoms = molecule("N2")
    atoms.positions *= 1.2
    atoms.write(tmp_path / "stretched.extxyz")
    folder = tmp_path / "run"
    done("setup", tmp_path / "stretched.extxyz", "--task", "omol", "--engine", "ase", "-o", folder)
    _, items, _ = check(folder)
    assert items["forces"]["status"] == "warning"
    assert "relax the structure before dynamics" in items["forces"]["text"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.xyz", "--task", "omol"), "found none of them for 'none.xyz'"),
        (("H2O",), "a structure must be given with --task"),
        ((".",), "must be one that 'uma-md setup' wrote, found no setup.json"),
        ((".", "--task", "omol"), "a folder has its own task"),
        ((".", "--model", "uma-nano"), "a folder has its own model"),
    ],
)
def test_what_cannot_be_checked_is_refused(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = uma_md("check", *words)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: "{", "must be JSON"),
        (lambda record: json.dumps(record | {"format_version": 2}), "must be of format"),
        (lambda record: json.dumps(record | {"engine": "abacus"}), "found no valid engine"),
        (lambda record: json.dumps({"format": record["format"], "format_version": 1}), "no valid"),
    ],
)
def test_a_damaged_record_is_refused(change, message, tmp_path):
    done("setup", "H2O", "--task", "omol", "--engine", "ase", "-o", tmp_path / "run")
    path = tmp_path / "run" / "setup.json"
    path.write_text(change(json.loads(path.read_text())))
    result = uma_md("check", tmp_path / "run")
    assert result.exit_code == 1
    assert message in result.output


class Scaled(Calculator):
    """EMT with other forces and stresses than those of its energy."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        other = self.atoms.copy()
        other.calc = EMT()
        self.results = {
            "energy": other.get_potential_energy(),
            "forces": self.factor * other.get_forces(),
            "stress": self.factor * other.get_stress(),
        }


@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_slopes_tell_right_derivatives_from_wrong_ones(factor):
    atoms = bulk("Cu", a=3.5, cubic=True) * (2, 2, 2)
    atoms.calc = Scaled(factor)
    before = atoms.positions.copy(), atoms.cell.array.copy()
    for by_derivative, by_energy in (slope_error(atoms), pressure_error(atoms)):
        assert by_derivative / by_energy == pytest.approx(factor, rel=0.01)
    assert (atoms.positions == before[0]).all()
    assert (atoms.cell.array == before[1]).all()


def test_the_fastest_vibration_is_that_of_the_whole_matrix():
    rng = np.random.default_rng(2)
    atoms = Atoms("ArNeKrArNe", rng.uniform(0, 3.5, (5, 3)))
    atoms.calc = LennardJones(rc=20, epsilon=0.01, sigma=1.2)
    rows = []
    for k in range(15):
        sides = []
        for side in (-1, 1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[k // 3, k % 3] += side * 1e-4
            sides.append(moved.get_forces().ravel())
        rows.append((sides[0] - sides[1]) / 2e-4)
    masses = np.repeat(atoms.get_masses(), 3)
    matrix = np.array(rows) / np.sqrt(np.outer(masses, masses))
    largest = np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]
    expected = 2 * np.pi / np.sqrt(largest) / fs
    assert fastest_vibration(atoms) == pytest.approx(expected, rel=0.1)


def test_free_atoms_do_not_vibrate():
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 50]])
    atoms.calc = LennardJones(rc=5)
    assert fastest_vibration(atoms) == float("inf")
