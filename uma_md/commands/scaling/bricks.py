# SPDX-License-Identifier: MIT
"""The bricks that LAMMPS gives its ranks: a grid, the same width along each axis.

What LAMMPS calls ``processors * * *`` without ``balance``. An atom belongs to the brick that its
coordinates are in.
"""

from __future__ import annotations

import numpy as np

from uma_md.frame import Frame
from uma_md.system import System


def brick_grid(cell: np.ndarray, ranks: int) -> tuple[int, int, int]:
    """Bricks along each cell vector: of all grids the one whose bricks have the least surface.

    Of equally good grids it is the one with the fewest bricks along the first vector, then along
    the second, as in LAMMPS.

    Parameters
    ----------
    cell : (3, 3), angstrom
    ranks
    """
    a, b, c = cell
    areas = [np.linalg.norm(np.cross(*pair)) for pair in ((a, b), (a, c), (b, c))]

    def surface(grid: tuple[int, int, int]) -> float:
        x, y, z = grid
        return float(areas[0] / (x * y) + areas[1] / (x * z) + areas[2] / (y * z))

    grids = [(x, y, ranks // x // y) for x in _divisors(ranks) for y in _divisors(ranks // x)]
    return min(grids, key=surface)


def brick_owners(system: System, grid: tuple[int, int, int]) -> np.ndarray:
    """The rank of each atom, (atoms,) int32, the last axis counting fastest.

    Along open directions the box reaches from the first atom to the last one.
    """
    frame = Frame(system.cell, system.pbc)
    coordinates = frame.wrap(system.positions)[0]
    low = np.where(frame.pbc, 0.0, coordinates.min(axis=0))
    lengths = np.where(frame.pbc, 1.0, np.maximum(np.ptp(coordinates, axis=0), 1e-9))
    place = np.floor((coordinates - low) / lengths * grid).astype(np.int64)
    place = np.minimum(place, np.array(grid) - 1)
    return np.ravel_multi_index(tuple(place.T), grid).astype(np.int32)


def box_of(system: System) -> np.ndarray:
    """Vectors of the box that bricks are cut from, (3, 3), angstrom."""
    frame = Frame(system.cell, system.pbc)
    extents = np.ptp(frame.coordinates(system.positions), axis=0)
    return frame.vectors * np.where(frame.pbc, 1.0, extents)[:, np.newaxis]


def _divisors(number: int) -> list[int]:
    return [k for k in range(1, number + 1) if number % k == 0]
