# SPDX-License-Identifier: MIT
"""Launching ``mpi_ranks.py`` on real MPI ranks."""

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
SCRIPT = Path(__file__).parent / "mpi_ranks.py"
TIME_LIMIT = 300


def launch(folder: Path, ranks: int, *checks: str) -> subprocess.CompletedProcess[str]:
    """Run checks; each leaves FOLDER/CHECK.pkl."""
    command = [BIN / "mpiexec", "-n", ranks, sys.executable, SCRIPT, folder, *checks]
    return subprocess.run(
        list(map(str, command)),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
