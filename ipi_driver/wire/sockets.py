# SPDX-License-Identifier: MIT
"""UNIX and INET sockets to i-PI, and noticing that it ends while the main thread is busy."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from ipi_driver.wire.protocol import Disconnected, Interrupted

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

    def _receive(self, target: memoryview) -> int:
        try:
            count = self._socket.recv_into(target)
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


def at_end(connection: socket.socket) -> bool:
    """Whether i-PI's EXIT or the connection's end comes next, without waiting."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        return connection.recv(4, socket.MSG_PEEK) in (b"EXIT", b"")
    except OSError:
        return True  # a broken connection


class Watch:
    """Within it, ``Interrupted`` is raised as soon as i-PI says EXIT or is gone.

    The kernel's signal of input, SIGIO, costs nothing while there is none. Python takes
    signals in the main thread only: in others the body runs to its end.

    Parameters
    ----------
    connection
        A socket, watched from ``with`` to its end, again and again until ``close``.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._handle = connection.fileno()
        self._flags = fcntl.fcntl(self._handle, fcntl.F_GETFL)
        self._works = threading.current_thread() is threading.main_thread()
        if self._works:
            self._before = signal.signal(signal.SIGIO, self._stop)
            fcntl.fcntl(self._handle, fcntl.F_SETOWN, os.getpid())

    def __enter__(self) -> None:
        if self._works:
            fcntl.fcntl(self._handle, fcntl.F_SETFL, self._flags | os.O_ASYNC)
            self._stop()

    def __exit__(self, *_: object) -> None:
        if self._works:
            fcntl.fcntl(self._handle, fcntl.F_SETFL, self._flags)

    def close(self) -> None:
        """Leave the signal to whom it was before."""
        if self._works:
            signal.signal(signal.SIGIO, self._before)
            self._works = False

    def _stop(self, *_: object) -> None:
        if at_end(self._connection):
            raise Interrupted


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


def _connect(attempt: Callable[[], socket.socket], address: str, wait: float) -> SocketStream:
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
                    f"i-PI must listen at {address}, found {_found(error)} for {wait:g} s: start "
                    "i-PI, with this address in its input, or give a longer --wait"
                ) from None
        except OSError as error:
            raise ValueError(
                f"the address of i-PI must be one to connect to, found {address}: "
                f"{error.strerror or error}"
            ) from None
        time.sleep(PAUSE)


def _found(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listening (a socket file may be left over from an earlier i-PI)"
    return "no answer"
