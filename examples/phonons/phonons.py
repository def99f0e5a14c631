# SPDX-License-Identifier: MIT
"""Phonons of a metal by finite displacements, task omat."""

import tempfile
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from ase.build import bulk
from ase.dft.kpoints import BandPath
from ase.phonons import Phonons

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md import UMACalculator

HERE = Path(__file__).parent
TERAHERTZ = 241.798926  # in an eV


def force_constants(
    metal: str, constant: float, calculator: UMACalculator, repeats: int, folder: Path
) -> Phonons:
    """Phonons from central differences of forces in a supercell of the primitive cell."""
    crystal = bulk(metal, a=constant)
    name = str(folder / "phonons")
    phonons = Phonons(crystal, calculator, supercell=3 * (repeats,), delta=0.02, name=name)
    phonons.run()
    phonons.read(acoustic=True)
    return phonons


def draw(path: BandPath, bands: np.ndarray, metal: str, file: Path) -> None:
    """Draw frequencies along a path through the Brillouin zone."""
    figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    places, ticks, labels = path.get_linear_kpoint_axis()
    axes.plot(places, bands, color="C0")
    axes.set_xticks(ticks, ["Γ" if label == "G" else label for label in labels])
    for tick in ticks:
        axes.axvline(tick, color="gray", lw=0.5)
    axes.set(ylabel="frequency (THz)", title=metal, xlim=(places[0], places[-1]))
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--metal", default="Cu", show_default=True, help="An fcc metal.")
@click.option("--constant", default=3.588, show_default=True, help="Lattice constant, angstrom.")
@click.option("--repeats", default=5, show_default=True, help="Primitive cells along each edge.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "phonons.png")
def main(model: str, metal: str, constant: float, repeats: int, output: Path) -> None:
    """Draw the phonon bands and print frequencies at X."""
    calculator = UMACalculator(model, task="omat", dtype="float64")
    with tempfile.TemporaryDirectory() as folder:
        phonons = force_constants(metal, constant, calculator, repeats, Path(folder))
        path = bulk(metal, a=constant).cell.bandpath("GXKGL", npoints=120)
        bands = TERAHERTZ * phonons.band_structure(path.kpts)
        at_x = TERAHERTZ * phonons.band_structure(np.array([[0.5, 0.0, 0.5]]))[0]
    print(f"at X      {' '.join(f'{frequency:.2f}' for frequency in at_x)} THz")
    print(f"lowest    {bands.min():.3f} THz (below 0: unstable)")
    draw(path, bands, metal, output)


if __name__ == "__main__":
    main()
