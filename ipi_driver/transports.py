# SPDX-License-Identifier: MIT
"""UNIX and INET sockets to i-PI."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from ipi_driver.protocol import Disconnected, Interrupted
from ipi_driver.watch import Watch, at_end

PREFIX = "/tmp/ipi_"  # i-PI's own, unless its input or command line says otherwise
PAUSE = 0.2  # seconds between attempts to connect
BUFFER = 1 << 16  # bytes
FAREWELL = 1.0  # seconds that a closing driver waits for i-PI to close, too


class SocketStream:
    """A connected socket as a byte stream; closing it never looks to i-PI like a reset.

    What is there is read at once, so that little is left unread if this process dies.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        self._socket = connection
        self._watch: Watch | None = None
        self._buffer = memoryview(bytearray(BUFFER))
        self._start = self._end = 0  # of what is in the buffer, read and not yet used

    def __enter__(self) -> SocketStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._watch is not None:
            self._watch.close()
        if error is None:
            self._socket.close()
        else:
            self.close()

    def read_into(self, data: memoryview) -> None:
        """Fill ``data``, however its bytes are cut on the way."""
        while len(data):
            if self._start == self._end and len(data) >= BUFFER:
                data = data[self._receive(data) :]
                continue
            if self._start == self._end:
                self._start, self._end = 0, self._receive(self._buffer)
            count = min(len(data), self._end - self._start)
            data[:count] = self._buffer[self._start : self._start + count]
            self._start += count
            data = data[count:]

    def _receive(self, place: memoryview) -> int:
        try:
            count = self._socket.recv_into(place)
        except ConnectionError:
            count = 0
        if count == 0:
            raise Disconnected(
                "i-PI must say EXIT before it closes the connection, found it closed: "
                "see what i-PI printed last"
            )
        return count

    def write(self, *parts: bytes | memoryview) -> None:
        """Send all parts, in one message where the socket takes it."""
        try:
            sent = self._socket.sendmsg(parts)
            for part in parts:
                if sent < len(part):
                    self._socket.sendall(part[sent:])
                sent = max(0, sent - len(part))
        except ConnectionError:
            raise Disconnected(
                "i-PI must be there to take the results, found the connection closed: did its "
                "timeout pass, or did it end?"
            ) from None

    def at_end(self) -> bool:
        """Whether EXIT or the end comes next, without waiting."""
        if self._start < self._end:
            return bytes(self._buffer[self._start : self._end]).startswith(b"EXIT")
        return at_end(self._socket)

    def watched(self) -> AbstractContextManager[None]:
        """Within it, ``Interrupted`` is raised as soon as EXIT or the end is there."""
        if self._start < self._end and self.at_end():
            raise Interrupted
        if self._watch is None:
            self._watch = Watch(self._socket)
        return self._watch

    def close(self) -> None:
        """Tell i-PI that nothing follows, take what it still sends, and close.

        A close with data unread would be a reset, on which i-PI 3.3 hangs.
        """
        end = time.monotonic() + FAREWELL
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while (left := end - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(1 << 16):
                    break
        except OSError:
            pass  # i-PI is gone, or silent
        finally:
            self._socket.close()


def connect_unix(name: str, wait: float, prefix: str = PREFIX) -> SocketStream:
    """Connect to i-PI's UNIX socket.

    Parameters
    ----------
    name
        The address in i-PI's input.
    wait
        Seconds to go on trying.
    prefix
        What i-PI puts in front of the address.
    """
    path = prefix + name

    def attempt() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except BaseException:
            connection.close()
            raise
        return connection

    return _connect(attempt, f"the UNIX socket {path}", wait)


def connect_inet(host: str, port: int, wait: float) -> SocketStream:
    """Connect to i-PI's INET socket, with up to ``wait`` seconds of trying."""

    def attempt() -> socket.socket:
        connection = socket.create_connection((host, port), timeout=max(wait, 1.0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a machine may vanish
        return connection

    return _connect(attempt, f"port {port} of {host}", wait)


def _connect(attempt: Callable[[], socket.socket], place: str, wait: float) -> SocketStream:
    """Try until i-PI listens.

    Raises
    ------
    Disconnected
        When the time is over.
    OSError
        When trying again would not help.
    """
    end = time.monotonic() + wait
    while True:
        try:
            return SocketStream(attempt())
        except (FileNotFoundError, ConnectionError, TimeoutError) as error:
            if time.monotonic() + PAUSE > end:
                raise Disconnected(
                    f"i-PI must listen at {place}, found {_found(error)} for {wait:g} s: start "
                    "i-PI, with this address in its input, or give a longer --wait"
                ) from None
        except OSError as error:
            raise ValueError(
                f"the address of i-PI must be one to connect to, found {place}: "
                f"{error.strerror or error}"
            ) from None
        time.sleep(PAUSE)


def _found(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listening (a socket file may be left over from an earlier i-PI)"
    return "no answer"
