# SPDX-License-Identifier: MIT
"""What a model says of whole systems, from the gradients of single edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase.cell import Cell
from ase.stress import full_3x3_to_voigt_6_stress

from uma_md.graph import Graph, add_rows


class Properties(NamedTuple):
    """Energies, forces and virials of systems side by side, atoms counted through all of them.

    Attributes
    ----------
    energies : (atoms,), eV
        Element references included.
    forces : (atoms, 3), eV/angstrom
    virials : (systems, 3, 3), eV
        -dE/dstrain.
    members
        What each member of a committee gives, of which this is the mean; empty for one model.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray
    members: tuple[Properties, ...] = ()


def joined(parts: Sequence[Properties]) -> Properties:
    """Properties of systems side by side, from those of some of them after the other."""
    energies, forces, virials = zip(*(part[:3] for part in parts), strict=True)
    members = zip(*(part.members for part in parts), strict=True)
    return Properties(
        np.concatenate(energies),
        np.concatenate(forces),
        np.concatenate(virials),
        tuple(map(joined, members)),
    )


def divided(found: Properties, natoms: Sequence[int]) -> list[Properties]:
    """Properties of each system, in arrays of their own.

    Parameters
    ----------
    found
    natoms : (systems,)
        Atoms of each.
    """
    ends = np.cumsum(natoms)[:-1]
    members = [divided(member, natoms) for member in found.members]
    energies, forces = np.split(found.energies, ends), np.split(found.forces, ends)
    return [
        Properties(
            energies[k].copy(),
            forces[k].copy(),
            found.virials[k : k + 1].copy(),
            tuple(member[k] for member in members),
        )
        for k in range(len(natoms))
    ]


def in_rows(found: Properties, systems: int) -> np.ndarray:
    """All numbers of systems of equal size, those of a system in a row."""
    own = np.hstack([part.reshape(systems, -1) for part in found[:3]])
    return np.hstack([own, *(in_rows(member, systems) for member in found.members)])


def from_rows(rows: np.ndarray, natoms: int) -> Properties:
    """The inverse of ``in_rows``, for systems of so many atoms."""
    own, rest = np.split(rows, [4 * natoms + 9], axis=1)
    members = np.split(rest, rest.shape[1] // own.shape[1], axis=1) if rest.shape[1] else []
    energies, forces, virials = np.split(own, [natoms, 4 * natoms], axis=1)
    return Properties(
        energies.ravel(),
        forces.reshape(-1, 3),
        virials.reshape(-1, 3, 3),
        tuple(from_rows(member, natoms) for member in members),
    )


def atomic_forces(graph: Graph, gradients: torch.Tensor) -> torch.Tensor:
    """Forces on all rows of a graph, (rows, 3), eV/angstrom, float64.

    An edge's gradient g = dE/dv pulls its receiver by g and its sender by -g. Rows
    of remote atoms hold what is to be added to their owners' forces.
    """
    pull = gradients.double()
    forces = torch.zeros((len(graph.atomic_numbers), 3), dtype=pull.dtype, device=pull.device)
    add_rows(forces, graph.receivers, pull)
    return add_rows(forces, graph.senders, -pull)


def virials(graph: Graph, gradients: torch.Tensor) -> torch.Tensor:
    """Virial of each system, -dE/dstrain, (systems, 3, 3), eV, float64."""
    vectors, pull = graph.vectors.double(), gradients.double()
    if len(graph.natoms) == 1:
        return -(vectors.t() @ pull).unsqueeze(0)
    products = -vectors.unsqueeze(2) * pull.unsqueeze(1)
    sums = torch.zeros((len(graph.natoms), 3, 3), dtype=products.dtype, device=products.device)
    return add_rows(sums, graph.systems.index_select(0, graph.receivers), products)


def ase_stress(virial: np.ndarray, cell: Cell) -> np.ndarray | None:
    """Stress in ASE's order and sign, (6,), eV/angstrom^3.

    Parameters
    ----------
    virial : (3, 3), eV
    cell
        None is returned for one without three independent vectors, which has no volume.
    """
    if np.linalg.matrix_rank(cell.array) < 3:
        return None
    return full_3x3_to_voigt_6_stress(-0.5 * (virial + virial.T) / cell.volume)


def read(energies: torch.Tensor, forces: torch.Tensor, virials: torch.Tensor) -> Properties:
    """Bring results of a device to the host, in one copy."""
    parts = energies, forces, virials
    found = torch.cat([part.flatten() for part in parts]).cpu()
    flat = found.split([part.numel() for part in parts])
    return Properties(
        *(one.view(part.shape).numpy() for one, part in zip(flat, parts, strict=True))
    )
