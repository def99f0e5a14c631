# SPDX-License-Identifier: MIT
"""Dispersion added to a task that has none: two copper films pulled apart, with D3, in LAMMPS."""

import re
import tempfile
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md.commands.launch import run_long
from uma_md.export import export

HERE = Path(__file__).resolve().parent
AREA = (2 * 3.588) ** 2  # angstrom^2
JOULE = 16.0218  # J/m^2 per eV/angstrom^2
LINE = r"^apart (\S+) model (\S+) d3 (\S+)$"


def pull(model: str, ranks: int, settings: dict[str, float], folder: Path) -> np.ndarray:
    """Rows of distance (angstrom), energy of the model and of D3 (J/m^2), less those at the end."""
    export(model, folder / "copper.pt", "omat")
    log = run_long(HERE / "in.d3-overlay", folder, ranks, settings, int(settings["gaps"]))
    rows = np.array(re.findall(LINE, log, re.MULTILINE), dtype=float)
    rows[:, 1:] = (rows[:, 1:] - rows[-1, 1:]) * JOULE / AREA
    return rows


def draw(rows: np.ndarray, file: Path) -> None:
    """Draw both energies, close up and where the model has ended."""
    figure, panels = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    for axes, low in zip(panels, (0.0, 2.5), strict=True):
        apart, energy, d3 = rows[rows[:, 0] >= low].T
        axes.plot(apart, energy, "o-", ms=3, label="model")
        axes.plot(apart, energy + d3, "s-", ms=3, label="model + D3")
        axes.set(xlabel="pulled apart by (Å)", ylabel="energy (J/m²)")
    panels[0].legend()
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--ranks", default=2, show_default=True, help="MPI ranks.")
@click.option("--gaps", default=20, show_default=True, help="Steps of 0.5 angstrom.")
@click.option("--cutoff", default=14.0, show_default=True, help="Of D3, angstrom.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "d3-overlay.png")
def main(model: str, ranks: int, gaps: int, cutoff: float, output: Path) -> None:
    """Pull the films apart, print what binds them and draw it."""
    with tempfile.TemporaryDirectory() as folder:
        rows = pull(model, ranks, {"gaps": gaps, "cutoff": cutoff}, Path(folder))
    far = np.argmin(abs(rows[:, 0] - 5))
    print(f"touching     model {-rows[0, 1]:.3f}, D3 {-rows[0, 2]:.3f} J/m2")
    print(f"5 A apart    model {-rows[far, 1]:.3f}, D3 {-rows[far, 2]:.3f} J/m2")
    draw(rows, output)


if __name__ == "__main__":
    main()
