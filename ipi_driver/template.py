# SPDX-License-Identifier: MIT
"""The structure file that says what i-PI does not: species, and which directions repeat."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from ase import Atoms

from ipi_driver.units import find_wrong_unit, widths
from uma_md.files.structures import read_structure
from uma_md.system import check_geometry

LONGEST_LINE = 1 << 16
ALIKE = 2.0  # how much wider or narrower i-PI's cell may be than the template's


def read_template(path: str | Path) -> Atoms:
    """Read a structure file: the last structure, where it has several.

    Raises
    ------
    ValueError
        When it cannot be read, or has no atoms.
    """
    atoms = read_structure(path)
    _check_unit(Path(path))
    try:
        check_geometry(atoms.positions, atoms.cell.array, atoms.pbc)
    except ValueError as error:
        raise ValueError(f"the template {path} must be valid: {error}") from None
    return atoms


def _check_unit(path: Path) -> None:
    """Refuse i-PI's own output in bohr, of which ASE takes the numbers for angstrom."""
    with path.open(errors="replace") as file:
        head = file.readline(LONGEST_LINE) + file.readline(LONGEST_LINE)
    unit = re.search(r"positions\{(\w+)\}", head)
    if unit and unit[1] not in ("angstrom", "ase"):
        raise ValueError(
            f"the template must be in angstrom, found {unit[0]} in {path}: let i-PI write it in "
            "angstrom, or convert it"
        )


def check_volume(cell: np.ndarray) -> None:
    """Refuse a cell of i-PI without volume."""
    if abs(np.linalg.det(cell)) < 1e-6:
        raise ValueError("the cell of i-PI must have a volume, found none")


def compare_cells(template: Atoms, cell: np.ndarray, positions: np.ndarray, cutoff: float) -> None:
    """Refuse a run that repeats where the template does not, or the reverse.

    i-PI always sends a cell and never says whether it repeats. Along a direction that does
    not, images must be out of each other's reach, so that repeating changes nothing. Along one that
    does, the cell must resemble the template's.

    Parameters
    ----------
    template
    cell : (3, 3), angstrom
    positions : (atoms, 3), angstrom
    cutoff
        angstrom.
    """
    found, own = widths(cell), widths(template.cell.complete().array)
    fractions = np.linalg.solve(cell.T, positions.T).T
    gaps = (1 - np.ptp(fractions, axis=0)) * found
    for axis, repeats in enumerate(template.pbc):
        name = "abc"[axis]
        if repeats and not 1 / ALIKE < found[axis] / own[axis] < ALIKE:
            raise ValueError(
                f"the template is periodic along {name}, so i-PI's cell must resemble its own, "
                f"found widths of {found[axis]:.2f} and {own[axis]:.2f} angstrom: give a "
                "template without cell for molecules, or the cell of this run"
            )
        if not repeats and gaps[axis] < cutoff:
            raise ValueError(
                f"the template is not periodic along {name}, so i-PI's cell must leave the "
                f"cutoff of {cutoff:g} angstrom between images, found {gaps[axis]:.2f}: give a "
                "template with its cell (such as extended XYZ), or a larger cell and pbc='false' "
                "in i-PI's input"
            )


def compare_units(template: Atoms, cells: np.ndarray, positions: np.ndarray) -> None:
    """Refuse a run that starts from the template's structure in another unit.

    Parameters
    ----------
    template
    cells : (batch, 3, 3), angstrom
    positions : (batch, atoms, 3), angstrom
    """
    mistake = find_wrong_unit(template, cells, positions)
    if mistake is not None:
        raise ValueError(
            f"i-PI must start from a structure like the template, found that {mistake.text}; "
            "give the units in i-PI's input (see uma-ipi --check), or a template like this start "
            "if it is meant"
        )
