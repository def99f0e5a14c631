# SPDX-License-Identifier: MIT
"""Labelled structures: what one is, and files of many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

TASKS = ("omol", "omat", "oc20")


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
        What kind of structure it is, such as ``liquid water``.
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


def save(path: str | Path, data: Iterable[Labelled]) -> None:
    """Write structures to a compressed numpy file, positions and forces in float32."""
    data = list(data)
    arrays = {
        "natoms": np.array([len(item.atoms) for item in data], dtype=np.int32),
        "numbers": np.concatenate([item.atoms.numbers for item in data]).astype(np.uint8),
        "positions": np.concatenate([item.atoms.positions for item in data]).astype(np.float32),
        "forces": np.concatenate([item.forces for item in data]).astype(np.float32),
        "cells": np.array([item.atoms.cell.array for item in data]),
        "pbc": np.array([item.atoms.pbc for item in data]),
        "charges": np.array([item.atoms.info["charge"] for item in data], dtype=np.int8),
        "spins": np.array([item.atoms.info["spin"] for item in data], dtype=np.int8),
        "tasks": np.array([item.task for item in data]),
        "families": np.array([item.family for item in data]),
        "trajectories": np.array([item.trajectory for item in data], dtype=np.int64),
        "virials": np.array([item.virial for item in data]),
        "energies": np.array([item.energy for item in data]),
    }
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load(path: str | Path) -> list[Labelled]:
    """Read structures that ``save`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    ends = np.cumsum(arrays["natoms"])
    data = []
    for k, end in enumerate(ends):
        rows = slice(end - arrays["natoms"][k], end)
        atoms = Atoms(
            numbers=arrays["numbers"][rows],
            positions=arrays["positions"][rows],
            cell=arrays["cells"][k],
            pbc=arrays["pbc"][k],
            info={"charge": int(arrays["charges"][k]), "spin": int(arrays["spins"][k])},
        )
        data.append(
            Labelled(
                atoms,
                str(arrays["tasks"][k]),
                str(arrays["families"][k]),
                int(arrays["trajectories"][k]),
                float(arrays["energies"][k]),
                arrays["forces"][rows].astype(np.float64),
                arrays["virials"][k],
            )
        )
    return data


def load_folder(folder: Path) -> list[Labelled]:
    """Read the structures of all files in a folder."""
    return [item for path in sorted(folder.glob("*.npz")) for item in load(path)]


def is_held_out(item: Labelled) -> bool:
    """Whether a structure's trajectory belongs to the held-out tenth."""
    return item.trajectory % 10 == 7
