# SPDX-License-Identifier: MIT
"""Sizes and conventions of a network, and the limits of what it can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import Any

# Total charge (e) and spin multiplicity that have rows in the tables of embeddings.
CHARGE_RANGE = (-100, 100)
SPIN_RANGE = (0, 100)
LONGEST_CUTOFF = 100.0  # angstrom


def num_integers(limits: tuple[int, int]) -> int:
    """How many integers there are within limits, both included."""
    return limits[1] - limits[0] + 1


def check_integer(name: str, value: Any, limits: tuple[int, int]) -> int:
    """An integer within limits, or the error that names it.

    Whole numbers of any kind are integers, such as 0.0 and numpy's scalars and arrays without
    dimensions; True, text and None are not.
    """
    low, high = limits
    number: Any = value.item() if getattr(value, "ndim", None) == 0 else value
    is_number = isinstance(number, Real) and not isinstance(number, bool)
    if not is_number or number % 1 != 0:
        raise TypeError(f"{name} must be an integer, found {value!r}")
    if not low <= number <= high:
        raise ValueError(f"{name} must be {low} to {high}, found {value}")
    return int(number)


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and conventions of one network, UMA or eSEN, which has no experts.

    Attributes
    ----------
    model_id
        Name of the generation, ``UMA-1.1`` where the file gives none.
    channels, hidden_channels, edge_channels
        Widths of node features, of messages, and of the radial networks.
    lmax, mmax
        Largest degree, and largest order kept in the frames of edges.
    num_layers, num_experts
        Layers, and experts per mixed linear map (0: plain maps).
    cutoff
        Reach of an edge, angstrom.
    num_distance_basis
        Gaussians of the distance basis.
    max_num_elements
        Rows of the tables indexed by atomic number.
    max_neighbors
        Most neighbors per atom that the model was trained for.
    charge_channels, spin_channels
        Half-open ranges of scalar channels that sum to the charge, and to the
        spin multiplicity less one, of the whole system.
    composition_counts_itself
        Whether the mean composition is the sum over atoms divided by atoms + 1, as in UMA-S-1.2.
    supports_single_atoms
        Whether an isolated single atom is within the model's use.
    task_embedding
        Whether the embedding of a system tells tasks apart.
    waves
        Whether charge and spin are embedded as sines and cosines rather than by tables.
    elements
        What each task has learned, by its name; absent where it is all that the tables have.
        Published files list none.
    """

    model_id: str
    channels: int
    hidden_channels: int
    edge_channels: int
    lmax: int
    mmax: int
    num_layers: int
    num_experts: int
    cutoff: float
    num_distance_basis: int
    max_num_elements: int
    max_neighbors: int
    charge_channels: tuple[int, int]
    spin_channels: tuple[int, int]
    composition_counts_itself: bool
    supports_single_atoms: bool
    task_embedding: bool = True
    waves: bool = False
    elements: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def edge_features(self) -> int:
        """Invariants of an edge: its distance in the basis, and both ends' elements."""
        return self.num_distance_basis + 2 * self.edge_channels
