# SPDX-License-Identifier: MIT
"""The examples of `examples/ipi`: their own commands, with a small random model and few steps."""

import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import read, write
from conftest import checkpoint
from structures import water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_runs import BIN, ENVIRONMENT, TIME_LIMIT

pytestmark = pytest.mark.ipi

EXAMPLES = Path(__file__).parents[1] / "examples" / "ipi"
PYTHON = shlex.quote(sys.executable)


def run(name: str, folder: Path, steps: int) -> Path:
    """Run the commands of an example's README on two molecules; returns its folder."""
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    box = water_box(2)
    write(folder / "water.xyz", box)
    here = folder / name
    for data in here.glob("water.data"):
        write(data, box, format="lammps-data", specorder=["H", "O"], masses=True)
    address = f"{name}-{os.getpid()}"
    for file in (*here.glob("input.xml"), *here.glob("in.lammps")):
        text = re.sub(rf"(<address>|ipi) {name}\b", rf"\1 {address}", file.read_text())
        text = re.sub(r"<total_steps> \d+", f"<total_steps> {steps}", text)
        text = re.sub(r"steps index \d+", f"steps index {steps}", text)
        file.write_text(re.sub(r"stride='\d+'|every index \d+", _every_step, text))
    for line in (here / "README.md").read_text().splitlines():
        if line.startswith("    "):
            command = line.replace(f"--unix {name}", f"--unix {address} --device cpu")
            command = command.replace(f"/tmp/ipi_{name};", f"/tmp/ipi_{address};")
            command = command.replace("uma-nano", str(checkpoint("tiny-1p2p1")))
            command = re.sub(r"\buma-ipi\b", f"{PYTHON} -m ipi_driver.cli", command)
            _shell(command, here)
    return here


def _every_step(found: re.Match) -> str:
    return re.sub(r"\d+", "1", found.group())


def _shell(command: str, folder: Path) -> None:
    environment = ENVIRONMENT | {"PATH": f"{BIN}:{ENVIRONMENT['PATH']}"}
    first, _, second = command.partition(" & ")
    lines = f"{first} & {second}; code=$?; wait $!; exit $code" if second else command
    process = subprocess.Popen(
        ["bash", "-c", lines],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIME_LIMIT)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    logs = "".join(log.read_text()[-1000:] for log in folder.glob("*.log"))
    expected = {0, 1} if "lmp" in second else {0}  # fix ipi ends LAMMPS with an error
    assert process.returncode in expected, output + logs


def properties(path: Path) -> np.ndarray:
    """Rows of a table that i-PI wrote."""
    return np.loadtxt(path, ndmin=2)


@pytest.mark.parametrize("name", ["pimd-nvt", "pimd-npt", "trpmd"])
def test_path_integrals(name, tmp_path):
    here = run(name, tmp_path, 3)
    table = properties(here / "run.out")
    assert table[:, 0].tolist() == [0, 1, 2, 3]
    assert np.isfinite(table).all()
    assert len(np.unique(table[:, 4])) == 4  # the potential
    if name == "pimd-npt":
        assert len(np.unique(table[:, 7])) > 1  # the volume


def test_replica_exchange(tmp_path):
    here = run("replica-exchange", tmp_path, 3)
    heat = [properties(here / f"{name}_run.out")[0, 3] for name in ("cold", "mild", "warm", "hot")]
    assert heat == pytest.approx([280, 298, 318, 340])


def test_a_band_of_images(tmp_path):
    here = run("neb", tmp_path, 2)
    table = properties(here / "run.out")
    assert table.shape[1] == 1 + 8
    assert table[0, 1] == pytest.approx(table[0, 8])  # both ends are the same pyramid
    assert len(read(EXAMPLES / "neb" / "path.xyz", ":")) == 8


def test_phonons(tmp_path):
    here = run("phonons", tmp_path, 20)
    assert np.loadtxt(here / "run.phonons.hess").shape == (9, 9)
    assert len(np.loadtxt(here / "run.phonons.eigval")) == 9


@pytest.mark.lammps
@pytest.mark.mpi
def test_lammps_as_a_driver_of_i_pi(tmp_path):
    here = run("fix-ipi", tmp_path, 3)
    table = properties(here / "run.out")
    assert table[:, 0].tolist() == [0, 1, 2, 3]
    assert np.isfinite(table).all()


@pytest.mark.lammps
@pytest.mark.mpi
def test_path_integrals_in_lammps(tmp_path):
    here = run("pimd-langevin", tmp_path, 3)
    for bead in range(4):
        log = (here / f"log.lammps.{bead}").read_text()
        rows = re.findall(r"^ +([0-3])((?: +\S+){12}) *$", log, re.MULTILINE)
        assert [row[0] for row in rows] == ["0", "1", "2", "3"], log
        assert np.isfinite([[float(word) for word in row[1].split()] for row in rows]).all()


def quantum_water() -> dict:
    """What the script of the example defines."""
    return runpy.run_path(str(EXAMPLES / "quantum-water" / "quantum_water.py"))


def test_harmonic_kinetic_energies():
    harmonic, kelvin = quantum_water()["Harmonic"], units.kB * 300
    stretch = harmonic(np.array([0.42]), np.array([3.0]))
    assert stretch.kinetic(1) == pytest.approx(1500 * kelvin)
    exact = 3000 * 0.42 / 4 / np.tanh(0.42 / 2 / kelvin)
    assert stretch.kinetic(4096) == pytest.approx(exact, rel=1e-4)


@pytest.mark.lammps
@pytest.mark.mpi
def test_quantum_water(tmp_path):
    box = water_box(2)
    write(tmp_path / "water.xyz", box)
    names = ["4 beads, PIGLET", "16 beads, D2O", "4 beads, fix ipi", "4 beads, fix pimd/langevin"]
    program = [sys.executable, EXAMPLES / "quantum-water" / "quantum_water.py", *names]
    model = ["--model", checkpoint("tiny-1p2p1"), "--start", tmp_path / "water.xyz"]
    options = ["--scale", "0.04", "--output", tmp_path / "results"]
    done = subprocess.run([*program, *model, *options], capture_output=True, text=True, check=True)
    table = [line for line in done.stdout.splitlines() if "±" in line]
    assert [line[:28].strip() for line in table] == names
    assert "nan" not in done.stdout
    assert (tmp_path / "results" / "quantum-water.png").exists()
    heavy = (tmp_path / "results" / "16-beads-D2O" / "input.xml").read_text()
    assert heavy.count("2.014000000000e+00") == 4
