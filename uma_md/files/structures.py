# SPDX-License-Identifier: MIT
"""Structure files: of formats that are data, and not larger than a structure needs."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import iread
from ase.io.formats import filetype

from uma_md.files.databases import iterate_database
from uma_md.files.whole_file import kind_of

MOST_BYTES = 1 << 30

BINARY = ("db", "traj")  # of FORMATS
TEXT_LOOKED_AT = 1 << 16  # bytes

# ASE reads many more; these are plain tables, without XML, pickles or scripts.
FORMATS = (
    "aims",
    "cfg",
    "cif",
    "db",
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
    path = _existing(path)
    form = form or _format_of(path)
    atoms = None
    try:
        for found in _structures_of(path, form, -1):
            atoms = found
    except Exception as error:  # ASE's readers raise all kinds
        raise _unreadable(path, form, error) from error
    return _with_atoms(atoms, path)


def read_structures(path: str | Path, form: str | None = None) -> Iterator[Atoms]:
    """Read all structures of a file, one after another.

    Parameters
    ----------
    path, form
        As for ``read_structure``.

    Raises
    ------
    ValueError
        As ``read_structure`` says, with the number of the structure where it is not the first.
    """
    path = _existing(path)
    form = form or _format_of(path)
    found, number = _structures_of(path, form, ":"), 0
    while True:
        try:
            atoms = next(found, None)
        except Exception as error:
            reason = str(_unreadable(path, form, error))
            where = f"structure {number}: " if number else ""
            raise ValueError(where + reason) from error
        if atoms is None:
            break
        number += 1
        yield atoms
    if number == 0:
        raise _empty(path)


def _structures_of(path: Path, form: str, index: int | str) -> Iterator[Any]:
    """What ASE reads from a file, not together with other ranks of a job."""
    if form == "db":
        return iterate_database(path)
    return iread(path, index=index, format=form, parallel=False)


def _with_atoms(atoms: Any, path: Path) -> Atoms:
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise _empty(path)
    return atoms


def _empty(path: Path) -> ValueError:
    return ValueError(f"{path} must hold a structure, found no atoms in it")


def _unreadable(path: Path, form: str, error: Exception) -> ValueError:
    found = _reason(error)
    if form not in BINARY and _has_control_characters(path):
        found = "bytes that are not text"
    return ValueError(f"{path} must be a whole file of format {form}, found {found}")


def _has_control_characters(path: Path) -> bool:
    """Whether a file begins with what is no text in any encoding that readers take."""
    with path.open("rb") as file:
        start = file.read(TEXT_LOOKED_AT)
    return any(byte < 32 and byte not in b"\t\n\f\r" for byte in start)


def _format_of(path: Path) -> str:
    """The format that a file's name and first lines tell, one of ``FORMATS``."""
    try:
        form = filetype(str(path), guess=True)
    except Exception as error:
        found = _reason(error)
    else:
        if form in FORMATS:
            return str(form)
        found = f"a format that uma-md does not read ({form})"
    raise ValueError(
        f"{path} must be a structure file of one of the formats {', '.join(FORMATS)}, found {found}"
    )


# What readers say where they meet it, in the words of Python and NumPy.
_SAYINGS = (
    (r"inhomogeneous shape|not enough values to unpack|expected \w+ of \d+", "{short}"),
    (r"cannot reshape array|could not broadcast|shape mismatch|wrong shape", "{short}"),
    (r"could not convert string to float: (.+)", "{0} where a number must be"),
    (r"invalid literal for int\(\) with base 10: (.+)", "{0} where a whole number must be"),
    (r"too many values to unpack", "a line that has too many words"),
    (r"Singular matrix", "cell vectors that lie in one plane or are zero"),
    (r"StopIteration", "{short}"),
)
_SHORT = "that it ends early or lacks lines or numbers"


def _reason(error: Exception) -> str:
    """What a reader found, as the end of a sentence; readers seldom say it."""
    text = " ".join(str(error).split())[:200]
    if isinstance(error, KeyError) and " " not in text:
        heavy = ": deuterium and tritium are H with a mass of its own"
        return f"{text}, which is unknown" + (heavy if text in ("'D'", "'T'") else "")
    if isinstance(error, UnicodeDecodeError):
        return "bytes that are not text"
    if isinstance(error, (StopIteration, EOFError, IndexError)):
        return _SHORT
    for pattern, saying in _SAYINGS:
        if found := re.search(pattern, text):
            return saying.format(*found.groups(), short=_SHORT)
    if not text or isinstance(error, (NameError, AttributeError, TypeError, AssertionError)):
        name = type(error).__name__
        return f"lines that are not as its reader has them ({f'{name} {text}'.strip()})"
    return f"an error in it: {text}"


def _existing(path: str | Path) -> Path:
    """The path of a file that is not too large."""
    if not str(path).strip():
        raise ValueError("a structure must be a readable file, found an empty name: give one")
    path = Path(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"a structure must be a readable file, found {path}: "
            f"{getattr(error, 'strerror', None) or error}"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(
            f"a structure must be a regular file, found {kind_of(status.st_mode)} at {path}"
        )
    size = status.st_size
    if size > MOST_BYTES:
        raise ValueError(
            f"a structure file must have at most {MOST_BYTES / 1e9:.1f} GB, {path} has "
            f"{size / 1e9:.1f} GB: keep one structure of it"
        )
    return path
