# SPDX-License-Identifier: MIT
"""A proton that hops between water molecules of a droplet, in LAMMPS with a total charge."""

import tempfile
from itertools import pairwise
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.io import iread, read, write

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md.commands.launch import run_long
from uma_md.export import export

HERE = Path(__file__).resolve().parent
START = HERE.parent / "water" / "start.xyz"
MOLECULES = 21


def droplet() -> Atoms:
    """The molecules nearest to one another in liquid water, one of them with a third proton."""
    liquid = read(START)
    assert isinstance(liquid, Atoms)
    oxygens = [atom.index for atom in liquid if atom.symbol == "O"]
    center = oxygens[0]
    near = sorted(oxygens, key=lambda k: liquid.get_distance(center, k, mic=True))[:MOLECULES]
    atoms = Atoms()
    for k in near:
        place = liquid.get_distance(center, k, mic=True, vector=True)
        bonds = liquid.get_distances(k, [k + 1, k + 2], mic=True, vector=True)
        atoms += Atoms("OHH", [place, *(place + bonds)])
    away = -(atoms.positions[1] + atoms.positions[2])  # on the free side of the first molecule
    atoms += Atoms("H", [atoms.positions[0] + away / np.linalg.norm(away)])
    atoms.set_cell(3 * [60.0])
    atoms.center()
    return atoms


def simulate(model: str, ranks: int, steps: int, folder: Path) -> list[np.ndarray]:
    """Run the droplet; returns positions every 10 steps, with the atoms in their order."""
    atoms = droplet()
    export(model, folder / "droplet.pt", "omol", charge=1, spin=1)
    write(folder / "droplet.data", atoms, format="lammps-data", specorder=["H", "O"], masses=True)
    run_long(HERE / "in.droplet", folder, ranks, {"steps": steps}, steps)
    return [frame.positions for frame in iread(folder / "droplet.dump", format="lammps-dump-text")]


def carriers(frames: list[np.ndarray], symbols: list[str]) -> list[int]:
    """The molecule with three protons in each frame, by the number of its oxygen.

    Each proton belongs to the oxygen next to it.
    """
    oxygens = np.array([k for k, symbol in enumerate(symbols) if symbol == "O"])
    hydrogens = np.array([k for k, symbol in enumerate(symbols) if symbol == "H"])
    found = []
    for positions in frames:
        apart = np.linalg.norm(positions[hydrogens, None] - positions[None, oxygens], axis=2)
        protons = np.bincount(apart.argmin(axis=1), minlength=len(oxygens))
        found.append(int(protons.argmax()))
    return found


def draw(found: list[int], file: Path) -> None:
    """Draw which molecule has the proton over time."""
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    axes.step(0.005 * np.arange(len(found)), found, where="post")
    axes.set(xlabel="time (ps)", ylabel="molecule with three protons", ylim=(-1, MOLECULES))
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--ranks", default=2, show_default=True, help="MPI ranks.")
@click.option("--steps", default=2000, show_default=True, help="Of 0.5 fs.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "proton-hopping.png")
def main(model: str, ranks: int, steps: int, output: Path) -> None:
    """Run, count hops and draw who has the proton."""
    symbols = list(droplet().symbols)
    with tempfile.TemporaryDirectory() as folder:
        frames = simulate(model, ranks, steps, Path(folder))
    found = carriers(frames, symbols)
    hops = sum(one != other for one, other in pairwise(found))
    print(f"{len(found)} frames, {hops} hops, {len(set(found))} molecules had the proton")
    draw(found, output)


if __name__ == "__main__":
    main()
