# SPDX-License-Identifier: MIT
"""Launching ``mpi_ranks.py`` on real MPI ranks."""

import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import prepared
from rank_session import BIN, Ranks

SCRIPT = Path(__file__).parent / "mpi_ranks.py"
TIME_LIMIT = 300


class Checks:
    """Ranks that stay alive and do checks, together or the first few of them.

    Parameters
    ----------
    number
        Of ranks; a check on more of them starts as many anew.
    folder
        What is found goes to a folder in it for each number of ranks.
    """

    def __init__(self, number: int, folder: Path) -> None:
        self._number, self._folder = number, folder
        self._ranks = Ranks("mpi_ranks.py", number, prepared.python())

    def __enter__(self) -> "Checks":
        return self

    def __exit__(self, *_) -> None:
        self._ranks.end()

    def _start(self, number: int) -> str:
        """Take other ranks; returns what those before wrote."""
        output = self._ranks.end()
        self._number, self._ranks = number, Ranks("mpi_ranks.py", number, prepared.python())
        return output

    def found(self, check: str, ranks: int) -> Any:
        """What a check finds on so many ranks, or found before."""
        folder = self._folder / str(ranks)
        path = folder / f"{check}.pkl"
        if not path.exists():
            folder.mkdir(exist_ok=True)
            if ranks > self._number:
                self._start(ranks)
            try:
                self._ranks.ask(ranks, [str(folder), [check]], TIME_LIMIT)
            except (ConnectionError, EOFError):
                output = self._start(self._number)
                raise AssertionError(f"{check} on {ranks} ranks: {output[-5000:]}") from None
        return pickle.loads(path.read_bytes())


def launch(folder: Path, ranks: int, *checks: str) -> subprocess.CompletedProcess[str]:
    """Run checks in processes of their own; each leaves FOLDER/CHECK.pkl."""
    command = [BIN / "mpiexec", "-n", ranks, prepared.python(), SCRIPT, folder, *checks]
    return subprocess.run(
        list(map(str, command)),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
