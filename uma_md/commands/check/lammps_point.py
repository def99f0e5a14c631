# SPDX-License-Identifier: MIT
"""One point of a folder in LAMMPS: what its own scripts and data file give."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uma_md.commands.launch import LaunchError, run_lammps
from uma_md.commands.setup.lammps_files import SYSTEM

BAR = 1.6021765e6  # of LAMMPS, per eV/angstrom^3 in units metal

_POINT = """
compute virial all pressure NULL virial
thermo_style custom step pe c_virial[*]
thermo_modify format float %.17g
run 0
variable energy equal pe
print "$(v_energy:%.17g) $(vol:%.17g)" file {folder}/energy
print "$(c_virial[1]:%.17g) $(c_virial[2]:%.17g) $(c_virial[3]:%.17g) &
$(c_virial[4]:%.17g) $(c_virial[5]:%.17g) $(c_virial[6]:%.17g)" file {folder}/virial
write_dump all custom {folder}/atoms id type mass fx fy fz modify format float %.17g sort id
"""


class Point(NamedTuple):
    """What LAMMPS gives for the atoms of a folder, in their order.

    Attributes
    ----------
    symbols
        As ``pair_coeff`` names the atom types.
    masses : (atoms,), u
    energy
        eV.
    forces : (atoms, 3), eV/angstrom
    virial : (3, 3), eV
    """

    symbols: list[str]
    masses: np.ndarray
    energy: float
    forces: np.ndarray
    virial: np.ndarray


def compute_point(folder: Path, ranks: int) -> Point:
    """Evaluate the atoms of a folder on some ranks, by its own ``in.system``.

    Raises
    ------
    LaunchError
        When LAMMPS does not come to an energy.
    """
    names = element_names(folder / SYSTEM)
    with tempfile.TemporaryDirectory() as scratch:
        script = f"include {SYSTEM}\n" + _POINT.format(folder=scratch)
        run_lammps(script, folder, ranks)
        energy, volume = np.loadtxt(Path(scratch) / "energy")
        xx, yy, zz, xy, xz, yz = np.loadtxt(Path(scratch) / "virial")
        rows = np.loadtxt(Path(scratch) / "atoms", skiprows=9, ndmin=2)
    pressure = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) / BAR
    types = rows[:, 1].astype(int)
    if types.max() > len(names):
        raise LaunchError(f"pair_coeff must name {types.max()} elements, found {len(names)}")
    symbols = [names[kind - 1] for kind in types]
    return Point(symbols, rows[:, 2], float(energy), rows[:, 3:6], pressure * volume)


def element_names(script: Path) -> list[str]:
    """The elements that a script gives to its atom types.

    Raises
    ------
    LaunchError
        When there is no line ``pair_coeff * * FILE ELEMENTS``.
    """
    text = script.read_text() if script.is_file() else ""
    found = re.search(r"^\s*pair_coeff\s+\*\s+\*\s+\S+\s+([^#\n]+)", text, re.MULTILINE)
    if found is None:
        raise LaunchError(f"{script.name} must have a line 'pair_coeff * * FILE ELEMENTS'")
    return found[1].split()
