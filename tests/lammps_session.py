# SPDX-License-Identifier: MIT
"""LAMMPS for all tests of a session: ranks that stay alive and are fed scripts.

To start MPI and load torch takes longer than most scripts do, so one ``mpiexec`` starts the
ranks once. Each script gets a new instance of LAMMPS on the first of them, in its own folder:
nothing of an earlier script is left. Where processes end, or are started with options, is the
subject of a test, it starts ``lmp`` itself: ``lammps_runs.launch``.
"""

import atexit
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from rank_session import Ranks

BIN = Path(sys.executable).parent
MOST = 6  # ranks
TIME_LIMIT = 300  # of one script, seconds
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
        errors = _ranks().ask(ranks, str(folder), TIME_LIMIT)
    except (ConnectionError, EOFError):
        output = _end_ranks()
        raise AssertionError(f"LAMMPS died: {_screen(folder)[-3000:]}\n{output[-3000:]}") from None
    return Ending(_screen(folder), errors)


def _screen(folder: Path) -> str:
    """What LAMMPS wrote, if it came to that."""
    path = folder / "screen.txt"
    return path.read_text() if path.exists() else ""


@functools.cache
def _ranks() -> Ranks:
    ranks = Ranks("lammps_ranks.py", MOST)
    atexit.register(_end_ranks)
    return ranks


def _end_ranks() -> str:
    """End the ranks, so that the next script gets new ones; returns their output."""
    ranks = _ranks()
    _ranks.cache_clear()
    atexit.unregister(_end_ranks)
    return ranks.end()
