# SPDX-License-Identifier: MIT
"""Coordinates of atoms in systems that repeat along some directions, or along none."""

from __future__ import annotations

import numpy as np

MOST_CROWDED = 10_000  # atoms or images near an atom, on average: far beyond all models


class Frame:
    """Cell vectors where a system repeats, and unit vectors across them where it is open.

    Parameters
    ----------
    cell : (3, 3), angstrom
        Rows are cell vectors; those along open directions are free.
    pbc : (3,)
        Which cell vectors repeat.

    Attributes
    ----------
    pbc : (3,)
    vectors : (3, 3), angstrom
    heights : (3,), angstrom
        Between planes on which a coordinate is 0 and 1.
    """

    def __init__(self, cell: np.ndarray, pbc: np.ndarray) -> None:
        self.pbc = np.asarray(pbc, dtype=bool)
        repeats = np.asarray(cell, dtype=np.float64)[self.pbc]
        self.vectors = np.empty((3, 3))
        self.vectors[self.pbc] = repeats
        if not self.pbc.all():
            self.vectors[~self.pbc] = np.linalg.svd(repeats)[2][len(repeats) :]
        self._inverse = np.linalg.inv(self.vectors)
        self.heights = 1 / np.linalg.norm(self._inverse, axis=0)

    def coordinates(self, positions: np.ndarray) -> np.ndarray:
        """Positions in cell vectors, (atoms, 3)."""
        return np.asarray(positions @ self._inverse)

    def wrap(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates, in 0 to 1 where the system repeats, and the whole cells taken off."""
        coordinates = self.coordinates(positions)
        cells = np.floor(coordinates) * self.pbc
        return coordinates - cells, cells

    def images(
        self, coordinates: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Atoms and whole cells that bring their images between two corners.

        Returns
        -------
        atoms : (images,)
        cells : (images, 3)

        Raises
        ------
        ValueError
            When there are too many of them.
        """
        first = np.where(self.pbc, np.ceil(low - coordinates), 0).astype(np.int64)
        last = np.where(self.pbc, np.floor(high - coordinates), 0).astype(np.int64)
        inside = (coordinates + first >= low) & (coordinates + last <= high)
        counts = np.where(inside, np.maximum(last - first + 1, 0), 0)
        check_crowd(counts.prod(axis=1, dtype=float).sum() / 8, len(coordinates))  # box to sphere
        totals = counts.prod(axis=1)
        atoms = np.repeat(np.arange(len(coordinates)), totals)
        number = np.arange(len(atoms)) - np.repeat(np.cumsum(totals) - totals, totals)
        cells = np.empty((len(atoms), 3))
        for axis in range(3):
            cells[:, axis] = first[atoms, axis] + number % counts[atoms, axis]
            number //= counts[atoms, axis]
        return atoms, cells

    def shortened(
        self, positions: np.ndarray, coordinates: np.ndarray, gap: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions and a cell that repeats, with no empty stretch longer than ``gap``.

        Along each direction, stretches without atoms that are longer are cut to that length,
        as is the endless one of an open direction. Vectors between atoms, or their images,
        that have no such stretch between them are unchanged, whole cells included; all others
        stay longer than ``gap``.

        Parameters
        ----------
        positions : (atoms, 3), angstrom
            Wrapped.
        coordinates : (atoms, 3)
            As ``wrap`` gives them.
        gap
            angstrom.

        Returns
        -------
        positions : (atoms, 3), angstrom
        lengths : (3,), angstrom
            Heights of the cell, whose vectors are ``vectors`` times lengths over heights.
        """
        lengths = np.empty(3)
        for axis, height in enumerate(self.heights):
            along = coordinates[:, axis] * height
            order = np.argsort(along, kind="stable")
            cut = np.maximum(np.diff(along[order]) - gap, 0)
            extent = along[order[-1]] - along[order[0]] - cut.sum()
            lengths[axis] = extent + gap
            if self.pbc[axis]:
                lengths[axis] = min(height - cut.sum(), lengths[axis])
            if cut.any():
                taken = np.zeros(len(along))
                taken[order[1:]] = np.cumsum(cut)
                positions = positions - np.outer(taken / height, self.vectors[axis])
        return positions, lengths


def check_crowd(neighbors: float, points: float) -> None:
    """Refuse structures whose search would fill the memory.

    Parameters
    ----------
    neighbors, points
        Estimated number of pairs, and of the points whose neighbors they are.

    Raises
    ------
    ValueError
        When there are too many.
    """
    if not neighbors <= MOST_CROWDED * points:
        raise ValueError(
            f"atoms must have room, found more than {MOST_CROWDED} neighbors of each, images "
            "included: check the cell, the density and the time step"
        )
