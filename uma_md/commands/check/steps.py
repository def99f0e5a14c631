# SPDX-License-Identifier: MIT
"""A few steps of a folder's own run, in a copy of it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from uma_md.commands.launch import LaunchError, run_lammps, run_program
from uma_md.commands.setup.ipi_files import INPUT
from uma_md.commands.setup.lammps_files import RUN


def run_steps(folder: Path, engine: str, steps: int, ranks: int) -> np.ndarray:
    """Run some steps of a folder; returns rows of step, potential energy (eV), temperature (K).

    Raises
    ------
    LaunchError
        When the run ends with an error.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "run"
        shutil.copytree(folder, copy)
        if engine == "lammps":
            return _thermo(run_lammps(RUN, copy, ranks, settings={"steps": steps}))
        if engine == "ipi":
            _shorten(copy, steps)
            _shell(["sh", "run.sh"], copy)
            table = np.loadtxt(copy / "run.out", ndmin=2)
            return np.asarray(table[:, [0, 4, 3]])
        lines = _shell([sys.executable, "run.py", str(steps)], copy).splitlines()
        rows = [line.split() for line in lines if re.match(r" *\d+ ", line)]
        return np.array([[row[0], row[1], row[3]] for row in rows], dtype=float)


def _thermo(log: str) -> np.ndarray:
    """The last table of LAMMPS's thermodynamic output: step, time, temperature, energy."""
    table = log.rpartition("Step ")[2].partition("Loop time")[0].splitlines()[1:]
    rows = [line.split() for line in table if re.match(r" *\d+ ", line)]
    return np.array([[row[0], row[3], row[2]] for row in rows], dtype=float)


def _shorten(copy: Path, steps: int) -> None:
    """Fewer steps, each of them written, and a socket of its own."""
    text = (copy / INPUT).read_text()
    text = re.sub(r"<total_steps>.*?</total_steps>", f"<total_steps>{steps}</total_steps>", text)
    text = re.sub(r"stride='\d+' *>|filename='out' stride='\d+'", _every_step, text)
    address = re.search(r"<address>\s*(\S+)\s*</address>", text)
    if address is None:
        raise LaunchError(f"{INPUT} must have an <address>, found none")
    other = f"uma-check-{os.getpid()}"
    (copy / INPUT).write_text(text.replace(address[0], f"<address>{other}</address>"))
    script = (copy / "run.sh").read_text()
    (copy / "run.sh").write_text(script.replace(f"--unix {address[1]}", f"--unix {other}"))


def _every_step(found: re.Match[str]) -> str:
    return re.sub(r"\d+", "1", found[0])


def _shell(command: list[str], folder: Path) -> str:
    """Output of a command, with this Python's programs first on the path."""
    programs = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = run_program(command, folder, environment)
    if done.returncode != 0:
        last = ((done.stdout + done.stderr).strip().splitlines() or ["no output"])[-1]
        raise LaunchError(f"the run ended with: {last[:500]}")
    return done.stdout
