# SPDX-License-Identifier: MIT
"""Rows of node tensors on their way between ranks, while the rank may do other work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from mpi4py import MPI
from torch.profiler import record_function

from uma_md.ranks.agreement import FailedElsewhereError, Ranks
from uma_md.ranks.traffic import Traffic

TAG = 1

Call = Literal["forward", "reverse", "sum", "gather"]


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


class RowMessages:
    """Rows that are sent and received without waiting.

    On many a machine they move only within ``test`` and ``wait``.

    Parameters
    ----------
    comm
    out
        Rows that are sent, grouped by receiver.
    receivers
    into
        Where rows are received, grouped by sender.
    senders
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        out: np.ndarray,
        receivers: list[Peer],
        into: np.ndarray,
        senders: list[Peer],
    ) -> None:
        self._requests = [
            comm.Irecv(into[peer.first : peer.first + peer.rows], peer.rank, TAG)
            for peer in senders
        ]
        self._requests += [
            comm.Isend(out[peer.first : peer.first + peer.rows], peer.rank, TAG)
            for peer in receivers
        ]
        self._received = len(senders)
        self._ends = [MPI.Status() for _ in self._requests]

    def test(self) -> bool:
        """Whether all have come and gone."""
        return MPI.Request.Testall(self._requests, self._ends)

    def wait(self) -> None:
        """Wait until all have come and gone."""
        MPI.Request.Waitall(self._requests, self._ends)

    @property
    def is_whole(self) -> bool:
        """Whether none that came was empty, as from a rank that failed."""
        return all(end.Get_count(MPI.BYTE) > 0 for end in self._ends[: self._received])


def send_nothing(comm: MPI.Intracomm, receivers: list[Peer], senders: list[Peer]) -> None:
    """Send empty messages, and receive what comes, to forget it."""
    nothing, status = np.empty(0, dtype=np.uint8), MPI.Status()
    requests = [comm.Isend(nothing, peer.rank, TAG) for peer in receivers]
    for peer in senders:
        comm.Probe(peer.rank, TAG, status)
        comm.Recv(np.empty(status.Get_count(MPI.BYTE), dtype=np.uint8), peer.rank, TAG)
    MPI.Request.Waitall(requests)


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


def copy_to_device(target: torch.Tensor, host: torch.Tensor, stream: torch.Stream) -> None:
    """Copy on that stream; what is queued on the device after it waits for it.

    The target's memory was there when something was copied to the host on this stream before.
    """
    arrived = torch.Event(target.device)
    with stream:
        target.copy_(host, non_blocking=True)
    arrived.record(stream)
    torch.accelerator.current_stream(target.device).wait_event(arrived)


class Route:
    """How messages of a rank travel.

    Parameters
    ----------
    ranks
    device
        Where rows live.
    begin
        Called when messages are about to be sent; from then on this rank takes part.

    Attributes
    ----------
    traffic
        Counters of this rank.
    """

    def __init__(self, ranks: Ranks, device: torch.device, begin: Callable[[Call], None]) -> None:
        self.ranks = ranks
        self.begin = begin
        self.traffic = Traffic()
        self.copies = None if device.type == "cpu" else torch.Stream(device)
        self.sent, self.received = HostBuffer(), HostBuffer()


class MovingRows:
    """An exchange of rows that has begun, as ``uma_md.exchange.Transfer``.

    Parameters
    ----------
    route
    call
        ``forward`` or ``reverse``.
    rows
        What others may work with while ``into`` is on its way.
    out
        Rows that are sent.
    receivers
    into
        Where rows are received.
    senders
    finish
        Gives the exchange's result.
    """

    def __init__(
        self,
        route: Route,
        call: Call,
        rows: torch.Tensor,
        out: torch.Tensor,
        receivers: list[Peer],
        into: torch.Tensor,
        senders: list[Peer],
        finish: Callable[[], torch.Tensor],
    ) -> None:
        self.rows = rows
        self._route, self._call, self._finish = route, call, finish
        self._receivers, self._senders, self._into = receivers, senders, into
        self._out = self._host_out = out.detach().contiguous()
        self._host_in = into
        self._messages: RowMessages | None = None
        self._copied: torch.Event | None = None
        self._arrived = False
        if route.copies is not None and (receivers or senders):
            # What was received before has left its buffer when this copy is done: it is on the
            # same stream.
            self._host_out, self._host_in = route.sent.like(self._out), route.received.like(into)
            self._copied = copy_to_host(self._host_out, self._out, route.copies)
        else:
            self._send()

    def test(self) -> None:
        """Take the messages on, between pieces of other work."""
        if self._arrived:
            return
        if self._messages is None and self._copied is not None and self._copied.query():
            self._send()
        if self._messages is not None and self._messages.test():
            self._arrive()

    def wait(self) -> torch.Tensor:
        """Wait for the messages, and give the exchange's result.

        Raises
        ------
        FailedElsewhereError
            When a message was empty.
        """
        with record_function("exchange"):
            if self._messages is None:
                assert self._copied is not None
                self._copied.synchronize()
                self._send()
            if not self._arrived:
                self.end()
                self._arrive()
            assert self._messages is not None
            if not self._messages.is_whole:
                raise FailedElsewhereError
            return self._finish()

    def end(self) -> None:
        """Let messages that are on their way come and go, for others' sake."""
        if self._messages is not None and not self._arrived:
            self._messages.wait()

    def _send(self) -> None:
        self._route.begin(self._call)
        sent, received = self._host_out.numpy(), self._host_in.numpy()
        self._messages = RowMessages(
            self._route.ranks.comm, sent, self._receivers, received, self._senders
        )

    def _arrive(self) -> None:
        self._arrived = True
        with record_function("arrived"):
            if self._copied is not None and self._route.copies is not None:
                copy_to_device(self._into, self._host_in, self._route.copies)
            self._route.traffic += Traffic(
                exchanges=1,
                messages_sent=len(self._receivers),
                messages_received=len(self._senders),
                rows_sent=len(self._out),
                rows_received=len(self._into),
                bytes_sent=self._out.nbytes,
                bytes_received=self._into.nbytes,
            )
