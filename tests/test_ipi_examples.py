# SPDX-License-Identifier: MIT
"""The examples of `examples/ipi`: their own commands, with a small random model and few steps."""

import os
import re
import runpy
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import prepared
import pytest
from ase import Atoms, units
from ase.io import read, write
from conftest import checkpoint
from structures import water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_runs import ENVIRONMENT, TIME_LIMIT

pytestmark = pytest.mark.ipi

EXAMPLES = Path(__file__).parents[1] / "examples" / "ipi"


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
            _shell(command, here)
    return here


def _every_step(found: re.Match[str]) -> str:
    return re.sub(r"\d+", "1", found.group())


def _shell(command: str, folder: Path) -> None:
    environment = ENVIRONMENT | {"PATH": prepared.path()}
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
    """Columns of a table that i-PI wrote."""
    return np.loadtxt(path, ndmin=2).T


# Energies of a checkpoint in single precision, eV
CLOSE = 1e-5
# What the conserved quantity may vary in three steps, eV; without the right forces, pressures and
# masses it varies by what the potential does, ten times as much.
DRIFTS = {"pimd-nvt": 3e-5, "fix-ipi": 3e-5, "pimd-npt": 5e-6, "trpmd": 5e-6}
CLASSICAL = 1.5 * units.kB * 300  # kinetic energy of an atom, eV


@pytest.fixture
def energy(calculators) -> float:
    """ASE's energy of what the runs start from."""
    return calculators("tiny-1p2p1", dtype="float32").get_potential_energy(water_box(2))


def check_path_integral(name: str, folder: Path, energy: float) -> np.ndarray:
    """Three steps from beads that are all at one point; returns the columns."""
    table = properties(folder / "run.out")
    step, _, conserved, _, potential, kinetic, kinetic_hydrogen = table[:7]
    assert step.tolist() == [0, 1, 2, 3]
    assert potential[0] == pytest.approx(energy, abs=CLOSE)
    assert np.ptp(conserved) < DRIFTS[name]
    assert len(np.unique(potential)) == 4
    # a point has no virial of its own: the kinetic energy is classical, and grows with the beads
    assert kinetic[0] == pytest.approx(6 * CLASSICAL, rel=1e-5)
    assert kinetic_hydrogen[0] == pytest.approx(4 * CLASSICAL, rel=1e-5)
    assert (np.diff(kinetic) > 0).all()
    assert (np.diff(kinetic_hydrogen) > 0).all()
    assert kinetic[3] < 1.1 * kinetic[0]
    return table


@pytest.mark.parametrize("name", ["pimd-nvt", "pimd-npt", "trpmd"])
def test_path_integrals(name, energy, tmp_path):
    table = check_path_integral(name, run(name, tmp_path, 3), energy)
    if name == "pimd-npt":
        volume = table[7]
        assert volume[0] == pytest.approx(water_box(2).get_volume(), rel=1e-6)
        assert len(np.unique(volume)) == 4


def test_replica_exchange(energy, tmp_path):
    here = run("replica-exchange", tmp_path, 3)
    names = ("cold", "mild", "warm", "hot")
    boxes = np.array([properties(here / f"{name}_run.out") for name in names])
    _, _, conserved, heat, _, potential = boxes.swapaxes(0, 1)
    temperatures = [280, 298, 318, 340]
    assert heat[:, 0] == pytest.approx(temperatures)
    assert np.sort(heat, axis=0) == pytest.approx(np.tile(temperatures, (4, 1)).T)
    assert potential[:, 0] == pytest.approx([energy] * 4, abs=CLOSE)
    assert np.ptp(conserved, axis=1).max() < 5e-6
    assert np.ptp(potential, axis=1).min() > 1e-4


def test_a_band_of_images(calculators, tmp_path):
    here = run("neb", tmp_path, 2)
    table = properties(here / "run.out")
    images = read(EXAMPLES / "neb" / "path.xyz", ":")
    calculator = calculators("tiny-1p2p1", dtype="float32")
    energies = [calculator.get_potential_energy(image) for image in images]
    assert table[1:, 0] == pytest.approx(energies, abs=CLOSE)
    assert table[1, 0] == pytest.approx(table[8, 0], abs=CLOSE)  # both ends are the same pyramid
    assert np.ptp(table[[1, 8]], axis=1).max() == 0  # which stay where they are
    assert (np.diff(table[2:8]) < 0).all()  # while the images between them relax


def test_phonons(calculators, tmp_path):
    """Force constants are ASE's, without those that move or rotate the molecule as a whole."""
    here = run("phonons", tmp_path, 20)
    (atoms,) = read(here / "molecule.xyz", ":")
    atoms.calc = calculators("tiny-1p2p1")
    weights = np.sqrt(np.repeat(atoms.get_masses(), 3))
    others = np.eye(9) - rigid_motions(atoms)
    dynamical = others @ (hessian(atoms, 0.01) / np.outer(weights, weights)) @ others
    found = np.loadtxt(here / "run.phonons.hess")
    assert np.abs(found).max() > 1e-3
    assert found == pytest.approx(dynamical * np.outer(weights, weights), abs=1e-8)
    dalton = 1822.888486  # electron masses
    squares = np.linalg.eigvalsh(dynamical) / dalton
    assert np.loadtxt(here / "run.phonons.eigval") == pytest.approx(squares, abs=1e-12)
    assert (np.abs(squares) > 1e-8).sum() == 3


def hessian(atoms: Atoms, step: float) -> np.ndarray:
    """Central differences of forces; step in bohr, hartree/bohr^2."""
    angstrom, electronvolt = 1.8897261, 0.036749326  # in atomic units, as i-PI has them
    rest, rows = atoms.positions.copy(), []
    for move in np.eye(rest.size).reshape(-1, *rest.shape) * step / angstrom:
        sides = []
        for positions in (rest - move, rest + move):
            atoms.positions = positions
            sides.append(atoms.get_forces().ravel())
        rows.append((sides[0] - sides[1]) / (2 * step))
    atoms.positions = rest
    return (np.array(rows) + np.transpose(rows)) / 2 * electronvolt / angstrom


def rigid_motions(atoms: Atoms) -> np.ndarray:
    """Projector onto translations and rotations, in coordinates weighted by masses."""
    away = atoms.positions - atoms.get_center_of_mass()
    moves = [np.broadcast_to(axis, away.shape) for axis in np.eye(3)]
    moves += [np.cross(axis, away) for axis in np.eye(3)]
    weighted = [(np.sqrt(atoms.get_masses())[:, None] * move).ravel() for move in moves]
    basis, _ = np.linalg.qr(np.transpose(weighted))
    return basis @ basis.T


@pytest.mark.lammps
@pytest.mark.mpi
def test_lammps_as_a_driver_of_i_pi(energy, tmp_path):
    check_path_integral("fix-ipi", run("fix-ipi", tmp_path, 3), energy)


@pytest.mark.lammps
@pytest.mark.mpi
def test_path_integrals_in_lammps(energy, tmp_path):
    here = run("pimd-langevin", tmp_path, 3)
    estimators = []
    for bead in range(4):
        log = (here / f"log.lammps.{bead}").read_text()
        rows = re.findall(r"^ +([0-3])((?: +\S+){12}) *$", log, re.MULTILINE)
        assert [row[0] for row in rows] == ["0", "1", "2", "3"], log
        table = np.array([row[1].split() for row in rows], dtype=float)
        assert table[0, 1] == pytest.approx(energy, abs=CLOSE)
        assert len(np.unique(table[:, 1])) == 4
        estimators.append(table[:, 6:9])  # of the kinetic energy, the same for all beads
    assert np.ptp(estimators, axis=0).max() == 0
    primitive, _, centroid_virial = np.transpose(estimators[0])
    assert primitive[0] == pytest.approx(4 * 6 * CLASSICAL, rel=1e-4)  # no spring is stretched
    assert centroid_virial[0] == pytest.approx(6 * CLASSICAL, rel=1e-4)
    assert (np.diff(centroid_virial) > 0).all()
    assert centroid_virial[3] < 1.1 * centroid_virial[0]


def quantum_water():
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
def test_quantum_water(energy, tmp_path):
    write(tmp_path / "water.xyz", water_box(2))
    names = ["4 beads, PIGLET", "16 beads, D2O", "4 beads, fix ipi", "4 beads, fix pimd/langevin"]
    program: list[str | Path] = [
        prepared.python(),
        EXAMPLES / "quantum-water" / "quantum_water.py",
        *names,
    ]
    model = ["--model", checkpoint("tiny-1p2p1"), "--start", tmp_path / "water.xyz"]
    results = tmp_path / "results"
    options = ["--scale", "0.04", "--output", results]
    done = subprocess.run([*program, *model, *options], capture_output=True, text=True, check=True)
    table = [line for line in done.stdout.splitlines() if "±" in line]
    assert [line[:28].strip() for line in table] == names
    folders = [results / re.sub(r"\W+", "-", name) for name in names]
    for line, folder in zip(table[:3], folders[:3], strict=True):
        run = properties(folder / "run.out")
        assert run[4, 0] == pytest.approx(energy, abs=CLOSE)
        kinetic = 1000 * run[5:7, round(0.2 * len(run[0])) :].mean(axis=1)
        hydrogen, _, all_atoms, _ = map(float, re.findall(r"\d+\.\d", line[28:])[:4])
        assert [all_atoms, hydrogen] == pytest.approx(kinetic / [6, 4], abs=0.051)
    piglet, heavy, light, langevin = [float(line.split()[-1]) for line in table]
    assert piglet > light == langevin > heavy > 1000 * CLASSICAL  # the harmonic water's
    masses = (folders[1] / "input.xml").read_text()
    assert masses.count("2.014000000000e+00") == 4
    assert (results / "quantum-water.png").exists()
