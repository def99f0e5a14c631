# SPDX-License-Identifier: MIT
"""Formation energy of a vacancy in metals, task omat."""

import os
from pathlib import Path

import click
import matplotlib as mpl
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md import UMACalculator

HERE = Path(__file__).parent


def formation_energies(metal: str, calculator: UMACalculator, repeats: int) -> tuple[float, float]:
    """Energy of a vacancy before and after its neighbors relax, eV.

    That is E(n - 1 atoms, one site empty) - (n - 1)/n E(n atoms), in the perfect crystal's cell.
    """
    cell = bulk(metal, cubic=True)
    cell.set_initial_magnetic_moments(None)  # ASE's guess for nickel, which is not read
    cell.calc = calculator
    LBFGS(FrechetCellFilter(cell), logfile=os.devnull).run(fmax=1e-3, steps=100)  # type: ignore[arg-type]
    per_atom = cell.get_potential_energy() / len(cell)
    crystal = cell * (repeats, repeats, repeats)
    del crystal[0]
    crystal.calc = calculator
    start = crystal.get_potential_energy() - len(crystal) * per_atom
    LBFGS(crystal, logfile=os.devnull).run(fmax=0.01, steps=100)
    return start, crystal.get_potential_energy() - len(crystal) * per_atom


def draw(energies: dict[str, tuple[float, float]], file: Path) -> None:
    """Draw bars of both energies of each metal."""
    figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    places = range(len(energies))
    for shift, column, label in ((-0.2, 0, "not relaxed"), (0.2, 1, "relaxed")):
        heights = [pair[column] for pair in energies.values()]
        axes.bar([place + shift for place in places], heights, 0.4, label=label)
    axes.set_xticks(list(places), list(energies))
    axes.set_ylabel("formation energy (eV)")
    axes.legend()
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--metals", default="Al Ni Cu Pt", show_default=True, help="fcc metals.")
@click.option("--repeats", default=3, show_default=True, help="Cubic cells along each edge.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "vacancy.png")
def main(model: str, metals: str, repeats: int, output: Path) -> None:
    """Print and draw formation energies of vacancies."""
    calculator = UMACalculator(model, task="omat")
    energies = {}
    for metal in metals.split():
        start, end = energies[metal] = formation_energies(metal, calculator, repeats)
        print(f"{metal}  {end:.3f} eV ({start:.3f} before relaxation)")
    draw(energies, output)


if __name__ == "__main__":
    main()
