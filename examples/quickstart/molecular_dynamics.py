# SPDX-License-Identifier: MIT
"""Molecular dynamics of a molecule at 400 K, task omol."""

import click
import numpy as np
from ase import units
from ase.build import molecule
from ase.md.langevin import Langevin

from uma_md import UMACalculator


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--name", default="CH3CH2OH", show_default=True, help="A molecule that ASE knows.")
@click.option("--steps", default=1000, show_default=True, help="Time steps of 0.5 fs.")
def main(model: str, name: str, steps: int) -> None:
    """Run a molecule with a Langevin thermostat and print averages."""
    atoms = molecule(name)
    atoms.info.update(charge=0, spin=1)
    atoms.calc = UMACalculator(model, task="omol")
    rng = np.random.default_rng(1)
    dynamics = Langevin(
        atoms,
        0.5 * units.fs,
        temperature_K=400,
        friction=0.01 / units.fs,
        fixcm=False,
        rng=rng,
    )
    temperatures, energies = [], []
    for _ in dynamics.irun(steps):
        temperatures.append(atoms.get_temperature())
        energies.append(atoms.get_potential_energy())
    half = len(energies) // 2
    print(f"time                  {steps * 0.5 / 1000:.3f} ps")
    print(f"temperature           {np.mean(temperatures[half:]):.0f} K, the second half's mean")
    print(f"potential energy      {np.mean(energies[half:]):.3f} eV, likewise")


if __name__ == "__main__":
    main()
