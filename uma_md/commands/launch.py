# SPDX-License-Identifier: MIT
"""Starting LAMMPS over MPI ranks from a command, and what its log says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from uma_md.build import BuildError, find_tool
from uma_md.progress import Progress

LONGEST = 3600  # seconds
ADVICE = "'uma-md doctor' says what to mend"
_NONE: Mapping[str, object] = MappingProxyType({})


class LaunchError(RuntimeError):
    """A program could not be started, or ended with an error; the text is one sentence."""


def _unseen(line: str) -> None:
    """Whoever watches nothing."""


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


def run_program(
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str],
    seconds: float = LONGEST,
    watch: Callable[[str], None] = _unseen,
) -> subprocess.CompletedProcess[str]:
    """Run a program with all that it starts; none of these is left when it returns.

    Parameters
    ----------
    command, folder, environment
    seconds
        How long it may take.
    watch
        Takes each line of the standard output as it comes.

    Raises
    ------
    OSError
        When it cannot be started.
    LaunchError
        When it takes longer.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            _end(process)

        limit = threading.Timer(seconds, stop)
        limit.start()
        lines = []
        try:
            for line in process.stdout or []:
                lines.append(line)
                watch(line)
            process.wait()
        finally:
            limit.cancel()
            _end(process)
            process.communicate()
        if late.is_set():
            raise LaunchError(f"the run must end within {seconds:g} s, found it running")
        errors.seek(0)
        printed = "".join(lines), errors.read()
    return subprocess.CompletedProcess(process.args, process.returncode, *printed)


def _end(process: subprocess.Popen[str]) -> None:
    """End a program and all that it started, which are of one group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run_lammps(
    script: str | Path,
    folder: Path,
    ranks: int,
    threads: int | None = None,
    settings: Mapping[str, object] = _NONE,
    watch: Callable[[str], None] = _unseen,
) -> str:
    """Run a script in a folder, and return what LAMMPS prints; it leaves no log there.

    Parameters
    ----------
    script
        Commands, or the path of a script, seen from the folder.
    folder
    ranks
    threads
        Of each rank, as ``OMP_NUM_THREADS``; as the environment says if None.
    settings
        Values for variables of the script.
    watch
        Takes each line as it is printed.

    Raises
    ------
    LaunchError
        With LAMMPS's own error, where there is one.
    """
    mpiexec, lmp = find_lammps()
    environment = oversubscribing()
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    words = [word for name, value in settings.items() for word in ("-var", name, f"{value}")]
    with tempfile.TemporaryDirectory() as scratch:
        path = script
        if "\n" in str(script):
            path = Path(scratch) / "in.commands"
            path.write_text(str(script))
        command = [mpiexec, "-n", str(ranks), lmp, "-nonbuf", "-in", path, "-log", "none", *words]
        try:
            done = run_program(command, folder, environment, watch=watch)
        except OSError as error:
            raise LaunchError(f"LAMMPS must run on {ranks} ranks, found {error}") from error
    if done.returncode != 0 or "ERROR" in done.stdout:
        text = done.stdout + done.stderr
        raise LaunchError(f"LAMMPS on {ranks} ranks ended with {_reason(text)}")
    return done.stdout


def run_long(
    script: Path, folder: Path, ranks: int, settings: Mapping[str, object], steps: int
) -> str:
    """Run a script of so many time steps as ``run_lammps`` does, with a bar on a terminal."""
    with Progress(steps) as progress:
        progress.begin(f"LAMMPS on {ranks} rank{'s' if ranks > 1 else ''}")

        def watch(line: str) -> None:
            if found := re.match(r" +(\d+) +\S", line):  # of thermodynamic output
                progress.reach(int(found[1]))

        return run_lammps(script, folder, ranks, settings=settings, watch=watch)


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
