# SPDX-License-Identifier: MIT
"""Relax a bulk metal with its cell, task omat."""

import os

import click
import numpy as np
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS
from ase.units import GPa

from uma_md import UMACalculator


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--metal", default="Cu", show_default=True, help="A metal that the model knows.")
def main(model: str, metal: str) -> None:
    """Relax an fcc metal from a strained, rattled start."""
    crystal = bulk(metal, "fcc", a=3.8, cubic=True)
    crystal.set_cell(crystal.cell.array @ np.diag([1.02, 1.0, 0.98]), scale_atoms=True)
    crystal.rattle(0.05, seed=1)
    crystal.calc = UMACalculator(model, task="omat")
    relaxation = LBFGS(FrechetCellFilter(crystal), logfile=os.devnull)  # type: ignore[arg-type]
    converged = relaxation.run(fmax=0.01, steps=300)
    lengths = " ".join(f"{length:.3f}" for length in crystal.cell.lengths())
    print(f"converged {converged} in {relaxation.nsteps} steps")
    print(f"cell      {lengths} A")
    print(f"energy    {crystal.get_potential_energy() / len(crystal):.4f} eV/atom")
    print(f"stress    {abs(crystal.get_stress()).max() / GPa:.3f} GPa at most")


if __name__ == "__main__":
    main()
