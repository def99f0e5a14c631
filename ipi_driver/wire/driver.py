# SPDX-License-Identifier: MIT
"""The order of messages between i-PI and a driver."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Protocol

from ipi_driver.wire.pacing import Pacing
from ipi_driver.wire.protocol import (
    Interrupted,
    Results,
    SocketPayload,
    Stream,
    Structures,
    pop_batch_size,
    read_header,
    read_parameters,
    repeat_last,
    without_padding,
    write_header,
)


class Potential(Protocol):
    """What the driver needs of a model."""

    @property
    def natoms(self) -> int:
        """Atoms of every structure."""

    def configure(self, parameters: dict[str, str]) -> None:
        """Take the parameters that i-PI's input gives, text by name."""

    def __call__(self, structures: Structures) -> Results:
        """Evaluate a batch of structures, in atomic units."""


class Payload(Protocol):
    """How structures and results travel."""

    def read_structures(self, stream: Stream, batch_size: int, natoms: int) -> Structures:
        """Read what follows POSDATA."""

    def write_results(self, stream: Stream, results: Results) -> None:
        """Answer GETFORCE."""


class Driver:
    """Serves one potential to the i-PI at the other end of a stream.

    The 12 bytes that i-PI sends right after POSDATA are read before the computation. Were
    they left unread, the death of this process would reach i-PI as a reset of the
    connection, on which i-PI 3.3 hangs, rather than as its end, after which it goes on.

    Parameters
    ----------
    stream
        Connected to i-PI.
    potential
        Ready to compute.
    report
        Takes each sentence about what was agreed.
    payload
        ``SocketPayload`` if not given.
    interruptible
        Whether EXIT may end a computation before it is done.
    """

    def __init__(
        self,
        stream: Stream,
        potential: Potential,
        report: Callable[[str], None],
        payload: Payload | None = None,
        *,
        interruptible: bool = True,
    ) -> None:
        self._stream = stream
        self._potential = potential
        self._report = report
        self._payload: Payload = payload or SocketPayload()
        self._batch_size: int | None = None
        self._results: Results | None = None
        self._pacing = Pacing(1)
        self._interruptible = interruptible

    def serve(self) -> None:
        """Answer until i-PI says EXIT.

        Raises
        ------
        Disconnected
            When i-PI is gone without EXIT.
        ValueError
            When it sends what cannot be served.
        """
        header = read_header(self._stream)
        while header != "EXIT":
            header = self._answer(header)

    def _answer(self, header: str) -> str:
        """Act on one message; returns the header of the next."""
        if header == "STATUS":
            self._say_status()
        elif header == "INIT":
            self._initialize()
        elif header == "POSDATA":
            return self._compute()
        elif header == "GETFORCE":
            self._send()
        else:
            raise ValueError(
                f"i-PI must send STATUS, INIT, POSDATA, GETFORCE or EXIT, found {header!r}: the "
                "force field's mode must be unix, inet or shm"
            )
        return read_header(self._stream)

    def _say_status(self) -> None:
        if self._batch_size is None:
            write_header(self._stream, "NEEDINIT")
        elif self._results is not None:
            write_header(self._stream, "HAVEDATA")
        else:
            if self._pacing.pause:
                time.sleep(self._pacing.pause)
            write_header(self._stream, "READY")

    def _initialize(self) -> None:
        parameters = read_parameters(self._stream)
        size = pop_batch_size(parameters, self._potential.natoms)
        self._batch_size, self._pacing = size, Pacing(size)
        self._report(
            "i-PI asks for one structure at a time"
            if size == 1
            else f"i-PI asks for batches of {size} structures"
        )
        self._potential.configure(parameters)

    def _compute(self) -> str:
        """Read structures and the next header, then compute; returns that header or EXIT."""
        if self._batch_size is None:
            raise ValueError("i-PI must send INIT before POSDATA, found POSDATA first")
        natoms = self._potential.natoms
        structures = self._payload.read_structures(self._stream, self._batch_size, natoms)
        header = read_header(self._stream)
        if header == "EXIT":
            return header
        try:
            with self._stream.watched() if self._interruptible else nullcontext():
                self._evaluate(structures, self._batch_size)
        except Interrupted:
            return read_header(self._stream)
        if not self._interruptible and self._stream.at_end():
            return read_header(self._stream)
        return header

    def _evaluate(self, structures: Structures, batch_size: int) -> None:
        start = time.perf_counter()
        distinct = without_padding(structures)
        self._results = repeat_last(self._potential(distinct), batch_size)
        if batch_size > 1:
            self._pacing.note(len(distinct.positions), time.perf_counter() - start)

    def _send(self) -> None:
        if self._results is None:
            raise ValueError("i-PI must send POSDATA before GETFORCE, found GETFORCE first")
        self._payload.write_results(self._stream, self._results)
        self._results = None
