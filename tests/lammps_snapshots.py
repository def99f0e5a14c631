# SPDX-License-Identifier: MIT
"""Runs in LAMMPS that are looked at on the way: every snapshot must be what ASE gives for it.

A script is a list of workflows, each a block of the input that ends in ``clear``, so that one
process serves many. ``WATCH`` makes LAMMPS write what ``check`` reads.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from ase_results import Results
from lammps_runs import BAR

WATCH = """
compute watched all pressure NULL pair
thermo_style custom step atoms pe c_watched[*] vol
thermo_modify format float %.16g norm no lost error
thermo {every}
dump watched all custom {every} {name}.dump id type x y z fx fy fz
dump_modify watched sort id format float %.17g first yes
"""


def watch(name: str, every: int = 1) -> str:
    """Commands that write energy, virial and atoms every so many steps, under a name."""
    return f'\nprint "watching {name}"' + WATCH.format(name=name, every=every)


def check(
    log: str,
    folder: Path,
    name: str,
    elements: list[str],
    results: Results,
    skip: int = 0,
    only_energies: bool = False,
) -> list[Atoms]:
    """Compare all snapshots of a name with ASE, but every so many; returns them."""
    rows = thermo_of(log.split(f"watching {name}\n", 1)[1].split("watching ", 1)[0])
    frames = list(frames_of(folder / f"{name}.dump", elements))
    assert {step for step, _, _ in frames} == {step for step, _ in rows}, name
    found = []
    for step, atoms, forces in frames:
        if skip and step % skip == 0:
            continue
        natoms = len(atoms)
        where = f"{name}, step {step}, {natoms} atoms"
        assert (step, natoms) in rows, where
        expected = results(atoms)
        # Some commands set the clock back, and a step comes again.
        row = min(rows[step, natoms], key=lambda row: abs(row[0] - expected["energy"]))
        energy, *pressure, volume = row
        assert abs(energy - expected["energy"]) < 1e-8 * max(1.0, natoms / 50), where
        assert only_energies or np.abs(forces - expected["forces"]).max() < 1e-8, where
        if atoms.pbc.all():
            virial = full_3x3_to_voigt_6_stress(expected["virial"])
            ours = np.array(pressure)[[0, 1, 2, 5, 4, 3]] / BAR * volume
            assert np.abs(ours - virial).max() < 1e-6 * np.abs(virial).max() + 1e-7, where
        found.append(atoms)
    assert len(found) >= 2, f"{name}: {len(found)} snapshots"
    return found


def thermo_of(log: str) -> dict[tuple[int, int], list[list[float]]]:
    """Rows of numbers under the thermo header by step and number of atoms."""
    rows: dict[tuple[int, int], list[list[float]]] = {}
    for line in log.splitlines():
        words = line.split()
        if len(words) == 10 and re.fullmatch(r"\d+", words[0]):
            key = int(words[0]), int(words[1])
            rows.setdefault(key, []).append([float(word) for word in words[2:]])
    return rows


def frames_of(path: Path, elements: list[str]) -> Iterator[tuple[int, Atoms, np.ndarray]]:
    """Step, atoms and forces of every frame of a dump."""
    for text in path.read_text().split("ITEM: TIMESTEP\n")[1:]:
        lines = text.splitlines()
        header = next(line for line in lines if line.startswith("ITEM: BOX")).split()
        bounds = np.array([line.split() for line in lines[4:7]], dtype=float)
        table = np.loadtxt(io.StringIO("\n".join(lines[8:])), ndmin=2)
        cell, origin = _cell(bounds)
        atoms = Atoms(
            [elements[int(kind) - 1] for kind in table[:, 1]],
            table[:, 2:5] - origin,
            cell=cell,
            pbc=[word == "pp" for word in header[-3:]],
        )
        yield int(lines[0]), atoms, table[:, 5:8]


def _cell(bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cell and origin from the bounds of a dump, which enclose a tilted box."""
    low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
    xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else np.zeros(3)
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    lx, ly, lz = high - low
    return np.array([[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]]), low
