# SPDX-License-Identifier: MIT
"""The inversion of ammonia with ASE: relaxation, band of images, vibrations, task omol."""

import os
import tempfile
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.mep import NEB
from ase.optimize import FIRE, LBFGS
from ase.vibrations import Vibrations

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md import UMACalculator

HERE = Path(__file__).parent


def ammonia(calculator: UMACalculator) -> Atoms:
    """The relaxed molecule, its axis along z."""
    atoms = molecule("NH3")
    atoms.info.update(charge=0, spin=1)
    atoms.calc = calculator
    LBFGS(atoms, logfile=os.devnull).run(fmax=0.005, steps=200)
    return atoms


def band(first: Atoms, calculator: UMACalculator, images: int, steps: int) -> list[Atoms]:
    """A climbing band from the molecule to its mirror image."""
    last = first.copy()
    last.positions[:, 2] = 2 * first.positions[1:, 2].mean() - last.positions[:, 2]
    path = [first, *(first.copy() for _ in range(images)), last]
    for image in path:
        image.calc = calculator
    neb = NEB(
        path,
        climb=True,
        method="improvedtangent",
        allow_shared_calculator=True,
        remove_rotation_and_translation=True,
    )
    neb.interpolate()
    FIRE(neb, logfile=os.devnull).run(fmax=0.02, steps=steps)
    return path


def wavenumbers(atoms: Atoms, folder: Path) -> np.ndarray:
    """Vibrations, 1/cm, in ascending order; imaginary ones are negative."""
    vibrations = Vibrations(atoms, name=str(folder / "vibrations"), delta=0.01)
    vibrations.run()
    found = vibrations.get_frequencies()
    return np.sort(found.real - found.imag)


def draw(energies: np.ndarray, file: Path) -> None:
    """Draw the energies of the band's images."""
    figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    axes.plot(1000 * (energies - energies[0]), "o-")
    axes.set(xlabel="image", ylabel="energy (meV)", title="inversion of ammonia")
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--images", default=7, show_default=True, help="Between both ends.")
@click.option("--steps", default=200, show_default=True, help="Of the band's relaxation, at most.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "ammonia-inversion.png")
def main(model: str, images: int, steps: int, output: Path) -> None:
    """Print the barrier and the vibrations of both states; draw the band."""
    calculator = UMACalculator(model, task="omol", dtype="float64")
    path = band(ammonia(calculator), calculator, images, steps)
    energies = np.array([image.get_potential_energy() for image in path])
    top = path[int(energies.argmax())]
    print(f"barrier       {1000 * (energies.max() - energies[0]):.0f} meV")
    for name, atoms in (("pyramid", path[0]), ("flat", top)):
        with tempfile.TemporaryDirectory() as folder:
            numbers = wavenumbers(atoms, Path(folder))
        shown = [number for number in numbers if abs(number) > 200]
        print(f"{name:<12}  {' '.join(f'{number:.0f}' for number in shown)} 1/cm")
    draw(energies, output)


if __name__ == "__main__":
    main()
