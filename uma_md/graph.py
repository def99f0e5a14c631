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
    senders, receivers : (edges,) int32 on CPUs, else int64
        Rows of the atoms at both ends.
    atomic_numbers : (rows,)
        Of owned and remote atoms.
    systems : (owned,)
        The system that each owned atom belongs to.
    natoms : (systems,)
        Atoms of each whole system, over all ranks.
    num_inner
        Edges that come first and whose senders are owned, too, the others' not: they need no row
        of another rank. Negative where edges are not told apart.
    """

    vectors: torch.Tensor
    senders: torch.Tensor
    receivers: torch.Tensor
    atomic_numbers: torch.Tensor
    systems: torch.Tensor
    natoms: torch.Tensor
    num_inner: int = -1


class Edges(NamedTuple):
    """Pairs of rows that are edges, or may become edges.

    Attributes
    ----------
    vectors : (edges, 3), angstrom, float64
        From receiver to sender.
    senders, receivers : (edges,) int32 on CPUs, else int64
        Rows of the atoms at both ends.
    """

    vectors: torch.Tensor
    senders: torch.Tensor
    receivers: torch.Tensor


class Limits(NamedTuple):
    """What a model was made for.

    Attributes
    ----------
    cutoff
        angstrom.
    max_neighbors
        Of one atom; fairchem-core would drop those beyond.
    """

    cutoff: float
    max_neighbors: int


def check_edges(
    edges: Edges,
    nearest: torch.Tensor,
    neighbors: torch.Tensor,
    atoms: torch.Tensor,
    limits: Limits,
) -> None:
    """Refuse graphs that the model was not made for; waits for the device once.

    Parameters
    ----------
    edges
        At least one.
    nearest : (numbers,), angstrom**2
        Squared distances, the least of all edges among them.
    neighbors : (owned,)
        Edges of each receiver.
    atoms : (owned,)
        Number of each owned row's atom in its structure, for messages.
    limits

    Raises
    ------
    ValueError
        When two atoms are at the same position, or an atom has too many neighbors.
    """
    least, most = torch.stack((nearest.min(), neighbors.max().double())).tolist()
    if least == 0:
        distances = torch.linalg.vector_norm(edges.vectors, dim=1)
        first = edges.receivers[distances.argmin()]
        raise ValueError(
            f"atoms must be apart, found two at the same position: atom {int(atoms[first])}"
        )
    if most > limits.max_neighbors:
        raise ValueError(
            f"an atom must have at most {limits.max_neighbors} neighbors within {limits.cutoff} "
            f"angstrom, as in the model's training, found {int(most)}: check the density of the "
            "structure"
        )


def add_rows(target: torch.Tensor, index: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Add rows to those of ``target`` that ``index`` names, in the same order in every run.

    ``index_add_`` has an order on CPUs alone.
    """
    if target.device.type == "cpu":
        return target.index_add_(0, index, rows)
    return target.index_put_((index,), rows, accumulate=True)
