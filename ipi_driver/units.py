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

READ_AS = {  # lengths found over those expected
    BOHR: "angstrom were read as bohr",
    0.1: "nanometers were read as angstrom",
    0.1 * BOHR: "nanometers were read as bohr",
    1 / BOHR: "bohr were read as angstrom",
    10: "angstrom were read as nanometers",
    10 / BOHR: "bohr were read as nanometers",
}

NEAREST = 4.5  # angstrom: neighbors farther away say little of a structure
BONDED = 1.3  # times the sum of two atoms' covalent radii

EXACT_OF_CELLS = 0.02  # how far the ratio of cells may be off a unit's


class Limits(NamedTuple):
    """When ratios of distances are said to have the factor of a unit in common.

    Attributes
    ----------
    middle
        How far their median may be off, of 1.
    spread
        How far most may be off.
    most
        What part of them that is.
    """

    middle: float
    spread: float
    most: float


EXACT = Limits(0.005, 0.005, 0.75)  # the same configuration, perhaps wrapped in another way
ALIKE = Limits(0.07, 0.2, 0.75)  # another configuration with the same bonds
MANY = 12  # bonds, which do not have such lengths by chance
OVERLAP = 0.1  # angstrom: distances that tell nothing


class WrongUnit(NamedTuple):
    """Lengths that differ from a template's by a unit.

    Attributes
    ----------
    positions, cell
        Whether these do.
    factor
        Found over expected, of ``READ_AS``.
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


class Neighbors(NamedTuple):
    """The near neighbors in a template.

    Attributes
    ----------
    receivers, senders : (pairs,)
    shifts : (pairs, 3)
        Cells between the two.
    distances : (pairs,), angstrom
    bonds : (bonds,)
        Pairs of an atom and its nearest neighbor: the shorter half of them.
    """

    receivers: np.ndarray
    senders: np.ndarray
    shifts: np.ndarray
    distances: np.ndarray
    bonds: np.ndarray


def find_wrong_unit(template: Atoms, cells: np.ndarray, positions: np.ndarray) -> WrongUnit | None:
    """Tell whether one of some structures is of the template's kind in another unit.

    A unit scales the distances of nearly all neighbors by the same factor, such as 1.89 or 0.53,
    which no pressure, temperature or phase does to bonds. Where atoms have no near neighbors in the
    template, or still have them at about its distances, positions are taken to be right.

    Parameters
    ----------
    template
    cells : (batch, 3, 3), angstrom
        Rows are cell vectors.
    positions : (batch, atoms, 3), angstrom
        Of the template's atoms.
    """
    neighbors = _neighbors(template)
    for cell, one in zip(cells, positions, strict=True):
        by_distance = _scale_of_positions(template, neighbors, cell, one)
        by_cell = _scale_of_cell(template, cell)
        factor = by_distance or by_cell
        if factor is not None:
            return WrongUnit(by_distance is not None, by_cell == factor, factor)
    return None


def _scale_of_positions(
    template: Atoms, neighbors: Neighbors, cell: np.ndarray, positions: np.ndarray
) -> float | None:
    bonds = neighbors.bonds
    if len(bonds) == 0:
        return None
    limits = _limits(template, neighbors)
    few = len(bonds) < MANY  # and could be of such lengths by chance, which angles cannot
    same = _same_distances(neighbors, slice(None) if few else bonds, cell, positions)
    exactly, by_pairs = _factor(same, EXACT), _factor(same, limits)
    if exactly is not None or (by_pairs is not None and (few or by_pairs < 1)):
        return exactly or by_pairs  # without a search, which may find too many pairs
    lengths = neighbors.distances[bonds]
    try:
        nearest = _nearest(positions, cell, template.pbc, 2.2 * lengths.max())
    except ValueError:  # too dense to be searched, as in a cell that is far too small
        return by_pairs
    found = nearest[neighbors.receivers[bonds]] / lengths
    if np.mean(np.abs(found - 1) < ALIKE.spread) > 0.5:
        return None
    by_search = _factor(found, limits)
    if few and by_search is not None and by_search > 1:
        return _factor(found, EXACT)
    return by_pairs or by_search


def _limits(template: Atoms, neighbors: Neighbors) -> Limits:
    """How alike distances must be: only bonds are the same in another configuration."""
    radii, bonds = covalent_radii[template.numbers], neighbors.bonds
    sums = radii[neighbors.receivers[bonds]] + radii[neighbors.senders[bonds]]
    stretched = len(template) == 2 and not template.pbc.any()  # a single bond may be
    if stretched or np.median(neighbors.distances[bonds] / sums) > BONDED:
        return EXACT
    return ALIKE


def _factor(ratios: np.ndarray, limits: Limits) -> float | None:
    """The factor of a unit that these have in common."""
    for factor in READ_AS:
        off = ratios / factor - 1
        most = np.mean(np.abs(off) < limits.spread)
        if most >= limits.most and abs(np.median(off)) < limits.middle:
            return factor
    return None


def _same_distances(
    neighbors: Neighbors, chosen: slice | np.ndarray, cell: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    """Distances of the template's pairs in another structure, over those in the template.

    Other neighbors do not count: in a cell that is right, a structure that is too large
    overlaps with its images. For the same reason pairs across the cell count only where there
    are no others.
    """
    receivers, senders, shifts, distances = (array[chosen] for array in neighbors[:4])
    inside = ~shifts.any(axis=1)
    kept = inside if inside.any() else ~inside
    vectors = positions[senders] - positions[receivers] + shifts @ cell
    ratios: np.ndarray = (np.linalg.norm(vectors, axis=1) / distances)[kept]
    return ratios


def _scale_of_cell(template: Atoms, cell: np.ndarray) -> float | None:
    if not template.pbc.any():
        return None
    ratios = (widths(cell) / widths(template.cell.complete().array))[template.pbc]
    for factor in READ_AS:
        if (np.abs(ratios / factor - 1) < EXACT_OF_CELLS).all():
            return factor
    return None


def _neighbors(template: Atoms) -> Neighbors:
    cell = template.cell.complete().array
    receivers, senders, shifts = find_pairs(template.positions, cell, template.pbc, NEAREST)
    vectors = template.positions[senders] - template.positions[receivers] + shifts @ cell
    distances = np.linalg.norm(vectors, axis=1)
    kept = distances > OVERLAP
    pairs = receivers[kept], senders[kept], shifts[kept], distances[kept]
    order = np.lexsort((pairs[3], pairs[0]))
    _, first = np.unique(pairs[0][order], return_index=True)
    bonds = order[first]
    if len(bonds):
        bonds = bonds[pairs[3][bonds] <= np.median(pairs[3][bonds])]
    return Neighbors(*pairs, bonds)


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
