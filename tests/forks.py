# SPDX-License-Identifier: MIT
"""Processes forked from one that has imported torch and i-PI, which takes longer than most work.

That process imports this file, so that nothing slow is imported here.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any
from unittest.mock import patch

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "ase.io", "ipi.engine.simulation", "pytest"])


def prepare() -> None:
    """Have the process to fork from, with one thread."""
    with patch.dict(os.environ, OMP_NUM_THREADS="1"):
        forkserver.ensure_running()


class Forked:
    """A function in a process of its own, as ``subprocess.Popen`` of a program with its output.

    Parameters
    ----------
    work, arguments
        A function at the top of a module, and what it is called with.
    folder
        Where it runs.
    environment
        Variables beside those of the tests.
    """

    def __init__(
        self,
        work: Callable[..., object],
        *arguments: object,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        prepare()
        ours, theirs = os.pipe()
        self.stdout = os.fdopen(ours)
        context: Any = FORKS
        self._process = context.Process(
            target=_run, args=(work, arguments, folder, dict(environment or {}), _Given(theirs))
        )
        self._process.start()
        os.close(theirs)

    @property
    def returncode(self) -> int | None:
        """Exit code, or minus the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Exit code, if it has ended."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Exit code; an error if it does not end in time."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise TimeoutError(f"the process must end within {seconds} s")
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(int(self._process.pid or 0), number)

    def kill(self) -> None:
        """End it, and what it started, without a word."""
        with suppress(ProcessLookupError):
            os.killpg(int(self._process.pid or 0), signal.SIGKILL)
        self._process.kill()

    def communicate(self, seconds: float = 1000) -> tuple[str, None]:
        """Wait for its end, and end it after a time; returns its output."""
        timer = threading.Timer(seconds, self.kill)
        timer.start()
        output = self.stdout.read()
        self._process.join()
        timer.cancel()
        self.stdout.close()
        return output, None


class _Given:
    """A file descriptor that goes to the new process."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any]]:
        return _taken, (DupFd(self._number),)


def _taken(given: Any) -> int:
    return int(given.detach())


def _run(work, arguments, folder, environment, output: Any) -> None:
    start()
    os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout.reconfigure(line_buffering=False)  # type: ignore[union-attr]
    work(*arguments)


def start() -> None:
    """What a new process does first."""
    os.setsid()
    # segments are not the parent's to remove
    vars(resource_tracker._resource_tracker)["_fd"] = None
