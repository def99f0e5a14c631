# SPDX-License-Identifier: MIT
"""Atoms and edges as the model sees them."""

from __future__ import annotations

from typing import NamedTuple

import torch


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


class Edges(NamedTuple):
    """Pairs of rows that are edges, or may become edges.

    Attributes
    ----------
    vectors : (edges, 3), angstrom, float64
        From receiver to sender.
    senders, receivers : (edges,)
        Rows of the atoms at both ends.
    """

    vectors: torch.Tensor
    senders: torch.Tensor
    receivers: torch.Tensor


def select_edges(
    candidates: Edges, atoms: torch.Tensor, cutoff: float, max_neighbors: int
) -> Edges:
    """The candidates within the cutoff.

    Parameters
    ----------
    candidates
    atoms : (owned,)
        Number of each owned row's atom in its structure, for messages.
    cutoff
        angstrom.
    max_neighbors
        More neighbors than this are an error: fairchem-core would drop some.

    Raises
    ------
    ValueError
        When two atoms are at the same position, or an atom has too many neighbors.
    """
    distances = torch.linalg.vector_norm(candidates.vectors, dim=1)
    near = (distances < cutoff).nonzero().squeeze(1)
    edges = Edges(*(part.index_select(0, near) for part in candidates))
    if not bool((distances > 0).all()):
        first = candidates.receivers[distances == 0][0]
        raise ValueError(
            f"atoms must be apart, found two at the same position: atom {int(atoms[first])}"
        )
    most = int(torch.bincount(edges.receivers, minlength=1).max())
    if most > max_neighbors:
        raise ValueError(
            f"an atom must have at most {max_neighbors} neighbors within {cutoff} angstrom, as "
            f"in the model's training, found {most}: check the density of the structure"
        )
    return edges
