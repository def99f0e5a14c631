# SPDX-License-Identifier: MIT
"""Equation of state and elastic constants of a cubic metal, task omat."""

from pathlib import Path
from typing import NamedTuple

import click
import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.eos import EquationOfState
from ase.units import GPa

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md import UMACalculator

HERE = Path(__file__).parent
STRAIN = 0.004


class Curve(NamedTuple):
    """Energies over volumes, per atom, and their fit."""

    volumes: np.ndarray  # angstrom^3
    energies: np.ndarray  # eV
    constant: float  # of the lattice, angstrom
    modulus: float  # GPa


def equation_of_state(crystal: Atoms, points: int) -> Curve:
    """Fit Birch and Murnaghan's equation to volumes within 6% of the given one."""
    volumes, energies = [], []
    for scale in np.linspace(0.94, 1.06, points) ** (1 / 3):
        strained = crystal.copy()
        strained.calc = crystal.calc
        strained.set_cell(scale * crystal.cell, scale_atoms=True)
        volumes.append(strained.get_volume() / len(strained))
        energies.append(strained.get_potential_energy() / len(strained))
    volume, _, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    return Curve(np.array(volumes), np.array(energies), (4 * volume) ** (1 / 3), modulus / GPa)


def stress(crystal: Atoms, strain: np.ndarray) -> np.ndarray:
    """Stress of a strained crystal, (6,) in Voigt's order, GPa."""
    strained = crystal.copy()
    strained.calc = crystal.calc
    strained.set_cell(crystal.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return np.asarray(strained.get_stress()) / GPa


def elastic_constants(crystal: Atoms) -> tuple[float, float, float]:
    """C11, C12 and C44 in GPa, from stresses of small strains; no atom moves, by symmetry."""
    along, shear = np.zeros((3, 3)), np.zeros((3, 3))
    along[0, 0] = STRAIN
    shear[1, 2] = shear[2, 1] = STRAIN / 2
    slopes = [
        (stress(crystal, strain) - stress(crystal, -strain)) / (2 * STRAIN)
        for strain in (along, shear)
    ]
    return float(slopes[0][0]), float(slopes[0][1]), float(slopes[1][3])


def draw(metal: str, curve: Curve, file: Path) -> None:
    """Draw the equation of state."""
    figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    axes.plot(curve.volumes, 1000 * (curve.energies - curve.energies.min()), "o-")
    axes.set(xlabel="volume (Å³/atom)", ylabel="energy (meV/atom)")
    axes.set_title(f"{metal}: a = {curve.constant:.3f} Å, B = {curve.modulus:.0f} GPa", fontsize=10)
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--metal", default="Cu", show_default=True, help="An fcc metal.")
@click.option("--points", default=13, show_default=True, help="Volumes.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "elastic.png")
def main(model: str, metal: str, points: int, output: Path) -> None:
    """Print lattice constant, bulk modulus and elastic constants; draw the energies."""
    calculator = UMACalculator(model, task="omat", dtype="float64")
    crystal = bulk(metal, cubic=True)
    crystal.calc = calculator
    curve = equation_of_state(crystal, points)
    crystal = bulk(metal, a=curve.constant, cubic=True)
    crystal.calc = calculator
    c11, c12, c44 = elastic_constants(crystal)
    print(f"lattice constant  {curve.constant:.3f} A")
    print(f"bulk modulus      {curve.modulus:.0f} GPa")
    print(f"C11, C12, C44     {c11:.0f}, {c12:.0f}, {c44:.0f} GPa")
    print(f"(C11 + 2 C12)/3   {(c11 + 2 * c12) / 3:.0f} GPa")
    draw(metal, curve, output)


if __name__ == "__main__":
    main()
