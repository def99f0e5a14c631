# SPDX-License-Identifier: MIT
"""Rows of node tensors that other ranks own, and the gradients that go back to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from mpi4py import MPI
from torch.profiler import record_function

from uma_md.exchange import Transfer
from uma_md.graph import add_rows
from uma_md.ranks.agreement import FailedElsewhereError, Ranks
from uma_md.ranks.exact_sum import decode, encode, encoded_bytes
from uma_md.ranks.traffic import Traffic
from uma_md.ranks.transfer import (
    Call,
    HostBuffer,
    MovingRows,
    Peer,
    Route,
    RowMessages,
    send_nothing,
)


class HaloPlan(NamedTuple):
    """Who sends which rows to whom.

    Attributes
    ----------
    num_owned, num_remote
        Rows 0 to num_owned - 1 of a tensor are this rank's, those after them remote,
        ordered by owner.
    sources
        Ranks that own rows this rank needs.
    targets
        Ranks that need rows of this rank.
    sent_rows : (sent,) int64
        Rows of this rank, grouped by target.
    """

    num_owned: int
    num_remote: int
    sources: list[Peer]
    targets: list[Peer]
    sent_rows: torch.Tensor


class Schedule(NamedTuple):
    """What ranks do together in a step, whatever happens on one of them.

    Attributes
    ----------
    calls
        Of the exchange, in order.
    summed
        Numbers that each of the sums is of, in their order.
    gathered : (ranks,) int64
        Numbers that each rank gives to the gather.
    """

    calls: list[Call]
    summed: list[int]
    gathered: np.ndarray


def calls_of(layers: int, balanced: bool) -> list[Call]:
    """What an evaluation calls: the layers forward and in reverse, forces, and results."""
    forward: list[Call] = ["forward", "sum"] if balanced else ["forward"]
    reverse: list[Call] = ["sum", "reverse"] if balanced else ["reverse"]
    return [*forward * layers, *reverse * layers, "reverse", "gather"]


def plan_halo(
    ranks: Ranks, num_owned: int, remote_ranks: np.ndarray, remote_rows: np.ndarray
) -> HaloPlan:
    """Tell each owner which of its rows this rank needs. Collective.

    Parameters
    ----------
    ranks
    num_owned
        Rows of this rank.
    remote_ranks, remote_rows : (remote,)
        Owner of each remote row, ascending, and its number there.
    """
    wanted = np.bincount(remote_ranks, minlength=ranks.size).astype(np.int64)
    wanted_rows = np.ascontiguousarray(remote_rows, dtype=np.int64)
    asked = np.empty_like(wanted)
    ranks.agree()
    ranks.comm.Alltoall(wanted, asked)
    sources, targets = _group(wanted), _group(asked)
    asked_rows = np.empty(asked.sum(), dtype=np.int64)
    ranks.agree()
    RowMessages(ranks.comm, wanted_rows, sources, asked_rows, targets).wait()
    return HaloPlan(num_owned, len(remote_rows), sources, targets, torch.from_numpy(asked_rows))


class MPIExchange:
    """The exchange of several ranks: one message per pair of neighboring ranks and call.

    Messages are gathered on the device and travel through host memory, in the rows' own
    precision. Where there is nothing to do a call gives its argument.

    Within ``step`` ranks do not agree before each call. One that fails goes on with the calls
    that are left, with empty messages and marks instead of numbers, so that no other waits for it;
    who gets these does the same, and why is learnt in the agreement after the step.

    Parameters
    ----------
    ranks
        Those that share the systems.
    plan
        Who sends which rows to whom.
    device
        Where the rows live.
    """

    def __init__(self, ranks: Ranks, plan: HaloPlan, device: torch.device) -> None:
        self._ranks = ranks
        self._route = Route(ranks, device, self._begin)
        self._moving: MovingRows | None = None
        self._plan = plan._replace(sent_rows=plan.sent_rows.to(device))
        self._schedule: Schedule | None = None
        self._left: list[Call] = []
        self._sums = HostBuffer()

    @property
    def traffic(self) -> Traffic:
        """Counters of this rank since the exchange was made."""
        return self._route.traffic

    @contextmanager
    def step(self, schedule: Schedule) -> Iterator[None]:
        """Hold the calls of a schedule; where this rank fails, the rest is done without it.

        Within another such block this is a part of that one.
        """
        if self._schedule is not None:
            yield
            return
        self._schedule, self._left = schedule, list(schedule.calls)
        try:
            yield
            assert not self._left, self._left
        except MPI.Exception:
            raise
        except BaseException:
            self._abandon(schedule)
            raise
        finally:
            self._schedule, self._left, self._moving = None, [], None

    def start_forward(self, owned: torch.Tensor) -> Transfer:
        """Append the rows of remote atoms to the owned rows."""
        plan = self._plan
        with record_function("exchange"):
            rows = owned
            if plan.num_remote:
                rows = owned.new_empty((plan.num_owned + plan.num_remote, *owned.shape[1:]))
            sent, into = owned.index_select(0, plan.sent_rows), rows[plan.num_owned :]
            ways = sent, plan.targets, into, plan.sources
            self._moving = MovingRows(self._route, "forward", rows, *ways, lambda: rows)
            if plan.num_remote:
                rows[: plan.num_owned] = owned
            return self._moving

    def start_reverse(self, rows: torch.Tensor) -> Transfer:
        """Return remote rows to their owners and add what others return: owned rows.

        Those of the argument are overwritten.
        """
        plan = self._plan
        with record_function("exchange"):
            returned = rows.new_empty((len(plan.sent_rows), *rows.shape[1:]))
            owned = rows[: plan.num_owned]

            def add_returned() -> torch.Tensor:
                return add_rows(owned, plan.sent_rows, returned) if plan.targets else owned

            ways = rows[plan.num_owned :], plan.sources, returned, plan.targets
            self._moving = MovingRows(self._route, "reverse", rows, *ways, add_returned)
            return self._moving

    def reverse(self, rows: torch.Tensor) -> torch.Tensor:
        """Do the same without other work meanwhile."""
        return self.start_reverse(rows).wait()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, without rounding, so that neither their number nor order matters."""
        with record_function("exchange"):
            if self._ranks.size == 1:
                self._begin("sum")
                return values
            mine = values.detach().to("cpu").double()
            sums = np.append(encode(mine.numpy()), 0)
            self._begin("sum")
            self._ranks.comm.Allreduce(MPI.IN_PLACE, sums, MPI.SUM)
            self._route.traffic += Traffic(sums=1, sum_bytes=sums.nbytes)
            if sums[-1]:
                raise FailedElsewhereError
            whole = torch.from_numpy(decode(sums[:-1]).reshape(mine.shape))
            if values.device.type == "cpu":
                return whole
            # The copy of before has arrived: what is summed here was computed after it.
            whole = self._sums.like(whole).copy_(whole)
            return whole.to(values.device, non_blocking=True)

    def gather(self, mine: np.ndarray) -> list[np.ndarray]:
        """Give every rank the numbers of all, (gathered[rank],) float64 each; within ``step``."""
        assert self._schedule is not None
        counts = self._schedule.gathered + 1  # and a mark of failure
        found = np.empty(counts.sum())
        mine = np.append(mine, 0.0)
        self._begin("gather")
        self._ranks.comm.Allgatherv(mine, [found, counts.tolist()])
        parts = np.split(found, np.cumsum(counts)[:-1])
        if any(part[-1] for part in parts):
            raise FailedElsewhereError
        return [part[:-1] for part in parts]

    def _begin(self, call: Call) -> None:
        """What comes before communication: from here on this rank takes part in a call."""
        if self._schedule is None:
            self._ranks.agree()
            return
        self._ranks.check_interrupts()
        assert self._left[:1] == [call], (call, self._left)
        del self._left[0]

    def _abandon(self, schedule: Schedule) -> None:
        """Take part in the calls that are left, and say in each that this rank failed."""
        comm, plan = self._ranks.comm, self._plan
        if self._moving is not None:
            self._moving.end()
        summed = iter(schedule.summed[schedule.calls.count("sum") - self._left.count("sum") :])
        for call in self._left if self._ranks.size > 1 else []:
            if call == "forward":
                send_nothing(comm, plan.targets, plan.sources)
            elif call == "reverse":
                send_nothing(comm, plan.sources, plan.targets)
            elif call == "sum":
                sums = np.zeros(encoded_bytes(next(summed)) // 8 + 1, dtype=np.int64)
                sums[-1] = 1
                comm.Allreduce(MPI.IN_PLACE, sums, MPI.SUM)
            else:
                counts = schedule.gathered + 1
                mine, found = np.ones(counts[self._ranks.rank]), np.empty(counts.sum())
                comm.Allgatherv(mine, [found, counts.tolist()])


def _group(counts: np.ndarray) -> list[Peer]:
    """Peers of a buffer that holds so many rows of each rank, rank by rank."""
    first = np.cumsum(counts) - counts
    return [Peer(int(k), int(first[k]), int(counts[k])) for k in np.flatnonzero(counts)]
