# SPDX-License-Identifier: MIT
"""Structure files: of formats that are data, and not larger than a structure needs."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms
from ase.io import read
from ase.io.formats import UnknownFileTypeError, filetype

MOST_BYTES = 1 << 30

# ASE reads many more; these are plain tables, without XML, pickles or databases.
FORMATS = (
    "aims",
    "cfg",
    "cif",
    "extxyz",
    "gen",
    "gromacs",
    "lammps-data",
    "proteindatabank",
    "sdf",
    "traj",
    "turbomole",
    "vasp",
    "xsf",
    "xyz",
)


def read_structure(path: str | Path) -> Atoms:
    """Read the last structure of a file.

    Raises
    ------
    ValueError
        When the file is too large, of another format, or cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(
            f"a structure file must have at most {MOST_BYTES / 1e9:.1f} GB, {path} has "
            f"{size / 1e9:.1f} GB: keep one structure of it"
        )
    try:
        form = filetype(str(path), guess=True)
        if form not in FORMATS:
            raise ValueError(f"a format that uma-md does not read ({form})")
        atoms = read(path, index=-1, format=form)
    except (UnknownFileTypeError, ValueError, KeyError, IndexError, AttributeError, TypeError) as e:
        raise ValueError(
            f"{path} must be a structure file of one of the formats {', '.join(FORMATS)}, found "
            f"{str(e)[:200] or 'another one'}"
        ) from e
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise ValueError(f"{path} must hold a structure, found no atoms in it")
    return atoms
