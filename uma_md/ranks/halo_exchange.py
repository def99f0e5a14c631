# SPDX-License-Identifier: MIT
"""Rows of node tensors that other ranks own, and the gradients that go back to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from mpi4py import MPI
from torch.profiler import record_function

from uma_md.graph import add_rows
from uma_md.ranks.agreement import Ranks

TAG = 1


class Peer(NamedTuple):
    """A rank that messages go to or come from.

    Attributes
    ----------
    rank
    first, rows
        Where its rows begin within the buffer, and how many there are.
    """

    rank: int
    first: int
    rows: int


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
    _send_and_receive(ranks.comm, wanted_rows, sources, asked_rows, targets)
    return HaloPlan(num_owned, len(remote_rows), sources, targets, torch.from_numpy(asked_rows))


class MPIExchange:
    """The exchange of several ranks: one message per pair of neighboring ranks and call.

    Messages are gathered on the device and travel through host memory, in the rows' own
    precision. Memory is taken before the ranks agree to communicate, so that a rank that
    runs out of it holds no other up. Where there is nothing to do a call gives its argument.

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
        self._plan = plan._replace(sent_rows=plan.sent_rows.to(device))
        self._copies = None if device.type == "cpu" else torch.Stream(device)
        self._sent, self._received, self._sums = HostBuffer(), HostBuffer(), HostBuffer()

    def forward(self, owned: torch.Tensor) -> torch.Tensor:
        """Append the rows of remote atoms to the owned rows."""
        plan = self._plan
        with record_function("exchange"):
            rows = owned
            if plan.num_remote:
                rows = owned.new_empty((plan.num_owned + plan.num_remote, *owned.shape[1:]))
            sent = owned.index_select(0, plan.sent_rows)

            def keep_own() -> None:
                if plan.num_remote:
                    rows[: plan.num_owned] = owned

            into = rows[plan.num_owned :]
            self._transfer(sent, plan.targets, into, plan.sources, meanwhile=keep_own)
            return rows

    def reverse(self, rows: torch.Tensor) -> torch.Tensor:
        """Return remote rows to their owners and add what others return: owned rows."""
        plan = self._plan
        with record_function("exchange"):
            returned = rows.new_empty((len(plan.sent_rows), *rows.shape[1:]))
            owned = rows[: plan.num_owned]
            if plan.targets:
                owned = owned.clone()
            self._transfer(rows[plan.num_owned :], plan.sources, returned, plan.targets)
            return add_rows(owned, plan.sent_rows, returned) if plan.targets else owned

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, in their order: Allreduce may round otherwise from call to call."""
        with record_function("exchange"):
            if self._ranks.size == 1:
                return values
            mine = values.detach().to("cpu").contiguous()
            parts = torch.empty((self._ranks.size, *mine.shape), dtype=mine.dtype)
            sent, received = mine.numpy(), parts.numpy()
            self._ranks.agree()
            self._ranks.comm.Allgather(sent, received)
            if values.device.type == "cpu":
                return parts.sum(dim=0)
            # The copy of before has arrived: what is summed here was computed after it.
            whole = self._sums.like(mine).copy_(parts.sum(dim=0))
            return whole.to(values.device, non_blocking=True)

    def _transfer(
        self,
        out: torch.Tensor,
        receivers: list[Peer],
        into: torch.Tensor,
        senders: list[Peer],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Send and receive rows, and do other work while the device copies what is sent."""
        out = out.detach().contiguous()
        host_out, host_in = out, into
        if self._copies is not None and (receivers or senders):
            host_out, host_in = self._sent.like(out), self._received.like(into)
            # It waits for all that was queued: also for what was received to leave its buffer.
            copied = copy_to_host(host_out, out, self._copies)
            meanwhile()
            copied.synchronize()
        else:
            meanwhile()
        sent, received = host_out.numpy(), host_in.numpy()
        self._ranks.agree()
        _send_and_receive(self._ranks.comm, sent, receivers, received, senders)
        if host_in is not into:
            into.copy_(host_in, non_blocking=True)


class HostBuffer:
    """Pinned memory of the host, kept from one use to the next."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        """Give a part of it with the shape and type of a tensor, over the one given before."""
        size = tensor.nbytes
        if len(self._bytes) < size:
            self._bytes = torch.empty(size + size // 4, dtype=torch.uint8, pin_memory=True)
        return self._bytes[:size].view(tensor.dtype).view(tensor.shape)


def copy_to_host(host: torch.Tensor, source: torch.Tensor, stream: torch.Stream) -> torch.Event:
    """Copy on a stream of its own: after what is queued, and beside what comes; until an event."""
    ready, done = torch.Event(source.device), torch.Event(source.device)
    ready.record(torch.accelerator.current_stream(source.device))
    stream.wait_event(ready)
    with stream:
        host.copy_(source, non_blocking=True)
    done.record(stream)
    return done


def _group(counts: np.ndarray) -> list[Peer]:
    """Peers of a buffer that holds so many rows of each rank, rank by rank."""
    first = np.cumsum(counts) - counts
    return [Peer(int(k), int(first[k]), int(counts[k])) for k in np.flatnonzero(counts)]


def _send_and_receive(
    comm: MPI.Intracomm,
    out: np.ndarray,
    receivers: list[Peer],
    into: np.ndarray,
    senders: list[Peer],
) -> None:
    requests = [
        comm.Irecv(into[peer.first : peer.first + peer.rows], peer.rank, TAG) for peer in senders
    ]
    requests += [
        comm.Isend(out[peer.first : peer.first + peer.rows], peer.rank, TAG) for peer in receivers
    ]
    MPI.Request.Waitall(requests)
