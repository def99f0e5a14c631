# SPDX-License-Identifier: MIT
"""Crystal and melt of copper side by side in LAMMPS: order across the interface, task omat."""

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


def simulate(model: str, ranks: int, settings: dict[str, float], folder: Path) -> np.ndarray:
    """Run the input; returns z (angstrom) and centrosymmetry (angstrom^2) of atoms."""
    export(model, folder / "copper.pt", "omat")
    run_long(HERE / "in.melting", folder, ranks, settings, 2 * int(settings["steps"]))
    return np.loadtxt(folder / "melting.dump", skiprows=9)[:, [4, 5]]


def profile(atoms: np.ndarray, slabs: int) -> tuple[np.ndarray, np.ndarray]:
    """Heights of slabs, and the mean of the parameter in each: 0 in a perfect crystal."""
    low, high = atoms[:, 0].min(), atoms[:, 0].max() + 1e-9
    which = ((atoms[:, 0] - low) / (high - low) * slabs).astype(int)
    means = np.array([atoms[which == slab, 1].mean() for slab in range(slabs)])
    return low + (np.arange(slabs) + 0.5) * (high - low) / slabs, means


def draw(heights: np.ndarray, means: np.ndarray, atoms: np.ndarray, file: Path) -> None:
    """Draw the parameter of atoms and of slabs over the height."""
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    axes.plot(*atoms.T, ".", ms=3, color="0.7", label="atoms")
    axes.plot(heights, means, "o-", label="mean of a slab")
    axes.set(xlabel="z (Å)", ylabel="centrosymmetry (Å²)")
    axes.legend()
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--ranks", default=2, show_default=True, help="MPI ranks.")
@click.option("--cells", default=8, show_default=True, help="Cubic cells along z.")
@click.option("--steps", default=150, show_default=True, help="Of 2 fs, in both stages.")
@click.option("--temperature", default=1300.0, show_default=True, help="Of the second stage, K.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "melting.png")
def main(model: str, ranks: int, cells: int, steps: int, temperature: float, output: Path) -> None:
    """Melt the upper half, let both halves go on at one temperature, draw the order."""
    settings = {"cells": cells, "steps": steps, "temperature": temperature}
    with tempfile.TemporaryDirectory() as folder:
        atoms = simulate(model, ranks, settings, Path(folder))
    heights, means = profile(atoms, 2 * cells)
    middle = slice(cells // 4, cells - cells // 4)  # away from both interfaces
    print(f"crystal  {means[:cells][middle].mean():.1f} A2")
    print(f"melt     {means[cells:][middle].mean():.1f} A2")
    draw(heights, means, atoms, output)


if __name__ == "__main__":
    main()
