# SPDX-License-Identifier: MIT
"""The system that a model serves: what it consists of, its charge and spin, its cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from uma_md.config import CHARGE_RANGE, SPIN_RANGE, check_integer
from uma_md.options import RunOptions

FARTHEST = 1e9  # angstrom: float64 numbers beyond are more than 1e-7 apart


class System(NamedTuple):
    """A structure as every rank knows it.

    Attributes
    ----------
    positions : (atoms, 3), angstrom
        May lie outside the cell.
    cell : (3, 3), angstrom
        Rows are cell vectors; those along open directions are free.
    pbc : (3,)
        Which cell vectors repeat.
    atomic_numbers : (atoms,)
    """

    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    atomic_numbers: np.ndarray


def system_of(atoms: Atoms) -> System:
    """A structure's part that decides energy and forces, but for charge and spin."""
    return System(atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)


def count_elements(atomic_numbers: Sequence[int] | np.ndarray) -> dict[str, int]:
    """Atoms per element symbol."""
    numbers, counts = np.unique(np.asarray(atomic_numbers, dtype=int), return_counts=True)
    return {chemical_symbols[z]: int(n) for z, n in zip(numbers, counts, strict=True)}


def formula(counts: Mapping[str, int]) -> str:
    """Counts of elements as a formula, such as H64O32."""
    return "".join(f"{symbol}{count}" for symbol, count in sorted(counts.items())) or "no atoms"


def default_spin(task: str) -> int:
    """Spin multiplicity where none is given: 1 for omol, 0 (not told) for the other tasks."""
    return 1 if task == "omol" else 0


def check_charge_spin(charge: Any, spin: Any) -> tuple[int, int]:
    """Total charge and spin multiplicity as ints in the range that the models know.

    Raises
    ------
    TypeError
        When one is not an integer.
    ValueError
        When one is out of range.
    """
    return check_integer("charge", charge, CHARGE_RANGE), check_integer("spin", spin, SPIN_RANGE)


def unread_moments(atoms: Atoms, options: RunOptions) -> list[str]:
    """What a structure says of charges and spins that is not read, and what to give instead.

    The models know totals of the whole system. Charges and magnetic moments of atoms may be
    guesses to start from, as ASE's are for iron, so totals are not taken from them.
    """
    sentences = []
    for name, kind, moments, example in (
        ("charge", "charges", atoms.get_initial_charges(), "the total charge in e"),
        ("spin", "magnetic moments", atoms.get_initial_magnetic_moments(), "2S+1"),
    ):
        if moments.any() and getattr(options, name) is None and name not in atoms.info:
            sentences.append(
                f"initial {kind} of atoms are not read: give {example} as {name!r} in the "
                f"structure's info or as an option"
            )
    return sentences


def check_geometry(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
    """Refuse positions and cells that no model can serve.

    Parameters
    ----------
    positions : (atoms, 3), angstrom
    cell : (3, 3), angstrom
        Rows are cell vectors; those along open directions are free.
    pbc : (3,)

    Raises
    ------
    ValueError
        When there are no atoms, a number is not finite or too large, or the cell has no volume
        along its periodic directions.
    """
    if len(positions) == 0:
        raise ValueError("the structure must have atoms, found none")
    check_finite_geometry(positions, cell)
    check_cell_vectors(cell, pbc)
    if np.any(pbc) and np.linalg.matrix_rank(cell[pbc]) < np.sum(pbc):
        raise ValueError(
            "cell vectors of periodic directions must be independent, found some in one plane "
            "or on one line: check the cell"
        )


def check_finite_geometry(positions: np.ndarray, cell: np.ndarray) -> None:
    """Refuse NaN, infinity and what is too far away, in positions and cells of any shape."""
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise ValueError(
            "positions and cell must be finite, found NaN or infinity: check for overlapping "
            "atoms and the time step"
        )
    for name, lengths in (("positions", positions), ("cell vectors", cell)):
        largest = np.abs(lengths).max(initial=0)
        if largest > FARTHEST:
            raise ValueError(
                f"{name} must be within {FARTHEST:g} angstrom, where float64 tells distances "
                f"apart, found {largest:g}: wrap the atoms into the cell, and check the time step"
            )


def check_cell_vectors(cell: np.ndarray, pbc: np.ndarray) -> None:
    """Refuse periodic directions without a cell vector."""
    for axis in np.flatnonzero(pbc):
        if not cell[axis].any():
            raise ValueError(
                f"a periodic direction needs a cell vector, found none along {'abc'[axis]}"
            )


def check_finite_results(*results: np.ndarray) -> None:
    """Refuse what a broken model or a broken device gives."""
    if not all(np.isfinite(array).all() for array in results):
        raise ValueError(
            "energy and forces must be finite, the model gave NaN or infinity: check for "
            "overlapping atoms and the time step"
        )
