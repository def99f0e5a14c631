# SPDX-License-Identifier: MIT
"""What i-PI, or whoever is at the other end of the socket, sends."""

from contextlib import AbstractContextManager, nullcontext

import atheris

with atheris.instrument_imports(include=["ipi_driver.wire.protocol"]):
    from ipi_driver.wire import protocol

from watch import fuzz

NATOMS = 3


class Bytes:
    """A connection that has sent some bytes and then closes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_into(self, data: memoryview) -> None:
        """Fill ``data`` from what is left."""
        if len(data) > len(self.data):
            raise protocol.Disconnected("the other end is gone")
        data[:] = self.data[: len(data)]
        self.data = self.data[len(data) :]

    def write(self, *parts: bytes | memoryview) -> None:
        """Nobody reads what is sent."""

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return not self.data

    def watched(self) -> AbstractContextManager[None]:
        """Nothing comes in between."""
        return nullcontext()


def read(data: bytes) -> None:
    """Follow the conversation to its end."""
    stream, payload, batch_size = Bytes(data), protocol.SocketPayload(), 1
    while True:
        word = protocol.read_header(stream)
        if word == "INIT":
            parameters = protocol.read_parameters(stream)
            batch_size = min(protocol.pop_batch_size(parameters, NATOMS), 1000)
            assert all(key == key.strip() for key in parameters)
        elif word == "POSDATA":
            structures = payload.read_structures(stream, batch_size, NATOMS)
            assert structures.cells.shape == (batch_size, 3, 3)
            assert structures.positions.shape == (batch_size, NATOMS, 3)


fuzz(read, (ValueError, protocol.Disconnected))
