# SPDX-License-Identifier: MIT
"""Rows of node tensors that other ranks own, and the gradients that go back to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from mpi4py import MPI

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
    runs out of it holds no other up.

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

    def forward(self, owned: torch.Tensor) -> torch.Tensor:
        """Append the rows of remote atoms to the owned rows."""
        plan = self._plan
        rows = owned.new_empty((plan.num_owned + plan.num_remote, *owned.shape[1:]))
        rows[: plan.num_owned] = owned
        sent = owned.index_select(0, plan.sent_rows)
        self._transfer(sent, plan.targets, rows[plan.num_owned :], plan.sources)
        return rows

    def reverse(self, rows: torch.Tensor) -> torch.Tensor:
        """Return remote rows to their owners and add what others return: owned rows."""
        plan = self._plan
        returned = rows.new_empty((len(plan.sent_rows), *rows.shape[1:]))
        self._transfer(rows[plan.num_owned :], plan.sources, returned, plan.targets)
        return rows[: plan.num_owned].clone().index_add_(0, plan.sent_rows, returned)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, in their order: Allreduce may round otherwise from call to call."""
        mine = values.detach().to("cpu").contiguous()
        parts = torch.empty((self._ranks.comm.size, *mine.shape), dtype=mine.dtype)
        sent, received = mine.numpy(), parts.numpy()
        self._ranks.agree()
        self._ranks.comm.Allgather(sent, received)
        return parts.sum(dim=0).to(values.device)

    def _transfer(
        self, out: torch.Tensor, receivers: list[Peer], into: torch.Tensor, senders: list[Peer]
    ) -> None:
        host_out, host_in = out.detach().contiguous(), into
        if out.device.type != "cpu":
            host_out = torch.empty(out.shape, dtype=out.dtype, pin_memory=True).copy_(host_out)
            host_in = torch.empty(into.shape, dtype=into.dtype, pin_memory=True)
        sent, received = host_out.numpy(), host_in.numpy()
        self._ranks.agree()
        _send_and_receive(self._ranks.comm, sent, receivers, received, senders)
        if host_in is not into:
            into.copy_(host_in)


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
