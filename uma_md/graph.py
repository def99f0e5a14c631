# SPDX-License-Identifier: MIT
"""Atoms and edges as the model sees them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import vesin


class Graph(NamedTuple):
    """Directed edges from sender j to receiver i, with what the stages need to know of both.

    ``vectors = positions[j] + shift - positions[i]`` for every directed edge with
    0 < |vector| < cutoff whose receiver this rank owns. Rows of atoms that other ranks own
    come after the owned rows.

    Attributes
    ----------
    vectors : (edges, 3), angstrom
    senders, receivers : (edges,)
        Rows of the atoms at both ends.
    atomic_numbers : (rows,)
        Of owned and remote atoms.
    systems : (owned,)
        The system that each owned atom belongs to.
    natoms : (systems,)
        Atoms of each whole system, over all ranks.
    """

    vectors: torch.Tensor
    senders: torch.Tensor
    receivers: torch.Tensor
    atomic_numbers: torch.Tensor
    systems: torch.Tensor
    natoms: torch.Tensor


def build_graph(
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    atomic_numbers: np.ndarray,
    cutoff: float,
    max_neighbors: int,
) -> Graph:
    """Find the edges of one system, in float64 on the CPU.

    Parameters
    ----------
    positions : (atoms, 3), angstrom
        May lie outside the cell.
    cell : (3, 3), angstrom
        Rows are cell vectors; those along open directions are free.
    pbc : (3,)
        Which cell vectors repeat.
    atomic_numbers : (atoms,)
    cutoff
        angstrom.
    max_neighbors
        More neighbors than this are an error: fairchem-core would drop some.

    Raises
    ------
    ValueError
        When two atoms are at one place, or an atom has too many neighbors.
    """
    neighbors = vesin.NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    receivers, senders, vectors, distances = neighbors.compute(
        np.ascontiguousarray(positions, dtype=np.float64),
        np.ascontiguousarray(cell, dtype=np.float64),
        np.asarray(pbc, dtype=bool),
        quantities="ijDd",
    )
    inside = distances < cutoff
    receivers, senders, vectors = receivers[inside], senders[inside], vectors[inside]
    check_apart(receivers[distances[inside] == 0])
    check_neighbors(np.bincount(receivers.astype(np.int64), minlength=1), cutoff, max_neighbors)
    count = len(positions)
    return Graph(
        vectors=torch.from_numpy(vectors),
        senders=torch.from_numpy(senders.astype(np.int64)),
        receivers=torch.from_numpy(receivers.astype(np.int64)),
        atomic_numbers=torch.from_numpy(np.asarray(atomic_numbers, dtype=np.int64)),
        systems=torch.zeros(count, dtype=torch.int64),
        natoms=torch.tensor([count]),
    )


def check_apart(touching: np.ndarray) -> None:
    """Refuse atoms at one place; ``touching`` are the receivers of edges without length."""
    if len(touching) > 0:
        raise ValueError(f"atoms must be apart, found two at one place: atom {touching[0]}")


def check_neighbors(counts: np.ndarray, cutoff: float, max_neighbors: int) -> None:
    """Refuse atoms with more neighbors than the model was trained for."""
    if counts.max(initial=0) > max_neighbors:
        raise ValueError(
            f"an atom must have at most {max_neighbors} neighbors within {cutoff} angstrom, as "
            f"in the model's training, found {counts.max()}: is the structure too dense?"
        )
