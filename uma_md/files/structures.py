# SPDX-License-Identifier: MIT
"""Structure files: of formats that are data, and not larger than a structure needs."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms
from ase.io import read
from ase.io.formats import filetype

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


def read_structure(path: str | Path, form: str | None = None) -> Atoms:
    """Read the last structure of a file.

    Parameters
    ----------
    path
    form
        One of ``FORMATS``; found out from the file if not given.

    Raises
    ------
    ValueError
        When the file is too large, of another format, or cannot be read.
    """
    path = Path(path)
    _check_size(path)
    try:
        form = form or filetype(str(path), guess=True)
        if form not in FORMATS:
            raise ValueError(f"a format that uma-md does not read ({form})")
        atoms = read(path, index=-1, format=form, parallel=False)  # not with other ranks of a job
    except Exception as error:  # ASE's readers raise all kinds
        raise ValueError(
            f"{path} must be a structure file of one of the formats {', '.join(FORMATS)}, found "
            f"{str(error)[:200] or 'another one'}"
        ) from error
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise ValueError(f"{path} must hold a structure, found no atoms in it")
    return atoms


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(
            f"a structure must be a readable file, found {path}: {error.strerror or error}"
        ) from None
    if size > MOST_BYTES:
        raise ValueError(
            f"a structure file must have at most {MOST_BYTES / 1e9:.1f} GB, {path} has "
            f"{size / 1e9:.1f} GB: keep one structure of it"
        )
