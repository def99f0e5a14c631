# SPDX-License-Identifier: MIT
"""i-PI's own program, each time in a process of its own.

The process is forked from one that has imported i-PI, which takes longer than most runs do. It
imports this file, so that nothing slow is imported here.
"""

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from unittest.mock import patch

IPI = [str(Path(sys.executable).with_name("i-pi")), "input.xml"]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["ipi.engine.simulation", "pytest"])


class Process:
    """i-PI with the ``input.xml`` of a folder; what it prints goes to ``log`` there.

    Parameters
    ----------
    folder
    job
        A command that starts i-PI along with other programs, if it is not to be alone.
    """

    def __init__(self, folder: Path, job: Sequence[str] = ()) -> None:
        with patch.dict(os.environ, OMP_NUM_THREADS="1"):
            forkserver.ensure_running()
        self._process = _FORKS.Process(target=_run, args=(folder, job))
        self._process.start()
        self.pid = self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Exit code, None if it is not there in time."""
        self._process.join(seconds)
        return self._process.exitcode

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it, and what it started, without a word."""
        with suppress(ProcessLookupError):
            os.killpg(int(self.pid or 0), signal.SIGKILL)
        self._process.kill()


def _run(folder: Path, job: Sequence[str]) -> None:
    os.setsid()
    vars(resource_tracker._resource_tracker)["_fd"] = (
        None  # its segments are not the parent's to remove
    )
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if job:
        os.execv(job[0], list(job))
    vars(import_module("ipi.utils.softexit"))["SOFTEXITLATENCY"] = (
        0.02  # its end waits so long, of 1 s
    )
    sys.argv = IPI
    runpy.run_path(IPI[0], run_name="__main__")
