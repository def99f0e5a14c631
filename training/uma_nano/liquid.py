# SPDX-License-Identifier: MIT
"""Liquid water by a classical force field in LAMMPS: quick starts for labelling."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.io import read
from systems import WATER_VOLUME, rotated, with_state

# Flexible SPC water, SPC/Fw: Wu, Tepper and Voth, J. Chem. Phys. 124, 024503 (2006).
SCRIPT = """
units real
atom_style full
read_data start.data
bond_style harmonic
angle_style harmonic
bond_coeff 1 529.581 1.012
angle_coeff 1 37.95 113.24
pair_style lj/cut/coul/long 7.0
pair_coeff * * 0 1
pair_coeff 1 1 0.1554253 3.165492
kspace_style ewald 1e-4
special_bonds lj/coul 0 0 0
timestep 0.5
minimize 1e-4 1e-4 500 5000
reset_timestep 0
velocity all create {temperature} {seed}
fix 1 all langevin {temperature} {temperature} 100 {seed}
fix 2 all nve
run {equilibration}
dump 1 all custom {every} frames.dump id type x y z
dump_modify 1 sort id
run {steps}
"""


def liquid_water(
    molecules: int, density: float, temperature: float, frames: int, rng: np.random.Generator
) -> list[Atoms]:
    """Frames, 1 ps apart, of a cubic box of flexible SPC water.

    Parameters
    ----------
    molecules
        Number of them.
    density
        g/cm3.
    temperature
        K.
    frames
        How many.
    rng
        Random numbers; bond lengths are scattered about those of GFN2-xTB.
    """
    box = (molecules * WATER_VOLUME / density) ** (1 / 3)
    start = _lattice(molecules, box, rng)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "start.data").write_text(_data(start, box))
        script = SCRIPT.format(
            temperature=temperature,
            seed=int(rng.integers(1, 10**6)),
            equilibration=8000,
            every=2000,
            steps=2000 * (frames - 1),
        )
        Path(folder, "in.water").write_text(script)
        command = [str(Path(sys.executable).parent / "lmp"), "-in", "in.water", "-log", "none"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=600)
        found = read(Path(folder, "frames.dump"), index=":", format="lammps-dump-text")
    return [_scattered(frame.positions, box, rng) for frame in found]


def _lattice(molecules: int, box: float, rng: np.random.Generator) -> Atoms:
    side = int(np.ceil(molecules ** (1 / 3)))
    places = np.array(list(np.ndindex(side, side, side)))
    places = (rng.permutation(places)[:molecules] + 0.5) * box / side
    atoms = Atoms()
    for place in places:
        new = rotated(molecule("H2O"), rng)
        new.positions += place
        atoms += new
    return atoms


def _data(atoms: Atoms, box: float) -> str:
    count = len(atoms) // 3
    lines = ["water", "", f"{3 * count} atoms", "2 atom types", f"{2 * count} bonds"]
    lines += ["1 bond types", f"{count} angles", "1 angle types", ""]
    lines += [f"0 {box} {axis}lo {axis}hi" for axis in "xyz"]
    lines += ["", "Masses", "", "1 15.999", "2 1.008", "", "Atoms", ""]
    for k, (atom, place) in enumerate(zip(atoms.symbols, atoms.positions, strict=True)):
        kind, charge = (1, -0.82) if atom == "O" else (2, 0.41)
        x, y, z = place
        lines.append(f"{k + 1} {k // 3 + 1} {kind} {charge} {x} {y} {z}")
    lines += ["", "Bonds", ""]
    for k in range(count):
        lines += [f"{2 * k + h} 1 {3 * k + 1} {3 * k + 1 + h}" for h in (1, 2)]
    lines += ["", "Angles", ""]
    lines += [f"{k + 1} 1 {3 * k + 2} {3 * k + 1} {3 * k + 3}" for k in range(count)]
    return "\n".join(lines) + "\n"


def _scattered(positions: np.ndarray, box: float, rng: np.random.Generator) -> Atoms:
    """The frame with bonds shortened to those of GFN2-xTB, more or less, and then rattled."""
    water = positions.reshape(-1, 3, 3)
    bonds = water[:, 1:] - water[:, :1]
    bonds -= box * np.round(bonds / box)
    bonds *= rng.normal(0.945, 0.015, size=(len(water), 2, 1))
    placed = np.concatenate((water[:, :1], water[:, :1] + bonds), axis=1).reshape(-1, 3)
    placed += rng.normal(scale=0.015, size=placed.shape)
    return with_state(Atoms("OHH" * len(water), placed, cell=[box] * 3, pbc=True))
