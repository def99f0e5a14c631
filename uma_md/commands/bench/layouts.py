# SPDX-License-Identifier: MIT
"""Steps of LAMMPS by ranks and threads, or by ranks on each accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from uma_md.commands.launch import LaunchError, run_lammps, seconds_per_step
from uma_md.commands.setup.lammps_files import RUN

MOST_SHARERS = 2  # ranks on one accelerator: more than one seldom pays


@dataclass(frozen=True)
class Layout:
    """Ranks, threads of each, and what a step takes.

    Attributes
    ----------
    ranks, threads
    seconds
        Of a step; None where LAMMPS failed.
    error
        Why, or empty.
    """

    ranks: int
    threads: int
    seconds: float | None = None
    error: str = ""


def layouts(cores: int, accelerators: int, atoms: int) -> list[tuple[int, int]]:
    """Ranks and threads to try: with accelerators, ranks on each; else all that fill the cores."""
    if accelerators:
        threads = max(1, cores // (accelerators * MOST_SHARERS))
        return [(n * accelerators, threads) for n in range(1, MOST_SHARERS + 1)]
    fitting = [n for n in range(1, cores + 1) if cores % n == 0 and n <= max(1, atoms)]
    if len(fitting) > 5:  # one rank, all cores, and three between
        fitting = sorted({fitting[round(k * (len(fitting) - 1) / 4)] for k in range(5)})
    return [(ranks, cores // ranks) for ranks in fitting]


def measure_layout(folder: Path, ranks: int, threads: int, steps: int) -> Layout:
    """Run some steps of a folder."""
    try:
        log = run_lammps(RUN, folder, ranks, threads, {"steps": steps})
        return Layout(ranks, threads, seconds_per_step(log))
    except LaunchError as error:
        return Layout(ranks, threads, error=str(error))
