# SPDX-License-Identifier: MIT
"""Ranks that stay alive and are given work, as starting MPI and loading torch takes so long.

``served_ranks.py`` is their side.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TextIO

PYTHON = Path(sys.executable)
BIN = PYTHON.parent
START_LIMIT = 60


class Ranks:
    """Processes under one ``mpiexec``, each with a connection to the tests.

    When the tests end, or are killed, the connections close and the ranks end by themselves.

    Parameters
    ----------
    program
        File beside this one that the ranks run; it calls ``served_ranks.serve``.
    number
        Of ranks.
    python
        What runs it.
    """

    def __init__(self, program: str, number: int, python: Path = PYTHON) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/ranks")
            listener.listen(number)
            listener.settimeout(START_LIMIT)
            path = Path(__file__).with_name(program)
            self._process = subprocess.Popen(
                [BIN / "mpiexec", "-n", str(number), python, path, f"{folder}/ranks"],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            self._streams = self._accept(listener, number)

    def _accept(self, listener: socket.socket, number: int) -> list[TextIO]:
        """One stream per rank, in their order."""
        streams = {}
        for _ in range(number):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(None)
                stream = connection.makefile("rw")
            streams[int(stream.readline())] = stream
        return [streams[rank] for rank in range(number)]

    def ask(self, ranks: int, work: object, seconds: int) -> list[Any]:
        """Have the first of the ranks do work within a time limit; returns each rank's answer.

        Raises
        ------
        EOFError, ConnectionError
            If ranks died.
        """
        for stream in self._streams[:ranks]:
            print(json.dumps([work, ranks, seconds]), file=stream, flush=True)
        answers = [stream.readline() for stream in self._streams[:ranks]]
        if not all(answers):
            raise EOFError
        return [json.loads(answer) for answer in answers]

    def end(self) -> str:
        """End the processes; returns what they wrote to standard output and error."""
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
