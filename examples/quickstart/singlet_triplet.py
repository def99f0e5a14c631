# SPDX-License-Identifier: MIT
"""The energy between singlet and triplet methylene, task omol with a spin multiplicity."""

import os

import click
from ase.build import molecule
from ase.optimize import LBFGS

from uma_md import UMACalculator


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
def main(model: str) -> None:
    """Relax both states of CH2 and print their energies."""
    calculator = UMACalculator(model, task="omol")
    energies = {}
    for state, name, spin in (("singlet", "CH2_s1A1d", 1), ("triplet", "CH2_s3B1d", 3)):
        atoms = molecule(name)
        atoms.info.update(charge=0, spin=spin)
        atoms.calc = calculator
        LBFGS(atoms, logfile=os.devnull).run(fmax=0.01, steps=200)
        energies[state] = atoms.get_potential_energy()
        print(f"{state}  {energies[state]:.4f} eV, angle {atoms.get_angle(1, 0, 2):.1f} degrees")
    print(f"gap      {energies['singlet'] - energies['triplet']:.4f} eV")


if __name__ == "__main__":
    main()
