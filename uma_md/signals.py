# SPDX-License-Identifier: MIT
"""Signals that end a process, as exceptions: what is half done is then cleared up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack, where Python may catch signals at all.

    Signals that the process ignores or handles stay as they are.

    Raises
    ------
    SystemExit
        When one arrived; the exit code is 128 and the signal's number.
    """

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    in_main = threading.current_thread() is threading.main_thread()
    caught = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if in_main and signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in caught:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
