# SPDX-License-Identifier: MIT
"""What a structure consists of: molecules, layers, solids; found from bond lengths."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list

BOND = 1.2  # how much longer than the sum of covalent radii a bond may be
VACUUM = 6.0  # angstrom: a gap this wide holds no atoms on purpose
FEWEST = 4  # molecules of one kind that make a solvent
OXIDE = 0.4  # oxygens bonded to metals, per metal atom: a monolayer on three layers has fewer

_NONMETALS = {
    *(1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18),
    *(32, 33, 34, 35, 36, 51, 52, 53, 54, 85, 86),
}


class Fragment(NamedTuple):
    """Atoms that bonds connect.

    Attributes
    ----------
    atoms : (atoms of the fragment,)
        Their indices.
    dimensions
        Independent directions along which its own images continue it: 0 for a molecule, 2 for a
        layer, 3 for a solid.
    """

    atoms: np.ndarray
    dimensions: int


class Anatomy:
    """What a structure consists of.

    Parameters
    ----------
    atoms
        Cell vectors of periodic directions must be there.
    """

    def __init__(self, atoms: Atoms) -> None:
        self.atoms = atoms
        self.metal = np.array([z not in _NONMETALS for z in atoms.numbers])
        cutoffs = natural_cutoffs(atoms, mult=BOND)
        self._i, self._j, self._shifts = neighbor_list("ijS", atoms, cutoffs)

    @cached_property
    def fragments(self) -> list[Fragment]:
        """Fragments, in the order of their first atoms."""
        first = np.searchsorted(self._i, np.arange(len(self.atoms) + 1))
        places: dict[int, np.ndarray] = {}
        return [
            self._fragment(start, first, places)
            for start in range(len(self.atoms))
            if start not in places  # which grows on the way
        ]

    def _fragment(self, start: int, first: np.ndarray, places: dict[int, np.ndarray]) -> Fragment:
        """Walk along bonds; arriving at an atom in another image shows where it continues."""
        places[start] = np.zeros(3, dtype=int)
        members, loops = [start], set()
        for atom in members:
            for bond in range(first[atom], first[atom + 1]):
                other, place = int(self._j[bond]), places[atom] + self._shifts[bond]
                if other not in places:
                    places[other] = place
                    members.append(other)
                elif (loop := tuple((place - places[other]).tolist())) != (0, 0, 0):
                    loops.add(loop)
        rank = np.linalg.matrix_rank(np.array(list(loops))) if loops else 0
        return Fragment(np.array(members), int(rank))

    @property
    def molecular(self) -> bool:
        """Whether it is made of molecules alone."""
        return all(fragment.dimensions == 0 for fragment in self.fragments)

    @property
    def extended(self) -> bool:
        """Whether layers or solids are in it."""
        return any(fragment.dimensions >= 2 for fragment in self.fragments)

    @property
    def solvent(self) -> bool:
        """Whether several molecules of one kind, without metals, are in it."""
        kinds: dict[str, int] = {}
        for fragment in self.fragments:
            if fragment.dimensions == 0 and not self.metal[fragment.atoms].any():
                name = self.atoms.symbols[fragment.atoms].formula.format("hill")
                kinds[name] = kinds.get(name, 0) + 1
        return max(kinds.values(), default=0) >= FEWEST

    @property
    def oxide(self) -> bool:
        """Whether it holds so much oxygen at metals that it is an oxide."""
        to_metal = self._i[(self.atoms.numbers[self._i] == 8) & self.metal[self._j]]
        return len(np.unique(to_metal)) >= OXIDE * max(1, self.metal.sum())

    @property
    def closest(self) -> tuple[float, int, int] | None:
        """Distance in angstrom and indices of the two bonded atoms that are closest."""
        if len(self._i) == 0:
            return None
        vectors = self._vectors
        nearest = int(np.argmin(vectors))
        return float(vectors[nearest]), int(self._i[nearest]), int(self._j[nearest])

    @cached_property
    def _vectors(self) -> np.ndarray:
        positions, cell = self.atoms.positions, self.atoms.cell.array
        ends = positions[self._j] + self._shifts @ cell
        return np.asarray(np.linalg.norm(ends - positions[self._i], axis=1))

    @cached_property
    def vacuum(self) -> list[int]:
        """Periodic cell vectors along which there is a gap without atoms."""
        found = []
        for axis in np.flatnonzero(self.atoms.pbc):
            fractions = np.sort(self.atoms.get_scaled_positions()[:, axis])
            gaps = np.diff(np.append(fractions, fractions[0] + 1))
            if gaps.max() * widths(self.atoms)[axis] >= VACUUM:
                found.append(int(axis))
        return found


def widths(atoms: Atoms) -> np.ndarray:
    """Distances between opposite faces of a cell, (3,), angstrom; of a cell with volume."""
    inverse = np.linalg.inv(atoms.cell.array)
    return np.asarray(1 / np.linalg.norm(inverse, axis=0))
