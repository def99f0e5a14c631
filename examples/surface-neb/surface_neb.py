# SPDX-License-Identifier: MIT
"""O or CO on Cu(100): relaxed on its sites, then the barrier of diffusion (NEB), task oc20."""

import os
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, fcc100, molecule
from ase.constraints import FixAtoms
from ase.mep import NEB
from ase.optimize import FIRE, LBFGS

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md import UMACalculator

HERE = Path(__file__).parent
# Height of the atom that binds, angstrom.
SITES = {
    "O": {"ontop": 1.7, "bridge": 1.2, "hollow": 0.8},
    "CO": {"ontop": 1.85, "bridge": 1.5, "hollow": 1.2},
}


def adsorbed(name: str, site: str) -> Atoms:
    """O, or CO with carbon below, on a Cu(100) slab of three layers, the lowest one fixed."""
    slab = fcc100("Cu", (2, 2, 3), a=3.588, vacuum=8.0, periodic=True)
    slab.set_constraint(FixAtoms(mask=slab.get_tags() == 3))
    adsorbate = molecule("CO") if name == "CO" else Atoms("O")
    add_adsorbate(slab, adsorbate, SITES[name][site], site, mol_index=len(adsorbate) - 1)
    slab.rattle(0.05, seed=1)  # off the points of symmetry, where forces vanish
    return slab


def relax(atoms: Atoms, calculator: UMACalculator, fmax: float) -> float:
    """Relax and return the energy, eV."""
    atoms.calc = calculator
    LBFGS(atoms, logfile=os.devnull).run(fmax=fmax, steps=300)
    return float(atoms.get_potential_energy())


def band(
    first: Atoms, last: Atoms, calculator: UMACalculator, images: int, fmax: float
) -> np.ndarray:
    """Energies along a climbing band from one site to another, eV."""
    path = [first, *(first.copy() for _ in range(images)), last]
    for image in path:
        image.calc = calculator
    neb = NEB(path, climb=True, allow_shared_calculator=True, method="improvedtangent")
    neb.interpolate(mic=True)
    FIRE(neb, logfile=os.devnull).run(fmax=fmax, steps=200)
    return np.array([image.get_potential_energy() for image in path])


def draw(energies: np.ndarray, title: str, file: Path) -> None:
    """Draw the energies of the band's images."""
    figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    axes.plot(energies - energies[0], "o-")
    axes.set(xlabel="image", ylabel="energy (eV)", title=title)
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--adsorbate", type=click.Choice(list(SITES)), default="O", show_default=True)
@click.option("--images", default=3, show_default=True, help="Between both ends.")
@click.option("--fmax", default=0.05, show_default=True, help="Largest force, eV/angstrom.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "surface-neb.png")
def main(model: str, adsorbate: str, images: int, fmax: float, output: Path) -> None:
    """Relax on each site, find the way from the best one to the next of its kind, draw it."""
    calculator = UMACalculator(model, task="oc20")
    slabs = {site: adsorbed(adsorbate, site) for site in SITES[adsorbate]}
    relaxed = {site: relax(slab, calculator, fmax) for site, slab in slabs.items()}
    best = min(relaxed, key=lambda site: relaxed[site])
    for site, energy in relaxed.items():
        print(f"{site:<8}  {energy - relaxed[best]:.3f} eV above {best}")
    moved = slabs[best].copy()
    moved.positions[-len(adsorbate) :] += moved.cell[0] / 2  # to the next site of this kind
    relax(moved, calculator, fmax)
    energies = band(slabs[best], moved, calculator, images, fmax)
    print(f"barrier   {energies.max() - energies[0]:.3f} eV from {best} to {best}")
    draw(energies, f"{adsorbate} on Cu(100), {best} to {best}", output)


if __name__ == "__main__":
    main()
