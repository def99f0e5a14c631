# SPDX-License-Identifier: MIT
"""Structures of any size: cells that repeat, and particles cut from a lattice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from ase import Atoms
from ase.build import fcc111, molecule

from uma_md.files.structures import read_structure
from uma_md.frame import Frame
from uma_md.system import System, check_geometry

WATER_DENSITY = 0.997 / 18.015 * 0.602214076  # molecules per cubic angstrom
COPPER = 3.61  # angstrom: the lattice constant
VACUUM = 8.0  # angstrom without atoms: a direction with such a gap is not repeated
LARGEST_CELL = 300_000  # atoms: larger structures repeat
BYTES_PER_ATOM = 150  # that building and dividing a structure takes


class Repeated(NamedTuple):
    """A cell, so many times along each of its vectors.

    Attributes
    ----------
    base
        Wrapped into its cell.
    replicas : (3,) int64
        1 along open directions, and along those with vacuum.
    """

    base: System
    replicas: np.ndarray

    @property
    def natoms(self) -> int:
        """Number of atoms."""
        return len(self.base.positions) * int(self.replicas.prod())

    @property
    def frame(self) -> Frame:
        """Of the whole."""
        return Frame(self.base.cell * self.replicas[:, np.newaxis], self.base.pbc)

    def build(self) -> System:
        """All of its atoms, cell by cell, along the last vector first."""
        _check_memory(self.natoms)
        steps = np.stack(np.meshgrid(*map(np.arange, self.replicas), indexing="ij"), axis=-1)
        shifts = steps.reshape(-1, 3) @ self.base.cell
        positions = (shifts[:, np.newaxis] + self.base.positions).reshape(-1, 3)
        cell = self.base.cell * self.replicas[:, np.newaxis]
        return System(
            positions, cell, self.base.pbc, np.tile(self.base.atomic_numbers, len(shifts))
        )

    def extents(self) -> np.ndarray:
        """Between the first and the last atom across each pair of cell vectors, (3,), angstrom."""
        frame = Frame(self.base.cell, self.base.pbc)
        spread = np.ptp(frame.coordinates(self.base.positions), axis=0)
        return np.asarray((self.replicas - 1 + spread) * frame.heights)

    def box(self) -> np.ndarray:
        """Vectors that hold the atoms, (3, 3), angstrom: open directions as long as these need."""
        frame = self.frame
        return frame.vectors * np.where(frame.pbc, 1.0, self.extents() / frame.heights)[:, None]

    def sized(self, natoms: float) -> Repeated:
        """About so many atoms, as close to a cube as the directions that repeat allow.

        Repetitions are 1 to 7 times a power of two, so that halves repeat, too.
        """
        free = repeatable(self.base)
        heights = Frame(self.base.cell, self.base.pbc).heights[free]
        copies = natoms / len(self.base.positions)
        side = (copies * heights.prod()) ** (1 / max(len(heights), 1))
        best = self._replace(replicas=np.ones(3, dtype=np.int64))
        for counts in product(*map(_counts_near, side / heights)):
            replicas = np.ones(3, dtype=np.int64)
            replicas[free] = counts
            other = self._replace(replicas=replicas)
            if abs(np.log(other.natoms / natoms)) < abs(np.log(best.natoms / natoms)):
                best = other
        return best

    def doubled(self) -> Repeated:
        """Twice as many, along the shortest side that can repeat."""
        axis = np.where(repeatable(self.base), self.frame.heights, np.inf).argmin()
        replicas = self.replicas.copy()
        replicas[axis] *= 2
        return self._replace(replicas=replicas)


class Particle(NamedTuple):
    """A sphere of face-centered cubic copper, in vacuum.

    Attributes
    ----------
    radius
        angstrom.
    natoms
    """

    radius: float
    natoms: int

    def build(self) -> System:
        """All of its atoms."""
        _check_memory(self.natoms)
        points = np.concatenate(list(_layers(self.radius)))
        numbers = np.full(len(points), 29)
        return System(points, np.zeros((3, 3)), np.zeros(3, dtype=bool), numbers)

    @classmethod
    def of(cls, natoms: float) -> Particle:
        """One of about so many atoms.

        Raises
        ------
        ValueError
            When they do not fit into memory.
        """
        _check_memory(natoms)
        radius = float((natoms * COPPER**3 / 4 / (4 / 3 * np.pi)) ** (1 / 3))
        return cls(radius, sum(map(len, _layers(radius))))


Structure = Repeated | Particle


def structure_of(name: str, natoms: float) -> Structure:
    """A structure of about so many atoms.

    Those that are known by name are made of any size, and beyond 300,000 atoms repeat;
    that of a file repeats as it is.

    Parameters
    ----------
    name
        One of ``water`` (liquid), ``slab`` (8 layers of copper in vacuum), ``nanoparticle`` (of
        copper), ``interface`` (copper and water), or a path.
    natoms

    Raises
    ------
    OSError, ValueError
        As ``read_structure`` says, or when the structure of a file cannot repeat.
    """
    if name == "nanoparticle":
        return Particle.of(natoms)
    if name not in BUILDERS:
        return _repeated(read_structure(Path(name))).sized(natoms)
    doublings = max(int(np.ceil(np.log2(natoms / LARGEST_CELL))), 0)
    structure = _repeated(BUILDERS[name](natoms / 2**doublings))
    for _ in range(doublings):
        structure = structure.doubled()
    return structure


def _repeated(atoms: Atoms) -> Repeated:
    """A structure, once."""
    check_geometry(atoms.positions, atoms.cell.array, atoms.pbc)
    frame = Frame(atoms.cell.array, atoms.pbc)
    positions = atoms.positions - frame.wrap(atoms.positions)[1] @ frame.vectors
    base = System(positions, frame.vectors, frame.pbc, atoms.numbers)
    return Repeated(base, np.ones(3, dtype=np.int64))


def repeatable(base: System) -> np.ndarray:
    """Which cell vectors repeat, (3,), and have no stretch without atoms along them."""
    frame = Frame(base.cell, base.pbc)
    along = np.sort(frame.wrap(base.positions)[0], axis=0)
    ends = np.vstack((along, along[:1] + 1))
    gaps = np.diff(ends, axis=0).max(axis=0) * frame.heights
    return np.asarray(frame.pbc & (gaps < VACUUM))


def water(lengths: np.ndarray, molecules: int, seed: int) -> Atoms:
    """Water molecules, rotated at random, on a jittered grid in a periodic box; not relaxed."""
    rng = np.random.default_rng(seed)
    spacing = (np.prod(lengths) / molecules) ** (1 / 3)
    sites = np.ceil(lengths / spacing).astype(int)
    points = np.stack(np.meshgrid(*map(np.arange, sites), indexing="ij"), axis=-1).reshape(-1, 3)
    points = points[rng.permutation(len(points))[:molecules]]
    centers = (points + 0.5) * lengths / sites + rng.normal(scale=0.05, size=points.shape)
    one = molecule("H2O")
    arms = one.positions - one.get_center_of_mass()
    rotations = _rotations(rng.normal(size=(molecules, 4)))
    positions = centers[:, np.newaxis] + np.einsum("mij,aj->mai", rotations, arms)
    numbers = np.tile(one.numbers, molecules)
    return Atoms(numbers, positions.reshape(-1, 3), cell=lengths, pbc=True)


def _rotations(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices, (n, 3, 3), of quaternions of any length (n, 4), real part last."""
    *axis, real = (quaternions / np.linalg.norm(quaternions, axis=1)[:, np.newaxis]).T
    vectors = np.stack(axis, axis=1)
    cross = np.cross(np.eye(3), vectors[:, np.newaxis])  # of a row with the axis
    outer = vectors[:, :, np.newaxis] * vectors[:, np.newaxis]
    scale = (2 * real**2 - 1)[:, np.newaxis, np.newaxis]
    return np.asarray(scale * np.eye(3) + 2 * outer + 2 * real[:, np.newaxis, np.newaxis] * cross)


def _water(natoms: float) -> Atoms:
    molecules = max(round(natoms / 3), 1)
    return water(np.full(3, (molecules / WATER_DENSITY) ** (1 / 3)), molecules, seed=1)


def _copper(columns: float, vacuum: float | None) -> Atoms:
    """Eight layers with about so many columns of atoms."""
    x = max(round(np.sqrt(columns * 0.75**0.5)), 2)
    y = max(2 * round(columns / x / 2), 2)
    layers = fcc111("Cu", (x, y, 8), a=COPPER, orthogonal=True, vacuum=vacuum, periodic=True)
    layers.rattle(0.05, seed=1)
    return layers


def _slab(natoms: float) -> Atoms:
    return _copper(natoms / 8, vacuum=10.0)


def _interface(natoms: float) -> Atoms:
    """Eight layers of copper, and 30 angstrom of water on them."""
    thickness, gap = 30.0, 2.5
    area = COPPER**2 * np.sqrt(3) / 4  # of a column
    metal = _copper(natoms / (8 + 3 * WATER_DENSITY * thickness * area), vacuum=None)
    lengths = np.array([*metal.cell.lengths()[:2], thickness])
    liquid = water(lengths, round(float(np.prod(lengths)) * WATER_DENSITY), seed=2)
    top = float(metal.positions[:, 2].max()) + gap
    liquid.positions[:, 2] += top
    both = metal + liquid
    both.set_cell([*lengths[:2], top + thickness + gap])
    both.pbc = True
    return both


BUILDERS: dict[str, Callable[[float], Atoms]] = {
    "water": _water,
    "slab": _slab,
    "interface": _interface,
}


def _counts_near(ideal: float) -> set[int]:
    """The numbers around one that are 1 to 7 times a power of two."""
    power = 2 ** max(int(np.floor(np.log2(max(ideal, 1)))) - 2, 0)
    below = max(int(ideal / power), 1)
    return {below * power, (below + 1) * power}


def _layers(radius: float) -> Iterator[np.ndarray]:
    """Atoms of a sphere, (atoms, 3), layer by layer across x."""
    most = int(radius / (COPPER / 2)) + 1
    steps = np.arange(-most, most + 1)
    for x in steps:
        y, z = np.meshgrid(steps, steps, indexing="ij")
        points = np.stack((np.full_like(y, x), y, z), axis=-1).reshape(-1, 3)
        points = points[points.sum(axis=1) % 2 == 0] * (COPPER / 2)
        yield points[np.einsum("ij,ij->i", points, points) <= radius**2]


def _check_memory(natoms: float) -> None:
    needed, available = natoms * BYTES_PER_ATOM, psutil.virtual_memory().available
    if needed > available / 2:
        raise ValueError(
            f"a structure must fit into half of the free memory to be divided, found "
            f"{natoms:.0f} atoms, {needed / 1e9:.0f} GB, and {available / 1e9:.0f} GB free: take "
            "fewer atoms, or a structure that repeats and a power of two of ranks, of which a "
            "part is enough"
        )
