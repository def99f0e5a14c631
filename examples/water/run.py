"""Liquid water in LAMMPS on several MPI ranks: export a model, run `in.water`, plot the outcome."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click
import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.io import write
from lammps.formats import LogFile

mpl.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
RANDOM_WEIGHTS = HERE.parents[1] / "tests" / "data" / "tiny-1p2p1.pt"
MOLECULES = 64
DENSITY = 0.997  # g/cm^3, liquid water at 25 degrees Celsius
GRAMS_PER_MOLECULE = 18.015 / 6.02214076e23


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


def water_box(molecules: int, seed: int = 1) -> Atoms:
    """Periodic cube of rigid water molecules on a jittered grid, each turned at random."""
    rng = np.random.default_rng(seed)
    length = (molecules * GRAMS_PER_MOLECULE / DENSITY) ** (1 / 3) * 1e8
    side = int(np.ceil(molecules ** (1 / 3)))
    box = Atoms(cell=[length] * 3, pbc=True)
    sites = rng.permutation(np.array(list(np.ndindex(side, side, side))))[:molecules]
    for site in sites:
        water = molecule("H2O")
        water.rotate(rng.uniform(0, 360), rng.normal(size=3))
        jitter = rng.normal(scale=0.05, size=3)
        water.translate((site + 0.5) * length / side + jitter - water.get_center_of_mass())
        box += water
    box.wrap()
    return box


def call(*command: str | Path, folder: Path) -> None:
    """Run a program of this Python's environment; end with its text when it fails."""
    programs = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def read_log(log: Path) -> Result:
    """Read what LAMMPS printed: a relaxation, a run with a thermostat, a free run."""
    _, thermostatted, free = LogFile(log).runs
    loops = re.findall(
        r"Loop time of (\S+) on (\d+) procs for (\d+) steps with (\d+) atoms", log.read_text()
    )
    seconds, ranks, _, atoms = (float(word) for word in loops[-1])
    nanoseconds = (free["Time"][-1] - free["Time"][0]) / 1000
    slope = np.polyfit(free["Time"], free["TotEng"], 1)[0]
    return Result(
        atoms=int(atoms),
        ranks=int(ranks),
        steps=sum(int(loop[2]) for loop in loops[1:]),
        nanoseconds_per_day=nanoseconds / seconds * 86400,
        drift=1000 * slope / atoms,
        release=free["Time"][0],
        times=joined(thermostatted, free, "Time"),
        temperatures=joined(thermostatted, free, "Temp"),
        energies=joined(thermostatted, free, "TotEng"),
    )


def joined(
    first: Mapping[str, list[float]], second: Mapping[str, list[float]], key: str
) -> np.ndarray:
    """Values of both stages in a row; the second starts where the first ends."""
    return np.array(first[key] + second[key][1:])


def print_table(result: Result) -> None:
    """Print the numbers one asks first."""
    rows = [
        ("atoms", f"{result.atoms}"),
        ("MPI ranks", f"{result.ranks}"),
        ("time steps", f"{result.steps}"),
        ("speed", f"{result.nanoseconds_per_day:.3g} ns/day"),
        ("energy drift", f"{result.drift:+.3g} meV/atom/ps"),
    ]
    for label, value in rows:
        print(f"  {label:<14}{value:>24}")


def plot(result: Result, file: Path) -> None:
    """Draw temperature and total energy over time."""
    figure, (above, below) = plt.subplots(2, sharex=True, layout="constrained")
    above.plot(result.times, result.temperatures)
    above.set_ylabel("temperature (K)")
    below.plot(result.times, 1000 * (result.energies - result.energies[-1]) / result.atoms)
    below.set_ylabel("total energy − last\n(meV/atom)")
    below.set_xlabel("time (ps)")
    above.set_title("thermostat until the dashed line")
    for axes in (above, below):
        axes.axvline(result.release, color="gray", linestyle="--")
    figure.savefig(file, dpi=150)


@click.command()
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, path_type=Path),
    default=RANDOM_WEIGHTS,
    help="A UMA checkpoint; without it, a small one with random weights.",
)
@click.option("--task", default="omol", show_default=True, help="Which task's energies.")
@click.option("--ranks", default=2, show_default=True, help="MPI ranks.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=HERE,
    help="Folder for what is written; without it, the folder of this file.",
)
def main(checkpoint: Path, task: str, ranks: int, output: Path) -> None:
    """Run liquid water in LAMMPS with a UMA model on several MPI ranks."""
    if checkpoint == RANDOM_WEIGHTS:
        print(
            "The model has random weights in the published format: "
            "this shows that the machinery runs, not water's physics."
        )
    output.mkdir(parents=True, exist_ok=True)
    model, log = output / "water.pt", output / "water.log"
    print(f"Exporting {checkpoint.name} for task {task}")
    call("uma-md", "export", checkpoint.resolve(), "--task", task, "-o", model.name, folder=output)
    water = water_box(MOLECULES)
    write(output / "water.data", water, format="lammps-data", specorder=["H", "O"], masses=True)
    print(f"Running {len(water)} atoms in LAMMPS on {ranks} MPI ranks")
    script = (HERE / "in.water").resolve()
    call("mpiexec", "-n", f"{ranks}", "lmp", "-in", script, "-log", log.name, folder=output)
    result = read_log(log)
    print_table(result)
    picture = output / "water.png"
    plot(result, picture)
    print(f"Plot: {picture}")


if __name__ == "__main__":
    main()
