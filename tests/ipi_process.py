# SPDX-License-Identifier: MIT
"""i-PI's own program, each time in a process of its own.

The process is forked from one that has imported i-PI. It imports this file, so that nothing slow is
imported here.
"""

import os
import runpy
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from forks import FORKS, prepare, start

IPI = [str(Path(sys.executable).with_name("i-pi")), "input.xml"]


class Process:
    """i-PI with the ``input.xml`` of a folder; what it prints goes to ``log`` there.

    Parameters
    ----------
    folder
    job
        A command that starts i-PI along with other programs, if it is not to be alone.
    """

    def __init__(self, folder: Path, job: Sequence[str] = ()) -> None:
        prepare()
        self._process = FORKS.Process(target=_run, args=(folder, job))
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
    start()
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
