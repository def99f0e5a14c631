# SPDX-License-Identifier: MIT
"""Structures to begin with: by name, or from a file of another program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.collections import g2

from uma_md.files.structures import read_structure

WATER = Path(__file__).parents[2] / "data" / "water.xyz"


def _water() -> Atoms:
    return read_structure(WATER)


def _copper() -> Atoms:
    return bulk("Cu", cubic=True) * (3, 3, 3)


def _slab() -> Atoms:
    slab = fcc100("Cu", (3, 3, 3), a=3.6, vacuum=8.0)
    carbon_monoxide = molecule("CO")
    carbon_monoxide.rotate(180, "x")  # carbon below
    add_adsorbate(slab, carbon_monoxide, 2.0, "bridge", mol_index=1)
    return slab


NAMED: dict[str, tuple[Callable[[], Atoms], str]] = {
    "water": (_water, "64 molecules of liquid water at 0.997 g/cm3, settled with uma-nano"),
    "cu": (_copper, "108 atoms of face-centered cubic copper"),
    "slab": (_slab, "CO on a bridge site of Cu(100), three layers, open along c"),
}


def load_system(name: str) -> tuple[Atoms, str]:
    """A structure, and what it is in words.

    Parameters
    ----------
    name
        A structure file, a name of ``NAMED``, or a molecule of ASE such as ``CH3CH2OH``. An
        existing file comes first.

    Returns
    -------
    Atoms, str
        Of ASE's molecules, ``info`` has charge and spin multiplicity.

    Raises
    ------
    ValueError
        When there is neither such a file nor such a name, or the file cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return read_structure(path), f"the structure of {path.name}"
    if name in NAMED:
        make, text = NAMED[name]
        return make(), text
    if name in g2.names:
        return _molecule(name), f"the molecule {name} of ASE"
    raise ValueError(
        f"the structure must be a file, one of {', '.join(NAMED)}, or a molecule of ASE such as "
        f"CH3CH2OH, found none of them for {name!r}"
    )


def _molecule(name: str) -> Atoms:
    """A molecule with the multiplicity of its unpaired electrons."""
    atoms = molecule(name)
    unpaired = round(abs(atoms.get_initial_magnetic_moments().sum()))
    atoms.set_initial_magnetic_moments(np.zeros(len(atoms)))
    atoms.info.update(charge=0, spin=unpaired + 1)
    return atoms


def set_periodic(atoms: Atoms, directions: str) -> None:
    """Say which cell vectors repeat, in words such as ``ab`` or ``none``.

    Raises
    ------
    ValueError
        When the words are others, or a direction has no cell vector.
    """
    letters = "" if directions == "none" else directions
    if directions != "none" and (not letters or set(letters) - set("abc")):
        raise ValueError(
            f"--periodic must be none or cell vectors such as abc or ab, found {directions!r}"
        )
    for letter in letters:
        if not atoms.cell.array["abc".index(letter)].any():
            raise ValueError(
                f"--periodic {directions} needs a cell vector along {letter}, the structure has "
                "none: give a file with a cell, such as CIF, POSCAR or extended XYZ"
            )
    atoms.pbc = [letter in letters for letter in "abc"]
