# SPDX-License-Identifier: MIT
"""Second derivatives of the energy, from forces on displaced structures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from ase import Atoms

from uma_md.properties import Properties
from uma_md.system import System

STEPS = {"float32": 5e-3, "float64": 2e-5}  # angstrom: larger ones are less exact, smaller noisy
MOST_STEP = 0.1  # angstrom

Indices = Sequence[int] | np.ndarray
Evaluate = Callable[[Iterable[System]], Iterator[Properties | ValueError]]


def hessian(system: System, moving: np.ndarray, step: float, evaluate: Evaluate) -> np.ndarray:
    """Central differences of the forces, symmetrized, (3 moving, 3 moving), eV/angstrom^2.

    Parameters
    ----------
    system
    moving : (moving,)
        Numbers of the atoms that are displaced.
    step
        angstrom, to both sides. What is divided by is the distance of the two positions as they
        are rounded.
    evaluate
        Gives properties of systems in their order.

    Raises
    ------
    ValueError
        When a displaced structure cannot be evaluated.
    """
    found = evaluate(_displaced(system, moving, step))
    rows = np.empty((3 * len(moving), 3 * len(moving)))
    for row, (ahead, behind) in enumerate(zip(found, found, strict=True)):
        atom, axis = moving[row // 3], row % 3
        here = system.positions[atom, axis]
        forces = [_forces(side)[moving].ravel() for side in (ahead, behind)]
        rows[row] = (forces[1] - forces[0]) / ((here + step) - (here - step))
    return 0.5 * (rows + rows.T)


def moving_atoms(atoms: Atoms, indices: Indices | None) -> np.ndarray:
    """Numbers of the atoms to displace: those given, or all that no constraint holds.

    Raises
    ------
    ValueError
        When there are none, one is given twice, or is no atom of the structure.
    """
    from ase.vibrations.data import VibrationsData  # takes seconds to import

    chosen = VibrationsData.indices_from_constraints(atoms) if indices is None else indices
    moving = np.asarray(chosen)
    whole = moving.ndim == 1 and (moving.size == 0 or np.issubdtype(moving.dtype, np.integer))
    if not whole or len(np.unique(moving)) < len(moving) or not len(moving):
        raise ValueError(
            f"indices must be different numbers of atoms, at least one, found {chosen!r}"
        )
    if moving.min() < 0 or moving.max() >= len(atoms):
        raise ValueError(f"indices must be 0 to {len(atoms) - 1}, found {chosen!r}")
    return moving


def check_step(step: float | None, dtype: str) -> float:
    """The step to take, angstrom; by default that of the model's dtype.

    Raises
    ------
    ValueError
        When it is not between 0 and 0.1 angstrom.
    """
    if step is None:
        return STEPS[dtype]
    if not 0 < step <= MOST_STEP:
        raise ValueError(f"step must be above 0 and at most {MOST_STEP} angstrom, found {step}")
    return float(step)


def _displaced(system: System, moving: np.ndarray, step: float) -> Iterator[System]:
    """The structure with one coordinate ahead by a step, then behind, one after another."""
    for atom in moving:
        for axis in range(3):
            for signed in (step, -step):
                positions = system.positions.copy()
                positions[atom, axis] += signed
                yield system._replace(positions=positions)


def _forces(found: Properties | ValueError) -> np.ndarray:
    if isinstance(found, ValueError):
        raise found
    return found.forces
