# SPDX-License-Identifier: MIT
"""Many molecules in one call: which isomers are the most stable, task omol."""

import time
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.collections import g2

import uma_md

mpl.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).resolve().parent


def closed_shells() -> dict[str, Atoms]:
    """Molecules of ASE's G2 set with H, C, N and O alone and no unpaired electrons."""
    found = {name: molecule(name) for name in g2.names}
    return {
        name: atoms
        for name, atoms in found.items()
        if len(atoms) > 1
        and set(atoms.symbols) <= set("HCNO")
        and not atoms.get_initial_magnetic_moments().any()
    }


def isomers(molecules: dict[str, Atoms], energies: np.ndarray) -> dict[str, dict[str, float]]:
    """Energies of molecules with one formula less that of the lowest, eV, by formula."""
    groups: dict[str, dict[str, float]] = {}
    for (name, atoms), energy in zip(molecules.items(), energies, strict=True):
        groups.setdefault(atoms.get_chemical_formula(), {})[name] = energy
    return {
        formula: {name: energy - min(group.values()) for name, energy in group.items()}
        for formula, group in groups.items()
        if len(group) > 1
    }


def draw(groups: dict[str, dict[str, float]], file: Path) -> None:
    """Draw the isomers of each formula as levels."""
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for place, group in enumerate(groups.values()):
        for energy in group.values():
            axes.hlines(energy, place - 0.35, place + 0.35, lw=2)
    axes.set_xticks(range(len(groups)), list(groups), fontsize=8)
    axes.set_ylabel("energy above the lowest (eV)")
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--copies", default=10, show_default=True, help="Of each molecule, slightly moved.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "screening.png")
def main(model: str, copies: int, output: Path) -> None:
    """Predict all molecules and moved copies in one call, print isomers and draw them."""
    molecules = closed_shells()
    structures = list(molecules.values())
    for seed in range(copies):
        for atoms in molecules.values():
            structures.append(atoms.copy())
            structures[-1].rattle(0.02, seed=seed)
    start = time.perf_counter()
    found = uma_md.predict(model, structures, task="omol")
    seconds = time.perf_counter() - start
    print(f"{len(structures)} structures in {seconds:.1f} s")
    groups = isomers(molecules, np.array([one.energy for one in found[: len(molecules)]]))
    for formula, group in groups.items():
        levels = (f"{name} {energy:.2f}" for name, energy in sorted(group.items(), key=_energy))
        print(f"{formula:<8}{', '.join(levels)} eV")
    draw(groups, output)


def _energy(level: tuple[str, float]) -> float:
    return level[1]


if __name__ == "__main__":
    main()
