# SPDX-License-Identifier: MIT
"""The structure file that says what i-PI does not: species, and which directions repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from uma_md.files.structures import read_structure
from uma_md.system import check_geometry

ALIKE = 2.0  # how much wider or narrower i-PI's cell may be than the template's


def read_template(path: str | Path) -> Atoms:
    """Read a structure file: the last structure, where it has several.

    Raises
    ------
    ValueError
        When it cannot be read, or has no atoms.
    """
    atoms = read_structure(path)
    try:
        check_geometry(atoms.positions, atoms.cell.array, atoms.pbc)
    except ValueError as error:
        raise ValueError(f"the template {path} must be valid: {error}") from None
    return atoms


def compare_cells(template: Atoms, cell: np.ndarray, positions: np.ndarray, cutoff: float) -> None:
    """Refuse a run that repeats where the template does not, or the reverse.

    i-PI always sends a cell and never says whether it repeats. Along a direction that does
    not, images must be out of each other's reach, so that it is no matter. Along one that
    does, the cell must resemble the template's.

    Parameters
    ----------
    template
    cell : (3, 3), angstrom
    positions : (atoms, 3), angstrom
    cutoff
        angstrom.
    """
    if abs(np.linalg.det(cell)) < 1e-6:
        raise ValueError("the cell of i-PI must have a volume, found none")
    widths, own = _widths(cell), _widths(template.cell.complete().array)
    fractions = np.linalg.solve(cell.T, positions.T).T
    gaps = (1 - np.ptp(fractions, axis=0)) * widths
    for axis, repeats in enumerate(template.pbc):
        name = "abc"[axis]
        if repeats and not 1 / ALIKE < widths[axis] / own[axis] < ALIKE:
            raise ValueError(
                f"the template is periodic along {name}, so i-PI's cell must resemble its own, "
                f"found widths of {widths[axis]:.2f} and {own[axis]:.2f} angstrom: give a "
                "template without cell for molecules, or the cell of this run"
            )
        if not repeats and gaps[axis] < cutoff:
            raise ValueError(
                f"the template is not periodic along {name}, so i-PI's cell must leave the "
                f"cutoff of {cutoff:g} angstrom between images, found {gaps[axis]:.2f}: give a "
                "template with its cell (such as extended XYZ), or a larger cell and pbc='false' "
                "in i-PI's input"
            )


def _widths(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell, (3,)."""
    return 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
