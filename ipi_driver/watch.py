# SPDX-License-Identifier: MIT
"""Noticing that i-PI ends while the main thread is busy."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import threading

from ipi_driver.protocol import Interrupted


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
