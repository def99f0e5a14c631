# SPDX-License-Identifier: MIT
"""Starting LAMMPS over MPI ranks from a command, and what its log says."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from uma_md.build import BuildError, find_tool

LONGEST = 3600  # seconds
ADVICE = "'uma-md doctor' says what to mend"


class LaunchError(RuntimeError):
    """LAMMPS could not be started, or ended with an error; the text is one sentence."""


def find_lammps() -> tuple[Path, Path]:
    """The programs ``mpiexec`` and ``lmp``, of this Python's environment first.

    Raises
    ------
    LaunchError
        When one is missing.
    """
    try:
        return find_tool("mpiexec", ADVICE), find_tool("lmp", ADVICE)
    except BuildError as error:
        raise LaunchError(str(error)) from error


def oversubscribing() -> dict[str, str]:
    """The environment, in which Open MPI starts more ranks than there are cores, as others do."""
    policies = {
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # Open MPI 5
        "OMPI_MCA_rmaps_base_oversubscribe": "1",  # and 4
    }
    return {**policies, **os.environ}


def run_lammps(
    script: str, folder: Path, ranks: int, threads: int | None = None, *words: str
) -> str:
    """Run a script in a folder, and return what LAMMPS prints; it leaves no log there.

    Parameters
    ----------
    script
        Commands, or the name of a script of the folder.
    folder
    ranks
    threads
        Of each rank, as ``OMP_NUM_THREADS``; as the environment says if None.
    words
        More arguments of ``lmp``.

    Raises
    ------
    LaunchError
        With LAMMPS's own error, where there is one.
    """
    mpiexec, lmp = find_lammps()
    environment = oversubscribing()
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as scratch:
        path: Path | str = script
        if "\n" in script:
            path = Path(scratch) / "in.commands"
            path.write_text(script)
        command = [mpiexec, "-n", str(ranks), lmp, "-in", path, "-log", "none", *words]
        try:
            done = subprocess.run(
                list(map(str, command)),
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=LONGEST,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LaunchError(f"LAMMPS must run on {ranks} ranks, found {error}") from error
    text = done.stdout + done.stderr
    if done.returncode != 0 or "ERROR" in done.stdout:
        raise LaunchError(f"LAMMPS on {ranks} ranks ended with {_reason(text)}")
    return done.stdout


def _reason(text: str) -> str:
    """LAMMPS's own sentence, or the last line."""
    found = re.search(r"ERROR[^:]*: (.+?)(?: \(src| \(/|\n(?=Last)|\n\n|$)", text, re.DOTALL)
    if found:
        return "the error: " + " ".join(found[1].split())[:500]
    last = (text.strip().splitlines() or ["no output"])[-1]
    return f"no error of its own: {last[:300]}"


def seconds_per_step(log: str) -> float:
    """Wall time of a step, from the last run of a log.

    Raises
    ------
    LaunchError
        When no run was finished.
    """
    loops = re.findall(r"Loop time of (\S+) on \d+ procs for (\d+) steps", log)
    if not loops:
        raise LaunchError("LAMMPS must finish a run, found no loop time in its output")
    seconds, steps = loops[-1]
    return float(seconds) / int(steps)
