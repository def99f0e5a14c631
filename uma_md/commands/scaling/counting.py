# SPDX-License-Identifier: MIT
"""What ranks would have and exchange, from the geometry alone.

The decomposition is the real one, and so is the search for pairs. Where a structure is two equal
halves along the side that is cut first, half of it on half of the ranks is looked at instead: as
long as no rank sees across the half, each has the same there, and exchanges the same.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from uma_md.commands.scaling.bricks import box_of, brick_grid, brick_owners
from uma_md.commands.scaling.systems import Particle, Repeated, Structure
from uma_md.frame import Frame
from uma_md.ranks.decomposition import divide
from uma_md.ranks.traffic import Load, load_of
from uma_md.system import System

FEWEST_RANKS = 64  # that are left after halving
MOST_RANKS = 32  # that are looked at
MOST_ATOMS = 3_000_000  # of all ranks that are looked at
MOST_OWNED = 300_000  # atoms of one rank, whose pairs must fit into memory
DECOMPOSITIONS = ("bisection", "bricks")


class Reach(NamedTuple):
    """How far ranks look, in angstrom: the model's cutoff, and what pairs are kept beyond it."""

    cutoff: float
    skin: float

    @property
    def total(self) -> float:
        """Of pairs."""
        return self.cutoff + self.skin


class Division(NamedTuple):
    """A structure that is split over ranks, or a part of it that stands for all.

    Attributes
    ----------
    system
    owners : (atoms,)
    weights : (ranks,)
        Estimated edges of each rank.
    ranks
    """

    system: System
    owners: np.ndarray
    weights: np.ndarray
    ranks: int

    @property
    def checksum(self) -> bytes:
        """Of atoms and owners."""
        parts = np.ascontiguousarray(self.system.positions), self.owners
        return hashlib.blake2b(b"".join(part.tobytes() for part in parts)).digest()


class Count(NamedTuple):
    """What was counted.

    Attributes
    ----------
    natoms, ranks
        Of the whole.
    loads
        Of the ranks that were looked at.
    built_atoms, built_ranks
        Of what was divided: the whole, or a part that stands for it.
    edges
        Of the whole; estimated where not all ranks were looked at.
    """

    natoms: int
    ranks: int
    loads: list[Load]
    built_atoms: int
    built_ranks: int
    edges: float

    @property
    def most_edges(self) -> int:
        """Of the rank that has the most, of those looked at."""
        return max(load.edges for load in self.loads)

    @property
    def imbalance(self) -> float:
        """Most edges of a rank over their mean."""
        return self.most_edges / (self.edges / self.ranks)


Kept = dict[bytes, list[Load]]


def count(
    structure: Structure,
    ranks: int,
    reach: Reach,
    decomposition: str,
    kept: Kept | None = None,
    most_ranks: int | None = None,
) -> Count:
    """Divide a structure and look at its ranks, at all of them or at a sample.

    The sample holds the ranks with the most and the fewest edges, by the estimate that cuts
    are made with, and others evenly spaced through their numbers.

    Parameters
    ----------
    structure
    ranks
    reach
    decomposition
        ``bisection``, as in Python, or ``bricks``, as in LAMMPS.
    kept
        What was looked at before, by a checksum, with this reach; filled.
    most_ranks
        That are looked at, 3 or more; 32 by default.

    Raises
    ------
    ValueError
        When ranks have too many atoms for their pairs to be counted, or the structure does not
        fit into memory.
    """
    if ranks == 1 and isinstance(structure, Repeated):
        return _count_alone(structure, reach)
    if structure.natoms / ranks > MOST_OWNED:
        raise ValueError(
            f"a rank must have at most {MOST_OWNED} atoms for its pairs to be counted, found "
            f"{structure.natoms} atoms on {ranks} ranks: take more ranks or fewer atoms"
        )
    division = _smallest(structure, ranks, reach, decomposition)
    chosen = _sample(division, most_ranks or MOST_RANKS)
    kept = {} if kept is None else kept
    key = division.checksum
    if key not in kept:
        parts = _Surroundings(division)
        kept[key] = [load_of(*parts.near(rank, reach.total), rank, *reach) for rank in chosen]
    loads = kept[key]
    seen = sum(load.edges for load in loads)
    estimated = division.weights[chosen].sum()
    edges = seen * division.weights.sum() / max(estimated, 1) * (ranks / division.ranks)
    return Count(structure.natoms, ranks, loads, len(division.owners), division.ranks, float(edges))


def _count_alone(structure: Repeated, reach: Reach) -> Count:
    """One rank: nothing is exchanged, and each copy of the cell has the same edges."""
    base = structure.base
    load = load_of(base, np.zeros(len(base.positions), dtype=np.int32), 0, *reach)
    copies = int(structure.replicas.prod())
    edges = load.edges * copies
    whole = load._replace(atoms=structure.natoms, edges=edges, inner_edges=edges)
    return Count(structure.natoms, 1, [whole], load.atoms, 1, float(edges))


def _smallest(structure: Structure, ranks: int, reach: Reach, decomposition: str) -> Division:
    """The smallest part of a structure whose ranks stand for all, divided."""
    if isinstance(structure, Particle):
        return _divide(structure.build(), ranks, reach, decomposition, None)
    grid = brick_grid(structure.box(), ranks) if decomposition == "bricks" else None
    steps = _halves(structure, ranks, grid)
    while True:
        smaller, left, smaller_grid = steps.pop()
        division = _divide(smaller.build(), left, reach, decomposition, smaller_grid)
        if not steps or _stands_for_all(division, structure.replicas != smaller.replicas, reach):
            return division


Halved = tuple[Repeated, int, tuple[int, int, int] | None]


def _halves(structure: Repeated, ranks: int, grid: tuple[int, int, int] | None) -> list[Halved]:
    """A structure, its half on half of the ranks, and so on."""
    found: list[Halved] = [(structure, ranks, grid)]
    while ranks % 2 == 0 and ranks // 2 >= FEWEST_RANKS:
        axis = structure.extents().argmax()
        if grid is not None:  # any axis whose bricks are an even number, as equal as they are
            even = (np.array(grid) % 2 == 0) & (structure.replicas % 2 == 0)
            axis = np.where(even, grid, 0).argmax()
            if not even[axis]:
                break
            x, y, z = (n // 2 if k == axis else n for k, n in enumerate(grid))
            grid = x, y, z
        if structure.replicas[axis] % 2:
            break
        replicas = structure.replicas.copy()
        replicas[axis] //= 2
        structure, ranks = structure._replace(replicas=replicas), ranks // 2
        found.append((structure, ranks, grid))
    return found


def _divide(
    system: System,
    ranks: int,
    reach: Reach,
    decomposition: str,
    grid: tuple[int, int, int] | None,
) -> Division:
    owners, weights = divide(system, ranks, reach.cutoff)
    if decomposition == "bricks":
        grid = grid or brick_grid(box_of(system), ranks)
        owners = brick_owners(system, grid)
    sums = np.bincount(owners, weights=weights, minlength=ranks)
    return Division(system, owners, sums, ranks)


def _stands_for_all(division: Division, halved: np.ndarray, reach: Reach) -> bool:
    """Whether along halved axes no rank sees an atom, or meets a rank, from two sides."""
    frame = Frame(division.system.cell, division.system.pbc)
    low, high = _boxes(division, frame)
    widest = ((high - low).max(axis=0)) * frame.heights
    return bool((3 * widest + 2 * reach.total < frame.heights)[halved].all())


def _sample(division: Division, most_ranks: int) -> np.ndarray:
    """Ranks to look at."""
    per_rank = max(len(division.owners) / division.ranks, 1)
    most = int(np.clip(MOST_ATOMS / per_rank, min(8, most_ranks), most_ranks))
    if division.ranks <= most:
        return np.arange(division.ranks)
    even = np.linspace(0, division.ranks - 1, most - 2).astype(int)
    ends = division.weights.argmin(), division.weights.argmax()
    return np.unique(np.concatenate((even, ends)))


def _boxes(division: Division, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates of each rank's atoms, (ranks, 3) both."""
    coordinates = frame.wrap(division.system.positions)[0]
    low, high = np.full((2, division.ranks, 3), np.nan)
    order = np.argsort(division.owners, kind="stable")
    ranks, starts = np.unique(division.owners[order], return_index=True)
    low[ranks] = np.minimum.reduceat(coordinates[order], starts)
    high[ranks] = np.maximum.reduceat(coordinates[order], starts)
    return low, high


class _Surroundings:
    """Finds the ranks near a rank, so that its pairs are looked for among their atoms alone."""

    def __init__(self, division: Division) -> None:
        self._division = division
        self._frame = Frame(division.system.cell, division.system.pbc)
        self._low, self._high = _boxes(division, self._frame)
        self._order = np.argsort(division.owners, kind="stable")
        sizes = np.bincount(division.owners, minlength=division.ranks)
        self._starts = np.concatenate(([0], np.cumsum(sizes)))

    def near(self, rank: int, reach: float) -> tuple[System, np.ndarray]:
        """Atoms of all ranks that a rank may meet, and their owners."""
        margin = (reach + 1e-3) / self._frame.heights
        up = self._low - self._high[rank] - margin  # not positive: they begin before it ends
        down = self._low[rank] - self._high - margin
        meets = (up <= 0) & (down <= 0)
        around = (up - 1 <= 0) & (down + 1 <= 0), (up + 1 <= 0) & (down - 1 <= 0)
        meets |= self._frame.pbc & (around[0] | around[1])
        ranks = np.flatnonzero(meets.all(axis=1))
        spans = [self._order[self._starts[k] : self._starts[k + 1]] for k in ranks]
        chosen = np.concatenate(spans) if spans else np.zeros(0, dtype=np.int64)
        whole = self._division.system
        system = whole._replace(
            positions=whole.positions[chosen], atomic_numbers=whole.atomic_numbers[chosen]
        )
        return system, self._division.owners[chosen]
