# SPDX-License-Identifier: MIT
"""Relax CO on a copper (100) surface, task oc20."""

import os

import click
from ase import Atoms
from ase.build import add_adsorbate, fcc100, molecule
from ase.constraints import FixAtoms
from ase.optimize import LBFGS

from uma_md import UMACalculator


def adsorbed_carbon_monoxide() -> Atoms:
    """A Cu(100) slab of three layers, the lowest fixed, with CO above a bridge site."""
    slab = fcc100("Cu", (3, 3, 3), a=3.6, vacuum=8.0, periodic=True)
    slab.set_constraint(FixAtoms(mask=slab.get_tags() == 3))
    add_adsorbate(slab, molecule("CO"), 2.0, "bridge", mol_index=1)  # carbon below
    return slab


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
def main(model: str) -> None:
    """Relax CO on Cu(100) and print what it gained."""
    slab = adsorbed_carbon_monoxide()
    slab.calc = UMACalculator(model, task="oc20")
    start = slab.get_potential_energy()
    relaxation = LBFGS(slab, logfile=os.devnull)
    converged = relaxation.run(fmax=0.05, steps=200)
    print(f"converged       {converged} in {relaxation.nsteps} steps")
    print(f"energy          {slab.get_potential_energy():.3f} eV ({start:.3f} at the start)")
    print(f"C-O distance    {slab.get_distance(-1, -2):.3f} A")
    print(f"C above the top {slab.positions[-1, 2] - slab.positions[18:27, 2].mean():.3f} A")


if __name__ == "__main__":
    main()
