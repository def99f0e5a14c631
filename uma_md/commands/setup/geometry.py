# SPDX-License-Identifier: MIT
"""A structure in the form that LAMMPS and i-PI take: a along x, b in the plane of x and y."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell


def complete(atoms: Atoms) -> Atoms:
    """A copy with three independent cell vectors; missing ones are invented along open directions.

    Raises
    ------
    ValueError
        When a periodic direction has no cell vector of its own.
    """
    atoms = atoms.copy()
    cell = atoms.cell.array * atoms.pbc[:, None]
    if np.linalg.matrix_rank(cell) < atoms.pbc.sum():
        raise ValueError(
            "cell vectors of periodic directions must be independent, found some missing or in "
            "one plane: check the cell of the structure, or give --periodic"
        )
    if not atoms.pbc.all():
        atoms.cell = complete_cell(cell)
    return atoms


def standard_form(atoms: Atoms, margin: float) -> tuple[Atoms, list[str]]:
    """Rotate a structure, and order its cell vectors, as LAMMPS and i-PI need it.

    Energies do not change: nothing is mirrored, and space is empty along open directions.

    Parameters
    ----------
    atoms
    margin
        Empty space on each side along open directions, angstrom.

    Returns
    -------
    Atoms, list of str
        The structure, with a cell whose rows are lower triangular, and what was done to it.
    """
    atoms, said = complete(atoms), []
    order = _order(atoms.pbc)
    if order != [0, 1, 2]:
        said.append("cell vectors in another order, open directions last")
    cell, pbc = atoms.cell.array[order], atoms.pbc[order]
    if np.linalg.det(cell) < 0:
        if pbc.all():
            cell, pbc = cell[[1, 0, 2]], pbc[[1, 0, 2]]
            said.append("cell vectors a and b exchanged: LAMMPS knows right-handed cells only")
        else:
            cell[2] *= -1
    for axis in np.flatnonzero(~pbc):
        cell[axis] = _perpendicular(cell, int(axis))
    atoms.set_cell(cell)
    atoms.pbc = pbc
    lower, rotation = atoms.cell.standard_form()
    if not np.allclose(lower.array, cell, atol=1e-12 * np.abs(cell).max()):
        said.append("rotated: a along x, b in the plane of x and y")
        atoms.set_cell(lower.array)
        atoms.positions = atoms.positions @ rotation.T
    if not pbc.all():
        _box_open_directions(atoms, margin)
        said.append(f"{margin:g} angstrom of empty space around it along open directions")
    return atoms, said


def _order(pbc: np.ndarray) -> list[int]:
    """Cyclic order of cell vectors that brings periodic ones to the front."""
    orders = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    return next(order for order in orders if sorted(pbc[order], reverse=True) == list(pbc[order]))


def _perpendicular(cell: np.ndarray, axis: int) -> np.ndarray:
    """A unit vector perpendicular to the cell vectors before, on the side of the one that is."""
    rest = cell[axis].copy()
    basis, _ = np.linalg.qr(cell[:axis].T)
    rest -= basis @ (basis.T @ rest)
    return np.asarray(rest / np.linalg.norm(rest))


def _box_open_directions(atoms: Atoms, margin: float) -> None:
    """Give open directions, perpendicular to all others, a length that holds the atoms."""
    cell = atoms.cell.array.copy()
    for axis in np.flatnonzero(~atoms.pbc):
        along = atoms.positions[:, axis]
        atoms.positions[:, axis] += margin - along.min()
        cell[axis] = 0
        cell[axis, axis] = np.ptp(along) + 2 * margin
    atoms.set_cell(cell)
