# SPDX-License-Identifier: MIT
"""Make the first training data: MD with the teachers, and classical liquid water labelled by them.

Usage: ``python generate.py FAMILY [FAMILY ...] --output FOLDER [--draw N]``

The structures are appended to ``FOLDER/FAMILY.npz``. Every draw of a family has its own random
numbers. Families may run side by side; draws of one family only with folders of their own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed
from ase.md.langevin import Langevin
from dataset import Labelled, add
from liquid import liquid_water
from systems import (
    ALLOYS,
    METALS,
    ORGANICS,
    cluster,
    crystal,
    cubic_ice,
    in_water,
    ion,
    random_numbers,
    rotated,
    slab,
    with_state,
)
from teachers import labelled, teacher

DRAW = 2  # the held-out runs of the first were looked at during training
Frames = Iterator[tuple[int, Atoms]]
Generator = np.random.Generator
Kind = TypeVar("Kind")


def sampled(
    atoms: Atoms, task: str, temperature: float, frames: int, every: int, rng: Generator
) -> Iterator[Atoms]:
    """Frames of Langevin MD with the teacher, which ends where the teacher fails."""
    atoms = atoms.copy()
    atoms.calc = teacher(atoms, task)
    spread = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * spread[:, None])
    step = 0.5 if task == "omol" else 2.0
    dynamics = Langevin(
        atoms, step * units.fs, temperature_K=temperature, friction=0.02 / units.fs, rng=rng
    )
    for _ in range(frames):
        try:
            dynamics.run(every)
        except (CalculationFailed, RuntimeError):
            return
        yield atoms.copy()


def kind(kinds: Sequence[Kind], run: int) -> Kind:
    """What a run is about, in turn, such that the held-out runs are about everything, too."""
    return kinds[(run + run // 10) % len(kinds)]


def water_molecules(rng: Generator) -> Frames:
    """Single distorted water molecules."""
    for run in range(120):
        atoms = with_state(molecule("H2O"))
        for frame in sampled(atoms, "omol", rng.uniform(500, 4000), 4, 20, rng):
            yield run, frame


def water_clusters(rng: Generator) -> Frames:
    """Clusters of 2 to 12 molecules, relaxing from random places."""
    for run in range(90):
        atoms = cluster(None, int(rng.integers(2, 13)), rng)
        for frame in sampled(atoms, "omol", rng.uniform(200, 500), 10, 25, rng):
            yield run, frame


def droplets(rng: Generator) -> Frames:
    """Droplets of 16 to 28 molecules."""
    for run in range(30):
        atoms = cluster(None, int(rng.integers(16, 29)), rng)
        for frame in sampled(atoms, "omol", rng.uniform(250, 450), 7, 30, rng):
            yield run, frame


def settled_droplets(rng: Generator) -> Frames:
    """Droplets of 8 to 22 molecules over 1 ps, in which their hydrogen bonds find partners."""
    for run in range(10):
        atoms = cluster(None, int(rng.integers(8, 23)), rng)
        for frame in sampled(atoms, "omol", rng.uniform(270, 350), 25, 80, rng):
            yield run, frame


def liquid(rng: Generator) -> Frames:
    """Periodic liquid water: 250 to 450 K, 0.9 to 1.1 g/cm3."""
    for run in range(70):
        size = 32 if run % 10 == 7 and run < 40 else 16
        density, temperature = rng.uniform(0.9, 1.1), rng.uniform(250, 450)
        for frame in liquid_water(size, density, temperature, 3, rng):
            yield run, frame


def stretched(rng: Generator) -> Frames:
    """Periodic water below the liquid's density."""
    for run in range(10):
        density, temperature = rng.uniform(0.5, 0.9), rng.uniform(250, 400)
        for frame in liquid_water(16, density, temperature, 2, rng):
            yield run, frame


def ice(rng: Generator) -> Frames:
    """Cubic ice, strained and rattled."""
    for run in range(30):
        atoms = cubic_ice(rng)
        strain = np.eye(3) * rng.uniform(0.97, 1.05) + rng.normal(scale=0.01, size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += rng.normal(scale=rng.choice([0.02, 0.06]), size=atoms.positions.shape)
        yield run, atoms


def organics(rng: Generator) -> Frames:
    """Small organic molecules, from room temperature to far from equilibrium."""
    for run, name in enumerate(name for name in ORGANICS for _ in range(16)):
        atoms = with_state(molecule(name))
        for frame in sampled(atoms, "omol", rng.uniform(300, 2500), 6, 20, rng):
            yield run, frame


def solvated(rng: Generator) -> Frames:
    """Small organic molecules among a few water molecules."""
    for run in range(6 * len(ORGANICS)):
        atoms = in_water(kind(ORGANICS, run), rng)
        for frame in sampled(atoms, "omol", rng.uniform(250, 500), 6, 25, rng):
            yield run, frame


def ions(rng: Generator) -> Frames:
    """Hydroxide and hydronium, alone."""
    for run in range(80):
        for frame in sampled(ion(kind((-1, 1), run)), "omol", rng.uniform(300, 3000), 6, 20, rng):
            yield run, frame


def hydrated_ions(rng: Generator) -> Frames:
    """Hydroxide and hydronium among 1 to 16 water molecules."""
    for run in range(90):
        size = int(rng.integers(1, 9)) if run % 3 else int(rng.integers(9, 17))
        atoms = cluster(ion(kind((-1, 1), run)), size, rng)
        for frame in sampled(atoms, "omol", rng.uniform(200, 450), 9, 30, rng):
            yield run, frame


def open_shells(rng: Generator) -> Frames:
    """Methylene and oxygen, singlet and triplet."""
    names = ("CH2_s1A1d", "CH2_s3B1d", "O2")
    for run in range(240):
        atoms = with_state(rotated(molecule(names[run % 3]), rng), 0, (1, 3)[(run // 3) % 2])
        for frame in sampled(atoms, "omol", rng.uniform(300, 2500), 4, 20, rng):
            yield run, frame


def metals(rng: Generator) -> Frames:
    """Crystals of metals: strained, with vacancies, solid to molten."""
    for run in range(320):
        atoms = crystal((kind(METALS, run),), rng)
        yield run, atoms
        for frame in sampled(atoms, "omat", rng.choice([300, 900, 1500, 3000]), 3, 60, rng):
            yield run, frame


def alloys(rng: Generator) -> Frames:
    """Crystals of random alloys."""
    for run in range(300):
        atoms = crystal(kind(ALLOYS, run), rng)
        yield run, atoms
        for frame in sampled(atoms, "omat", rng.choice([300, 900, 2000]), 2, 60, rng):
            yield run, frame


def slabs(rng: Generator) -> Frames:
    """Slabs of metals with adsorbates."""
    for run in range(600):
        atoms = slab(kind(METALS, run), rng)
        yield run, atoms
        for frame in sampled(atoms, "oc20", rng.uniform(300, 1000), 2, 40, rng):
            yield run, frame


FAMILIES: dict[str, tuple[str, Callable[[Generator], Frames]]] = {
    "water molecules": ("omol", water_molecules),
    "water clusters": ("omol", water_clusters),
    "water droplets": ("omol", droplets),
    "settled droplets": ("omol", settled_droplets),
    "liquid water": ("omol", liquid),
    "stretched water": ("omol", stretched),
    "ice": ("omol", ice),
    "organic molecules": ("omol", organics),
    "solvated molecules": ("omol", solvated),
    "ions": ("omol", ions),
    "hydrated ions": ("omol", hydrated_ions),
    "open shells": ("omol", open_shells),
    "metals": ("omat", metals),
    "alloys": ("omat", alloys),
    "slabs": ("oc20", slabs),
}


def generate(family: str, draw: int) -> Iterator[Labelled]:
    """All labelled structures of a family."""
    task, frames = FAMILIES[family]
    first = 100_000 * (draw - DRAW)
    structures = frames(random_numbers(family, draw))
    return labelled((task, family, first + run, atoms) for run, atoms in structures)


def main() -> None:
    """Generate the families that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("families", nargs="+", choices=[*FAMILIES, "all"])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--draw", type=int, default=DRAW, help="others give more structures")
    options = parser.parse_args()
    for family in FAMILIES if "all" in options.families else options.families:
        data = list(generate(family, options.draw))
        add(options.output, data)
        print(f"{family}: {len(data)} structures", flush=True)


if __name__ == "__main__":
    main()
