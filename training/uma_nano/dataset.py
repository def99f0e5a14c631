# SPDX-License-Identifier: MIT
"""Labelled structures: what one is, and folders of them, one file per family."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

TASKS = ("omol", "omat", "oc20")
UPPER = np.triu_indices(3)
SYMMETRIC = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])  # where each element is among the upper


@dataclass(frozen=True)
class Labelled:
    """A structure with its teacher's energy and forces.

    Attributes
    ----------
    atoms
        With ``charge`` and ``spin`` in ``info``.
    task
        One of ``TASKS``.
    family
        What kind of system it is, such as ``liquid water``; of one task.
    trajectory
        Number of the run that it comes from: runs are held out whole.
    energy : eV
    forces : (atoms, 3), eV/angstrom
    virial : (3, 3), eV
        The negative derivative of the energy by strain; NaN where the system is not periodic.
    """

    atoms: Atoms
    task: str
    family: str
    trajectory: int
    energy: float
    forces: np.ndarray
    virial: np.ndarray


def add(folder: Path, data: Iterable[Labelled]) -> None:
    """Append structures to the files of their families in a folder, one process at a time.

    Raises
    ------
    ValueError
        When a family's file holds one of its structures already.
    """
    families: dict[str, list[Labelled]] = defaultdict(list)
    for item in data:
        families[item.family].append(item)
    folder.mkdir(parents=True, exist_ok=True)
    for family, items in families.items():
        path = family_file(folder, family)
        old = load(path) if path.exists() else []
        if _names(old) & _names(items):
            raise ValueError(
                f"structures must be new, {path} holds some of them: take another draw"
            )
        save(path, old + items)


def _names(data: list[Labelled]) -> set[tuple[int, float]]:
    return {(item.trajectory, item.energy) for item in data}


def family_file(folder: Path, family: str) -> Path:
    """The file of a family in a folder."""
    return folder / f"{family.replace(' ', '-')}.npz"


def save(path: Path, data: list[Labelled]) -> None:
    """Write the structures of one family to a compressed numpy file.

    Positions and forces are in float32. The bytes of numbers are sorted by their significance:
    those that say sign and size compress, those of the last digits do not.
    """
    ((task, family),) = {(item.task, item.family) for item in data}
    virials = np.array([item.virial for item in data])
    arrays = {
        "task": np.array(task),
        "family": np.array(family),
        "natoms": np.array([len(item.atoms) for item in data], dtype=np.int32),
        "numbers": np.concatenate([item.atoms.numbers for item in data]).astype(np.uint8),
        "positions": _planes(np.concatenate([item.atoms.positions for item in data]), "<f4"),
        "forces": _planes(np.concatenate([item.forces for item in data]), "<f4"),
        "cells": np.array([item.atoms.cell.array for item in data]),
        "pbc": np.array([item.atoms.pbc for item in data]),
        "charges": np.array([item.atoms.info["charge"] for item in data], dtype=np.int8),
        "spins": np.array([item.atoms.info["spin"] for item in data], dtype=np.int8),
        "trajectories": np.array([item.trajectory for item in data], dtype=np.int32),
        "virials": _planes(virials[:, UPPER[0], UPPER[1]], "<f8"),
        "energies": _planes(np.array([[item.energy] for item in data]), "<f8"),
    }
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    part.replace(path)


def load(path: Path, held_out: bool | None = None) -> list[Labelled]:
    """Read the structures of a file: all, or the held-out ones, or those to learn."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    positions, forces = (_numbers(arrays[name], "<f4") for name in ("positions", "forces"))
    energies, virials = (_numbers(arrays[name], "<f8") for name in ("energies", "virials"))
    data = []
    for k, end in enumerate(np.cumsum(arrays["natoms"])):
        if held_out not in (None, _is_held_out(arrays["trajectories"][k])):
            continue
        rows = slice(end - arrays["natoms"][k], end)
        atoms = Atoms(
            numbers=arrays["numbers"][rows],
            positions=positions[rows],
            cell=arrays["cells"][k],
            pbc=arrays["pbc"][k],
            info={"charge": int(arrays["charges"][k]), "spin": int(arrays["spins"][k])},
        )
        data.append(
            Labelled(
                atoms,
                str(arrays["task"]),
                str(arrays["family"]),
                int(arrays["trajectories"][k]),
                float(energies[k, 0]),
                forces[rows].astype(np.float64),
                virials[k][SYMMETRIC],
            )
        )
    return data


def _planes(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """The bytes of numbers (rows, columns), as (bytes of a number, columns, rows)."""
    columns = np.ascontiguousarray(numbers.T, dtype=dtype)[..., None]
    return np.ascontiguousarray(np.moveaxis(columns.view(np.uint8), -1, 0))


def _numbers(planes: np.ndarray, dtype: str) -> np.ndarray:
    """What ``_planes`` was made from."""
    columns = np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view(dtype)
    return np.ascontiguousarray(columns[..., 0].T)


def load_folder(folder: Path, held_out: bool | None = None) -> list[Labelled]:
    """Read the structures of all families in a folder, as ``load`` does."""
    return [item for path in sorted(folder.glob("*.npz")) for item in load(path, held_out)]


def is_held_out(item: Labelled) -> bool:
    """Whether a structure's trajectory belongs to the held-out tenth."""
    return _is_held_out(item.trajectory)


def _is_held_out(trajectory: int) -> bool:
    return bool(trajectory % 10 == 7)
