# SPDX-License-Identifier: MIT
"""Energies, forces and virials of systems whose atoms are spread over MPI ranks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
from torch.profiler import record_function

from uma_md.committee import AnyPotential, combine, members_of
from uma_md.graph import Graph
from uma_md.potential import Potential
from uma_md.properties import Properties, atomic_forces, read, virials
from uma_md.ranks.agreement import Ranks
from uma_md.ranks.decomposition import Part, assign_owners
from uma_md.ranks.halo_exchange import MPIExchange, Schedule, calls_of, plan_halo
from uma_md.ranks.transfer import Call
from uma_md.system import System, check_finite_results


class Division(NamedTuple):
    """How systems are spread over ranks.

    Attributes
    ----------
    owners : (atoms,)
        The rank of each atom.
    part
        What this rank has.
    exchange
        How its rows reach other ranks.
    """

    owners: np.ndarray
    part: Part
    exchange: MPIExchange


class SpatialEvaluator:
    """Evaluates systems that all ranks know, each rank its own part of every one.

    Several systems lie side by side in one evaluation; each is split over all ranks. All
    methods are collective, also for ranks that get no atoms, and an error on one rank is
    raised on all of them. All ranks return the same, to the last bit.

    Parameters
    ----------
    ranks
    potential
        Merged for the systems.
    """

    def __init__(self, ranks: Ranks, potential: AnyPotential) -> None:
        self._ranks = ranks
        self._potential = potential
        self._members = members_of(potential)

    def __call__(self, systems: Sequence[System]) -> Properties:
        """Divide the systems and evaluate them."""
        division = self.divide(systems)
        positions = np.concatenate([system.positions for system in systems])
        return self.evaluate(division, positions, np.stack([system.cell for system in systems]))

    def divide(self, systems: Sequence[System], skin: float = 0.0) -> Division:
        """Spread systems over the ranks.

        Parameters
        ----------
        systems
            The same on all ranks.
        skin
            How far beyond the cutoff pairs are kept, angstrom, for positions that differ
            from these ones.
        """
        ranks, device = self._ranks, self._potential.device
        with ranks.together():
            owners = None
            if ranks.rank == 0:
                cutoff = self._potential.metadata.cutoff
                parts = [assign_owners(each, ranks.size, cutoff) for each in systems]
                owners = np.concatenate(parts)
            owners = ranks.broadcast(owners)  # rounding may differ between kinds of processors
            reach = self._potential.metadata.cutoff + skin
            part = Part(systems, owners, ranks.rank, reach, device)
            plan = plan_halo(ranks, len(part.owned), part.remote_ranks, part.remote_rows)
            division = Division(owners, part, MPIExchange(ranks, plan, device))
            ranks.agree()
            return division

    def evaluate(self, division: Division, positions: np.ndarray, cells: np.ndarray) -> Properties:
        """Evaluate divided systems.

        Parameters
        ----------
        division
        positions : (atoms, 3), angstrom
            Not moved by whole cells since the division, and such that no pair within the
            cutoff was farther apart than cutoff and skin.
        cells : (systems, 3, 3), angstrom

        Raises
        ------
        ValueError
            When two atoms are at the same position, an atom has too many neighbors, or the model
            gives NaN or infinity.
        """
        metadata, exchange = self._potential.metadata, division.exchange
        with self._ranks.together():
            with self.step(division, len(cells)):
                graph = division.part.graph(
                    positions, cells, metadata.cutoff, metadata.max_neighbors
                )
                shares = [self._shares(member, graph, exchange) for member in self._members]
            found = [self._collect(division.owners, parts, len(cells)) for parts in shares]
            return found[0] if self._potential is self._members[0] else combine(found)

    def _shares(self, member: Potential, graph: Graph, exchange: MPIExchange) -> list[np.ndarray]:
        """What each rank finds of a model's results."""
        energies, gradients = member(graph, exchange)
        with record_function("forces"):
            forces = exchange.reverse(atomic_forces(graph, gradients))
            mine = read(energies, forces, virials(graph, gradients))
        check_finite_results(*mine[:3])
        own = np.column_stack((mine.energies, mine.forces))
        return exchange.gather(np.append(own, mine.virials))

    def step(self, division: Division, systems: int) -> AbstractContextManager[None]:
        """Give a block that ends with ``evaluate``: other ranks do not wait for one that fails.

        All ranks enter it right after an agreement, within ``ranks.together``.
        """
        owned = np.bincount(division.owners, minlength=self._ranks.size)
        calls: list[Call] = []
        summed: list[int] = []
        for member in self._members:
            balanced = member.network.num_balanced
            more = calls_of(member.metadata.num_layers, balanced > 0)
            calls += more
            summed += [balanced * systems] * more.count("sum")
        return division.exchange.step(Schedule(calls, summed, 4 * owned + 9 * systems))

    def _collect(self, owners: np.ndarray, parts: list[np.ndarray], systems: int) -> Properties:
        """Put the ranks' rows (owned, 4) into atoms' order, and add their shares of virials."""
        rows = np.empty((len(owners), 4))
        found = [part[: -9 * systems].reshape(-1, 4) for part in parts]
        rows[np.argsort(owners, kind="stable")] = np.concatenate(found)
        shares = [part[-9 * systems :].reshape(-1, 3, 3) for part in parts]
        whole = np.sum(shares, axis=0)
        return Properties(rows[:, 0].copy(), rows[:, 1:].copy(), whole)
