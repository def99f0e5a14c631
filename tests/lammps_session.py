# SPDX-License-Identifier: MIT
"""LAMMPS for all tests of a session: ranks that stay alive and are fed scripts.

To start MPI and load torch takes longer than most scripts do, so one ``mpiexec`` starts the
ranks once. Each script gets a new instance of LAMMPS on the first of them, in its own folder:
nothing of an earlier script is left. Where processes end, or are started with options, is the
subject of a test, it starts ``lmp`` itself: ``lammps_runs.launch``.
"""

import atexit
import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

BIN = Path(sys.executable).parent
MOST = 6  # ranks
TIME_LIMIT = 300  # of one script, seconds
START_LIMIT = 60
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Ending:
    """How a script ended.

    Attributes
    ----------
    screen
        What LAMMPS wrote.
    errors
        Of each rank, or None where the script was done.
    """

    screen: str
    errors: list[str | None]


def feed(script: str, ranks: int, folder: Path) -> Ending:
    """Run a script on some of the ranks; the test fails where they die or take too long."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "in.lmp").write_text(script)
    (folder / "screen.txt").unlink(missing_ok=True)
    try:
        errors = _ranks().ask(folder, ranks)
    except (ConnectionError, EOFError):
        output = _end_ranks()
        raise AssertionError(f"LAMMPS died: {_screen(folder)[-3000:]}\n{output[-3000:]}") from None
    return Ending(_screen(folder), errors)


def _screen(folder: Path) -> str:
    """What LAMMPS wrote, if it came to that."""
    path = folder / "screen.txt"
    return path.read_text() if path.exists() else ""


class Ranks:
    """Processes under one ``mpiexec``, each with a connection to the tests.

    When the tests end, or are killed, the connections close and the ranks end by themselves.
    """

    def __init__(self) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/ranks")
            listener.listen(MOST)
            listener.settimeout(START_LIMIT)
            program = Path(__file__).with_name("lammps_ranks.py")
            self._process = subprocess.Popen(
                [BIN / "mpiexec", "-n", str(MOST), sys.executable, program, f"{folder}/ranks"],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                env=ONE_THREAD,
            )
            self._streams = self._accept(listener)

    def _accept(self, listener: socket.socket) -> list[TextIO]:
        """One stream per rank, in their order."""
        streams = {}
        for _ in range(MOST):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(None)
                stream = connection.makefile("rw")
            streams[int(stream.readline())] = stream
        return [streams[rank] for rank in range(MOST)]

    def ask(self, folder: Path, ranks: int) -> list[str | None]:
        """Have the script of a folder run; returns each rank's error."""
        for stream in self._streams[:ranks]:
            print(json.dumps([str(folder), ranks, TIME_LIMIT]), file=stream, flush=True)
        answers = [stream.readline() for stream in self._streams[:ranks]]
        if not all(answers):
            raise EOFError
        return [json.loads(answer) for answer in answers]

    def end(self) -> str:
        """End the processes; returns what they wrote beside LAMMPS's screen."""
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()
        self._output.seek(0)
        with self._output:
            return self._output.read()


@functools.cache
def _ranks() -> Ranks:
    ranks = Ranks()
    atexit.register(_end_ranks)
    return ranks


def _end_ranks() -> str:
    """End the ranks, so that the next script gets new ones; returns their output."""
    ranks = _ranks()
    _ranks.cache_clear()
    atexit.unregister(_end_ranks)
    return ranks.end()
