# SPDX-License-Identifier: MIT
"""Derivatives of a calculator's energy, and its fastest vibration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.units import fs

RATTLE = 0.05  # angstrom: at rest, forces are too small to be compared
SHIFT = 0.02  # angstrom, along the unit vector of all forces
STRAIN = 2e-3
FARTHEST = 0.02  # angstrom: what an atom is moved by for second derivatives
VECTORS = 12  # of Lanczos, after which the highest frequency is within a few percent


def slope_error(atoms: Atoms) -> tuple[float, float]:
    """Slope of the energy along the forces, by forces and by finite differences.

    Parameters
    ----------
    atoms
        With a calculator; they are moved and put back.

    Returns
    -------
    float, float
        The norm of all forces, and the central difference, eV/angstrom. Atoms are rattled first.
    """
    rest = atoms.positions.copy()
    rng = np.random.default_rng(7)
    try:
        atoms.positions = rest + rng.normal(scale=RATTLE, size=rest.shape)
        start, forces = atoms.positions.copy(), atoms.get_forces()
        norm = float(np.linalg.norm(forces))
        direction = forces / max(norm, 1e-300)
        energies = []
        for side in (-1, 1):
            atoms.positions = start - side * SHIFT * direction
            energies.append(atoms.get_potential_energy())
        return norm, float((energies[1] - energies[0]) / (2 * SHIFT))
    finally:
        atoms.positions = rest


def pressure_error(atoms: Atoms) -> tuple[float, float]:
    """Pressure times volume, by the stress and by finite differences.

    Parameters
    ----------
    atoms
        Periodic in all directions, with a calculator; strained and put back.

    Returns
    -------
    float, float
        A third of the trace of the virial, and the central difference by volume, eV.
    """
    cell, rest = atoms.cell.array.copy(), atoms.positions.copy()
    try:
        virial = -atoms.get_stress()[:3].mean() * atoms.get_volume()
        energies = []
        for side in (-1, 1):
            atoms.set_cell(cell * (1 + side * STRAIN), scale_atoms=True)
            energies.append(atoms.get_potential_energy())
        return float(virial), float((energies[0] - energies[1]) / (2 * STRAIN) / 3)
    finally:
        atoms.set_cell(cell)
        atoms.positions = rest


def fastest_vibration(atoms: Atoms) -> float:
    """Period of the fastest vibration, fs, from the largest eigenvalue of the dynamical matrix.

    Lanczos's method, with the matrix applied by finite differences of forces: a dozen force calls
    for any number of atoms.

    Parameters
    ----------
    atoms
        With a calculator; they are moved and put back.

    Returns
    -------
    float
        Infinity where nothing vibrates.
    """
    rest, weights = atoms.positions.copy(), np.sqrt(atoms.get_masses())[:, None]
    forces = atoms.get_forces()

    def apply(vector: np.ndarray) -> np.ndarray:
        shift = FARTHEST / np.abs(vector / weights).max()
        atoms.positions = rest + shift * vector / weights
        return np.asarray((forces - atoms.get_forces()) / weights / shift)

    start = np.random.default_rng(3).normal(size=rest.shape) / weights
    try:
        largest = largest_eigenvalue(apply, start)
    finally:
        atoms.positions = rest
    return float(2 * np.pi / np.sqrt(largest) / fs) if largest > 1e-6 else float("inf")


def largest_eigenvalue(apply: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> float:
    """Largest eigenvalue of a symmetric map, by Lanczos's method from a start vector."""
    basis = [start / np.linalg.norm(start)]
    steps = min(VECTORS, start.size)
    diagonal, beside = [], []
    for _ in range(steps):
        image = apply(basis[-1])
        diagonal.append(float(np.vdot(basis[-1], image)))
        for vector in (*basis, *basis):  # twice, so that rounding does no harm
            image = image - np.vdot(vector, image) * vector
        norm = float(np.linalg.norm(image))
        if norm <= 1e-6 * max(map(abs, diagonal)):
            break
        beside.append(norm)
        basis.append(image / norm)
    beside = beside[: len(diagonal) - 1]
    small = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    return float(np.linalg.eigvalsh(small)[-1])
