# SPDX-License-Identifier: MIT
"""Time and memory of force calls with some settings, each in a process of its own.

Run as a program, with a trial as JSON in its argument, it measures and prints JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LONGEST = 3600  # seconds
MOVE = 0.01  # angstrom, from one call to the next


@dataclass(frozen=True)
class Trial:
    """Settings to measure.

    Attributes
    ----------
    name
    model
        An exported file.
    structure
        A file of extended XYZ.
    device
    threads
    repeats
        Force calls of which the median counts.
    options
        Of ``UMACalculator``: chunk, recompute, precision, engine.
    """

    name: str
    model: str
    structure: str
    device: str
    threads: int
    repeats: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a trial gave.

    Attributes
    ----------
    name
    options
    seconds
        Of a force call, the median; None where it failed.
    first
        Seconds of the first call.
    memory
        Bytes that a call adds at its peak, on the device where the network runs.
    engine, precision, device
        What computed it.
    error
        Why there are no numbers, or empty.
    """

    name: str
    options: dict[str, Any]
    seconds: float | None = None
    first: float | None = None
    memory: int | None = None
    engine: str = ""
    precision: str = ""
    device: str = ""
    error: str = ""


def measure(trial: Trial) -> Outcome:
    """Measure a trial in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(trial.threads)}
    command = [sys.executable, "-m", __spec__.name, json.dumps(asdict(trial))]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(trial.name, trial.options, error=f"took more than {LONGEST} s")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Outcome(trial.name, trial.options, error=last[:300])
    return Outcome(trial.name, trial.options, **json.loads(done.stdout.splitlines()[-1]))


def _measure(trial: Trial) -> dict[str, Any]:
    """Measure a trial in this process."""
    import numpy as np
    import torch

    from uma_md import UMACalculator
    from uma_md.files.structures import read_structure

    torch.set_num_threads(trial.threads)
    atoms = read_structure(trial.structure, "extxyz")
    atoms.calc = UMACalculator(trial.model, device=trial.device, **trial.options)
    device = atoms.calc.device
    rng, seconds = np.random.default_rng(1), []
    before = _begin_peak(device)
    for _ in range(trial.repeats + 1):
        atoms.positions += rng.normal(scale=MOVE, size=atoms.positions.shape)
        start = time.perf_counter()
        atoms.get_forces()
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": statistics.median(seconds[1:]),
        "first": seconds[0],
        "memory": _peak(device) - before,
        "engine": atoms.calc.engine,
        "precision": atoms.calc.precision,
        "device": str(device),
    }


def _begin_peak(device: Any) -> int:
    """Begin to watch the most memory that is taken; returns what is taken now, bytes."""
    import torch

    if device.type != "cpu":
        torch.accelerator.reset_peak_memory_stats(device)
        return int(torch.accelerator.memory_allocated(device))
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak(device: Any) -> int:
    """The most memory that was taken since, bytes."""
    import torch

    if device.type != "cpu":
        return int(torch.accelerator.max_memory_allocated(device))
    return _status("VmHWM")


def _status(name: str) -> int:
    """A figure of Linux's on this process, bytes: its memory, or the peak of it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    print(json.dumps(_measure(Trial(**json.loads(sys.argv[1])))))  # noqa: T201  its result
