# SPDX-License-Identifier: MIT
"""Draw structures without MD, for learning only: each costs one label, so there can be many.

Usage: ``python scatter.py KIND [KIND ...] --data FOLDER --output FOLDER [--seed N]``

``rattled`` moves the atoms of learned structures at random, on several scales; ``moved`` does so
with whole molecules; ``open shells`` draws the inner coordinates of CH2 and O2 evenly; ``slabs``
puts adsorbates, whole or apart, near surfaces; ``solvated molecules`` packs water about molecules.
None of them is held out: held-out trajectories are those of ``generate.py`` and ``explore.py``. The
structures are appended to ``FOLDER/FAMILY.npz`` of ``--output``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from dataset import Labelled, add, is_held_out, load_folder
from systems import (
    METALS,
    ORGANICS,
    graph_of,
    in_water,
    molecules,
    random_numbers,
    rotated,
    slab,
    with_state,
)
from teachers import labelled

# Copies of each learned structure: with atoms moved, and the most atoms that one may have; with
# molecules moved whole.
COPIES = {
    "organic molecules": (2, 20), "solvated molecules": (3, 20), "hydrated ions": (2, 40),
    "ions": (1, 10), "water clusters": (1, 40), "water droplets": (2, 100),
    "settled droplets": (1, 70), "liquid water": (1, 50), "alloys": (1, 40), "slabs": (1, 20),
}  # fmt: skip
MOVED = {
    "water droplets": 6, "settled droplets": 6, "water clusters": 2, "hydrated ions": 1,
}  # fmt: skip
SCALES = (0.02, 0.05, 0.1)  # angstrom
STATES = (1, 3)  # spin multiplicities
Drawn = Iterator[tuple[str, str, Atoms]]  # task, family, structure
Generator = np.random.Generator


def rattle(atoms: Atoms, rng: Generator) -> None:
    """Move the atoms at random."""
    atoms.positions += rng.normal(scale=rng.choice(SCALES), size=atoms.positions.shape)


def rattled(data: list[Labelled], rng: Generator) -> Drawn:
    """Learned structures, their atoms moved at random."""
    for item in data:
        copies, most = COPIES.get(item.family, (0, 0))
        if is_held_out(item) or len(item.atoms) > most:
            continue
        for _ in range(copies):
            atoms = item.atoms.copy()
            rattle(atoms, rng)
            yield item.task, item.family, atoms


def moved(data: list[Labelled], rng: Generator) -> Drawn:
    """Learned water in the gas phase, its molecules moved and rotated whole, nearer or farther."""
    for item in data:
        copies = MOVED.get(item.family, 0)
        if is_held_out(item) or copies == 0:
            continue
        whole = _members(molecules(graph_of(item.atoms, 2.5)))
        for _ in range(copies):
            atoms = item.atoms.copy()
            scale = rng.uniform(0.94, 1.08)
            width = rng.choice(SCALES)
            for members in whole:
                part = rotated(atoms[members], rng, rng.normal(scale=60 * width))
                center = atoms.positions[members].mean(axis=0) * scale
                atoms.positions[members] = part.positions + center + rng.normal(scale=width, size=3)
            yield item.task, item.family, atoms


def _members(molecules: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(molecules == k) for k in range(molecules.max() + 1)]


def open_shells(data: list[Labelled], rng: Generator) -> Drawn:
    """CH2 and O2 over all bond lengths and angles that MD can reach."""
    for run in range(8000):
        if run % 5 == 0:
            atoms = Atoms("O2", [(0, 0, 0), (0, 0, rng.uniform(0.95, 2.6))])
        else:
            one, other = rng.uniform(0.85, rng.choice((1.6, 2.4)), 2)
            angle = np.arccos(rng.uniform(-1, 0.85))
            end = (other * np.sin(angle), 0, other * np.cos(angle))
            atoms = Atoms("CH2", [(0, 0, 0), (0, 0, one), end])
        yield "omol", "open shells", with_state(rotated(atoms, rng), 0, STATES[run % 2])


def slabs(data: list[Labelled], rng: Generator) -> Drawn:
    """Slabs with adsorbates, a third of the CO stretched or apart."""
    for run in range(6000):
        atoms = slab(METALS[run % 4], rng)
        if 6 in atoms.numbers and rng.random() < 0.35:
            direction = rng.normal(size=3)
            bond = direction / np.linalg.norm(direction) * rng.uniform(1.0, 3.2)
            atoms.positions[atoms.numbers == 8] = atoms.positions[atoms.numbers == 6] + bond
        if rng.random() < 0.5:
            rattle(atoms, rng)
        yield "oc20", "slabs", atoms


def solvated(data: list[Labelled], rng: Generator) -> Drawn:
    """Small organic molecules among 1 to 4 water molecules, as packed."""
    for run in range(12000):
        atoms = in_water(ORGANICS[run % len(ORGANICS)], rng)
        rattle(atoms, rng)
        yield "omol", "solvated molecules", atoms


KINDS: dict[str, Callable[[list[Labelled], Generator], Drawn]] = {
    "rattled": rattled,
    "moved": moved,
    "open shells": open_shells,
    "slabs": slabs,
    "solvated molecules": solvated,
}


def scatter(kind: str, data: list[Labelled], seed: int) -> Iterator[Labelled]:
    """All labelled structures of a kind; trajectories are multiples of ten, which are learned."""
    structures = KINDS[kind](data, random_numbers(kind, seed))
    return labelled(
        (task, family, 10 * (1_000_000 + run), atoms)
        for run, (task, family, atoms) in enumerate(structures)
    )


def main() -> None:
    """Draw the kinds that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--data", type=Path, required=True, help="folder of learned structures")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    data = load_folder(options.data)
    for kind in options.kinds:
        found = list(scatter(kind, data, options.seed))
        add(options.output, found)
        print(f"{kind}: {len(found)} structures", flush=True)


if __name__ == "__main__":
    main()
