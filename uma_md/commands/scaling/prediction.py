# SPDX-License-Identifier: MIT
"""The time of a step, from what ranks exchange and the rates of a machine.

A rank with E edges, L layers, and s bytes of a row computes for E t, where t is the time of an edge
in a whole step. An exchange with n neighbors that moves m rows takes n l + m s / b, with l the
latency and b the bandwidth of a rank; both directions at once. There are 2 L of them, and one of
forces. A sum over P ranks takes ceil(log2 P) latencies.

Without overlap these add up, and the slowest rank sets the time. With overlap the edges between a
rank's own atoms are computed while its rows travel, in each of the 2 L sweeps of messages, which
are taken to be equally long.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uma_md.commands.scaling.counting import Count
from uma_md.ranks.traffic import FORCE_BYTES, Load, RowShape

RESULT_BYTES = 4 * 8  # energy and force of an atom

UMA_S = RowShape(layers=4, bytes_per_row=9 * 128 * 4, balanced=3)


class Rates(NamedTuple):
    """What a machine gives each rank.

    Attributes
    ----------
    seconds_per_edge
        Of a whole step, forces included.
    bandwidth
        Bytes per second, each way.
    latency
        Of a message, seconds.
    """

    seconds_per_edge: float
    bandwidth: float
    latency: float


class Collectives(NamedTuple):
    """What a step does over all ranks.

    Attributes
    ----------
    sums
        Small all-reduces, of which the time is latency.
    gathers_results
        Whether every rank gets the results of all atoms.
    """

    sums: int
    gathers_results: bool


class Prediction(NamedTuple):
    """Times of a step in seconds, of its slowest rank.

    Attributes
    ----------
    ideal
        Arithmetic, evenly shared.
    arithmetic, exchange
        Of the ranks that take longest for each.
    collectives
    step, overlapped
        The whole, without and with overlap of exchange and arithmetic.
    """

    ideal: float
    arithmetic: float
    exchange: float
    collectives: float
    step: float
    overlapped: float

    @property
    def efficiency(self) -> float:
        """Ideal over predicted time."""
        return self.ideal / self.step

    @property
    def overlapped_efficiency(self) -> float:
        """Ideal over predicted time, with overlap."""
        return self.ideal / self.overlapped


def collectives_of(engine: str, shape: RowShape) -> Collectives:
    """What an engine, ``ase`` or ``lammps``, does over all ranks in a step."""
    balancing = 2 * shape.layers if shape.balanced else 0
    if engine == "ase":
        return Collectives(balancing + 2, gathers_results=True)
    return Collectives(balancing + 1, gathers_results=False)


def predict(count: Count, shape: RowShape, rates: Rates, collectives: Collectives) -> Prediction:
    """Predict the time of a step."""
    exchange = np.array([_exchange(load, shape.bytes_per_row, rates) for load in count.loads])
    forces = np.array([_exchange(load, FORCE_BYTES, rates) for load in count.loads])
    sweeps = 2 * shape.layers
    arithmetic = np.array([load.edges for load in count.loads]) * rates.seconds_per_edge
    inner = np.array([load.inner_edges for load in count.loads]) * rates.seconds_per_edge
    hidden = np.maximum(inner, sweeps * exchange) + (arithmetic - inner)
    whole = _collectives(count, rates, collectives)
    return Prediction(
        ideal=count.edges / count.ranks * rates.seconds_per_edge,
        arithmetic=float(arithmetic.max()),
        exchange=float((sweeps * exchange + forces).max()),
        collectives=whole,
        step=float((arithmetic + sweeps * exchange + forces).max()) + whole,
        overlapped=float((hidden + forces).max()) + whole,
    )


def _exchange(load: Load, bytes_per_row: int, rates: Rates) -> float:
    """Seconds of one exchange of a rank."""
    messages = max(len(load.sources), len(load.targets))
    rows = max(load.rows_received, load.rows_sent)
    return messages * rates.latency + rows * bytes_per_row / rates.bandwidth


def _collectives(count: Count, rates: Rates, collectives: Collectives) -> float:
    """Seconds of what is done over all ranks."""
    rounds = int(np.ceil(np.log2(count.ranks)))
    seconds = collectives.sums * rounds * rates.latency
    if collectives.gathers_results and rounds:
        seconds += rounds * rates.latency + count.natoms * RESULT_BYTES / rates.bandwidth
    return seconds
