# SPDX-License-Identifier: MIT
"""Many structures that one fit of the network serves, evaluated in batches within the memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from uma_md.failures import is_out_of_memory
from uma_md.graph import Limits
from uma_md.memory import BatchLimit
from uma_md.mixed_batching import Member, MixedBatcher
from uma_md.properties import Properties, divided
from uma_md.shared_potential import AnyShared
from uma_md.system import System

NO_MEMORY = (
    "the structure must fit into memory, found none left: take recompute on or a smaller chunk"
)


class BatchEvaluator:
    """Evaluates structures side by side, and each alone where one of them fails.

    Parameters
    ----------
    potential
        It may be in use elsewhere; each batch takes its lock and merges anew if need be.
    """

    def __init__(self, potential: AnyShared) -> None:
        self._potential = potential
        limits = Limits(potential.metadata.cutoff, potential.metadata.max_neighbors)
        self._batcher = MixedBatcher(limits, potential.device)

    def __call__(
        self, systems: Iterable[System], charge: int, spin: int
    ) -> Iterator[Properties | ValueError]:
        """Give the properties of each system, or why there are none, in order.

        Parameters
        ----------
        systems
            Such that ``Potential.fit_of`` is the same for all; taken as they are needed.
        charge, spin
        """
        batch: list[Member] = []
        pairs = atoms = 0
        limit: BatchLimit | None = None
        for system in systems:
            member = self._member(system)
            if isinstance(member, ValueError):
                yield from self._evaluate(batch, charge, spin)
                yield member
                batch, pairs, atoms = [], 0, 0
                continue
            limit = limit or self._limit(system, charge, spin)
            pairs, atoms = pairs + member.pairs, atoms + len(member.positions)
            if batch and not limit.holds(pairs, atoms):
                yield from self._evaluate(batch, charge, spin)
                batch, pairs, atoms = [], member.pairs, len(member.positions)
            batch.append(member)
        yield from self._evaluate(batch, charge, spin)

    def _member(self, system: System) -> Member | ValueError:
        try:
            return self._batcher.member(system)
        except (ValueError, RuntimeError, MemoryError) as error:
            return _reason(error)

    def _limit(self, system: System, charge: int, spin: int) -> BatchLimit:
        """How much may be evaluated at once of what is like this system."""
        with self._potential.lock:
            self._potential.merge(system.atomic_numbers, charge, spin)
            return self._potential.batch_limit()

    def _evaluate(
        self, members: list[Member], charge: int, spin: int
    ) -> list[Properties | ValueError]:
        """Properties of each member, by halves where there are none for all of them."""
        if not members:
            return []
        try:
            return [*self._properties(members, charge, spin)]
        except (ValueError, RuntimeError, MemoryError) as error:
            reason = _reason(error)
        if len(members) == 1:
            return [reason]
        middle = len(members) // 2
        parts = members[:middle], members[middle:]
        return [found for part in parts for found in self._evaluate(part, charge, spin)]

    def _properties(self, members: list[Member], charge: int, spin: int) -> list[Properties]:
        with self._potential.lock:
            self._potential.merge(members[0].system.atomic_numbers, charge, spin)
            found = self._potential.properties(self._batcher.graph(members))
        return divided(found, [len(member.positions) for member in members])


def _reason(error: Exception) -> ValueError:
    """Why there are no properties, without the frames and arrays of the evaluation.

    Raises
    ------
    Exception
        The error itself where it is no fault of a structure.
    """
    if isinstance(error, ValueError):
        return ValueError(str(error))
    if is_out_of_memory(error):
        return ValueError(NO_MEMORY)
    raise error
