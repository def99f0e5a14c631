# SPDX-License-Identifier: MIT
"""What ranks send each other: counted in a run, or known from the decomposition alone.

The names are those that the LAMMPS plugin shares: rows, messages and bytes, by exchange and step.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np

from uma_md.neighbors import Pairs
from uma_md.ranks.decomposition import owned_pairs
from uma_md.ranks.exact_sum import encoded_bytes
from uma_md.system import System


@dataclass
class Traffic:
    """Counters of one rank.

    Attributes
    ----------
    exchanges
        Of rows with the neighboring ranks: one per layer in each sweep, one of forces.
    messages_sent, messages_received
    rows_sent, rows_received
    bytes_sent, bytes_received
        Of rows alone.
    sums, sum_bytes
        Sums over all ranks, of channels that are shared by the whole system, and what this rank
        gives to them.
    """

    exchanges: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    rows_sent: int = 0
    rows_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    sums: int = 0
    sum_bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        """Counters of both together."""
        return Traffic(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class RowShape(NamedTuple):
    """What of a model decides how much is sent.

    Attributes
    ----------
    layers
    bytes_per_row
        Of an atom's features: coefficients x channels x bytes of a number.
    balanced
        Channels that are summed over the whole system after each layer, and in reverse.
    """

    layers: int
    bytes_per_row: int
    balanced: int


FORCE_BYTES = 3 * 8  # of a row, in float64


class Load(NamedTuple):
    """What one rank has and exchanges, from a decomposition.

    Attributes
    ----------
    rank
    atoms
        That it owns.
    edges
        Whose receivers it owns, within the cutoff.
    inner_edges
        Of these, the ones whose senders it owns, too: they need no row of another rank.
    sources, targets : (neighbors,)
        Ranks whose rows it needs, and that need its rows.
    rows_from, rows_to : (neighbors,)
        How many rows of each.
    """

    rank: int
    atoms: int
    edges: int
    inner_edges: int
    sources: np.ndarray
    rows_from: np.ndarray
    targets: np.ndarray
    rows_to: np.ndarray

    @property
    def rows_received(self) -> int:
        """Rows that a forward exchange brings, and a reverse one returns."""
        return int(self.rows_from.sum())

    @property
    def rows_sent(self) -> int:
        """Rows that a forward exchange sends."""
        return int(self.rows_to.sum())

    def traffic(self, shape: RowShape, ranks: int) -> Traffic:
        """Counters of one step of a single system on so many ranks: both sweeps, and forces."""
        sums = 2 * shape.layers if shape.balanced and ranks > 1 else 0
        layers, width = shape.layers, shape.bytes_per_row
        into, out = self.rows_received, self.rows_sent
        forces = FORCE_BYTES
        return Traffic(
            exchanges=2 * layers + 1,
            messages_sent=layers * len(self.targets) + (layers + 1) * len(self.sources),
            messages_received=layers * len(self.sources) + (layers + 1) * len(self.targets),
            rows_sent=layers * out + (layers + 1) * into,
            rows_received=layers * into + (layers + 1) * out,
            bytes_sent=layers * width * (out + into) + forces * into,
            bytes_received=layers * width * (into + out) + forces * out,
            sums=sums,
            sum_bytes=sums * (encoded_bytes(shape.balanced) + 8),
        )


def load_of(system: System, owners: np.ndarray, rank: int, cutoff: float, skin: float) -> Load:
    """What a rank has and exchanges, by the search that also makes its part of the graph.

    Parameters
    ----------
    system
    owners : (atoms,)
        The rank that owns each atom.
    rank
    cutoff
        Of the model, angstrom.
    skin
        How far beyond it pairs are kept, angstrom; rows are exchanged for all of these.
    """
    owned = np.flatnonzero(owners == rank)
    pairs = owned_pairs(system, owned, cutoff + skin)
    owner = owners[pairs.senders]
    is_edge = _lengths(system, pairs) < cutoff
    remote = owner != rank
    sources, rows_from = np.unique(owners[np.unique(pairs.senders[remote])], return_counts=True)
    # A pair has a twin from sender to receiver, on the sender's rank.
    asked = np.unique(owner[remote] * np.int64(len(owners)) + pairs.receivers[remote])
    targets, rows_to = np.unique(asked // len(owners), return_counts=True)
    edges, inner = int(is_edge.sum()), int((is_edge & ~remote).sum())
    return Load(rank, len(owned), edges, inner, sources, rows_from, targets, rows_to)


def _lengths(system: System, pairs: Pairs) -> np.ndarray:
    """Distance of each pair, angstrom."""
    vectors = system.positions[pairs.senders] - system.positions[pairs.receivers]
    repeats = pairs.shifts.any(axis=1)
    vectors[repeats] += pairs.shifts[repeats] @ system.cell
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
