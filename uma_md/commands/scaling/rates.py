# SPDX-License-Identifier: MIT
"""The rates of this machine: the time of an edge, and what MPI moves between two ranks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from uma_md.batching import build_graph
from uma_md.commands.scaling.systems import structure_of
from uma_md.options import RunOptions
from uma_md.potential import Potential
from uma_md.ranks.placement import pick_device
from uma_md.ranks.traffic import RowShape

TIME_LIMIT = 120  # seconds, for two ranks to measure their messages
ATOMS = 375
CALLS = 3


def load(model: str, task: str | None) -> Potential:
    """Load a model on the device that ``auto`` stands for.

    Raises
    ------
    OSError, ValueError
        As ``uma_md.loading.load_model`` says.
    """
    return Potential(model, task, RunOptions(), pick_device("auto"))


def shape_of(potential: Potential) -> RowShape:
    """What of a model decides how much is sent."""
    metadata = potential.metadata
    size = np.dtype(metadata.dtype).itemsize
    row = (metadata.lmax + 1) ** 2 * metadata.sphere_channels * size
    return RowShape(metadata.num_layers, row, potential.network.num_balanced)


def seconds_per_edge(potential: Potential) -> float:
    """Time of a force call of water over its edges, the best of a few, neighbor lists left out."""
    system = structure_of("water", ATOMS).build()
    metadata = potential.metadata
    potential.merge(system.atomic_numbers, metadata.charge, metadata.spin)
    graph = build_graph(*system, metadata.cutoff, metadata.max_neighbors, potential.device)
    times = []
    for _ in range(CALLS + 1):
        start = time.perf_counter()
        potential.properties(graph)
        times.append(time.perf_counter() - start)
    return min(times[1:]) / len(graph.senders)


def network() -> tuple[float, float]:
    """Bandwidth in bytes per second and latency in seconds, of two ranks of this environment's MPI.

    Raises
    ------
    ValueError
        When there is no MPI, or its ranks do not end well.
    """
    advice = "give --bandwidth and --latency"
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    if launcher is None or find_spec("mpi4py") is None:
        raise ValueError(f"measuring messages needs mpiexec and mpi4py, found not both: {advice}")
    command = [launcher, "-n", "2", sys.executable, "-m", "uma_md.commands.scaling.ping"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIME_LIMIT, check=True
        )
        bandwidth, latency = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise ValueError(
            f"two ranks must measure their messages, found {error}: {advice}"
        ) from None
    return float(bandwidth), float(latency)
