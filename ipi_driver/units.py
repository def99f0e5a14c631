# SPDX-License-Identifier: MIT
"""i-PI's units, and telling a wrong unit of length from another structure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from uma_md.neighbors import find_pairs

# i-PI's own numbers, so that what a user gives or reads in angstrom and eV is what the model sees.
BOHR = 1 / 1.8897261  # angstrom
HARTREE = 1 / 0.036749326  # eV

READ_AS = {BOHR: "angstrom were read as bohr", 1 / BOHR: "bohr were read as angstrom"}

NEAREST = 4.5  # angstrom: neighbors farther away say little of a structure
BONDED = 1.3  # times the sum of two atoms' covalent radii

MIDDLE = 0.07  # how far the median of bonds may be off in another configuration
SPREAD = 0.2  # how far most of them may be
MOST = 0.75
EXACT = 0.005  # where distances are no bonds, or one bond must be told from a stretched one
EXACT_OF_CELLS = 0.02
OVERLAP = 0.1  # angstrom: distances that tell nothing


class WrongUnit(NamedTuple):
    """Lengths that differ from a template's by a unit.

    Attributes
    ----------
    positions, cell
        Whether these do.
    factor
        Found over expected: 0.529 or 1.89.
    """

    positions: bool
    cell: bool
    factor: float

    @property
    def text(self) -> str:
        """What was found, in words."""
        found = []
        if self.positions:
            found.append(f"distances between nearest atoms are {self.factor:.3f} times")
        if self.cell:
            found.append(f"cell vectors {'are ' * (not found)}{self.factor:.3f} times")
        return f"{' and '.join(found)} the template's: {READ_AS[self.factor]}"


class ShortPairs(NamedTuple):
    """The shorter half of a structure's pairs of an atom and its nearest neighbor.

    Attributes
    ----------
    receivers, senders : (pairs,)
    shifts : (pairs, 3)
        Cells between the two.
    distances : (pairs,), angstrom
    """

    receivers: np.ndarray
    senders: np.ndarray
    shifts: np.ndarray
    distances: np.ndarray


def find_wrong_unit(template: Atoms, cells: np.ndarray, positions: np.ndarray) -> WrongUnit | None:
    """Tell whether one of some structures is of the template's kind in another unit.

    A unit scales the distances of nearly all neighbors by the same factor, 1.89 or 0.53, which
    no pressure, temperature or phase does to bonds. Where atoms have no near neighbors in the
    template, or still have them at about its distances, positions are taken to be right.

    Parameters
    ----------
    template
    cells : (batch, 3, 3), angstrom
        Rows are cell vectors.
    positions : (batch, atoms, 3), angstrom
        Of the template's atoms.
    """
    pairs = _short_pairs(template)
    for cell, one in zip(cells, positions, strict=True):
        by_distance = _scale_of_positions(template, pairs, cell, one)
        by_cell = _scale_of_cell(template, cell)
        factor = by_distance or by_cell
        if factor is not None:
            return WrongUnit(by_distance is not None, by_cell == factor, factor)
    return None


def _scale_of_positions(
    template: Atoms, pairs: ShortPairs, cell: np.ndarray, positions: np.ndarray
) -> float | None:
    if len(pairs.distances) == 0:
        return None
    nearest = _nearest(positions, cell, template.pbc, 2.2 * pairs.distances.max())
    found = nearest[pairs.receivers] / pairs.distances
    if np.mean(np.abs(found - 1) < SPREAD) > 0.5:
        return None
    same = _distances_of_same(pairs, cell, positions)
    exact = not _are_bonds(pairs, template) or (len(template) == 2 and not template.pbc.any())
    middle, spread = (EXACT, EXACT) if exact else (MIDDLE, SPREAD)
    for factor in READ_AS:
        for ratios in (found / factor, same / factor):
            near = np.mean(np.abs(ratios - 1) < spread) >= MOST
            if near and abs(np.median(ratios) - 1) < middle:
                return factor
    return None


def _are_bonds(pairs: ShortPairs, template: Atoms) -> bool:
    radii = covalent_radii[template.numbers]
    sums = radii[pairs.receivers] + radii[pairs.senders]
    return bool(np.median(pairs.distances / sums) < BONDED)


def _distances_of_same(pairs: ShortPairs, cell: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Distances of the template's pairs in another structure, over those in the template.

    Other neighbors do not count: in a cell that is right, a structure that is too large
    overlaps with its images. For the same reason pairs across the cell count only where there
    are no others.
    """
    inside = ~pairs.shifts.any(axis=1)
    kept = inside if inside.any() else ~inside
    vectors = positions[pairs.senders] - positions[pairs.receivers] + pairs.shifts @ cell
    ratios: np.ndarray = (np.linalg.norm(vectors, axis=1) / pairs.distances)[kept]
    return ratios


def _scale_of_cell(template: Atoms, cell: np.ndarray) -> float | None:
    if not template.pbc.any():
        return None
    ratios = (widths(cell) / widths(template.cell.complete().array))[template.pbc]
    for factor in READ_AS:
        if (np.abs(ratios / factor - 1) < EXACT_OF_CELLS).all():
            return factor
    return None


def _short_pairs(template: Atoms) -> ShortPairs:
    cell = template.cell.complete().array
    receivers, senders, shifts = find_pairs(template.positions, cell, template.pbc, NEAREST)
    vectors = template.positions[senders] - template.positions[receivers] + shifts @ cell
    distances = np.linalg.norm(vectors, axis=1)
    order = np.lexsort((distances, receivers))
    _, first = np.unique(receivers[order], return_index=True)
    chosen = order[first]
    chosen = chosen[distances[chosen] > OVERLAP]
    if len(chosen):
        chosen = chosen[distances[chosen] <= np.median(distances[chosen])]
    return ShortPairs(receivers[chosen], senders[chosen], shifts[chosen], distances[chosen])


def _nearest(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> np.ndarray:
    """Distance from each atom to its nearest neighbor, infinite where it is beyond a cutoff."""
    receivers, senders, shifts = find_pairs(positions, cell, pbc, cutoff)
    vectors = positions[senders] - positions[receivers] + shifts @ cell
    nearest = np.full(len(positions), np.inf)
    np.minimum.at(nearest, receivers, np.linalg.norm(vectors, axis=1))
    return nearest


def widths(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell, (3,)."""
    return 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
