# SPDX-License-Identifier: MIT
"""What it gains that rows of remote atoms travel while messages between own atoms are computed.

    python benchmarks/overlap.py uma-nano --task omol --atoms 768 --megabytes 100 25 10

Two ranks on two nodes of this machine, joined by a network that carries so many megabytes a second
each way (namespaces of Linux and ``tc``, as root). Force calls through ASE take turns: one of two
has edges that are not told apart, so that all messages wait for the rows. Medians are printed, of
the slower rank, and the seconds that the rows of a call take at the network's rate.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from structures import water_box
from two_nodes import COUNTER, launch, why_not

CORES = len(os.sched_getaffinity(0))
ENVIRONMENT = {
    **os.environ,
    "MPIR_CVAR_CH4_NETMOD": "ofi",  # as tests/test_nodes.py says
    "OMP_NUM_THREADS": str(max(1, CORES // 2)),  # nodes do not know that they share a machine
}


def traffic() -> np.ndarray:
    """Bytes that have left and reached this node, (2,)."""
    return np.array([int((COUNTER / f"{way}_bytes").read_text()) for way in ("tx", "rx")])


def measure(arguments: argparse.Namespace) -> None:
    """As one of the ranks: print seconds of force calls, with and without overlap."""
    from mpi4py import MPI

    from uma_md import UMACalculator
    from uma_md.graph import Graph
    from uma_md.ranks.decomposition import Part

    world, told_apart, graph_of = MPI.COMM_WORLD, True, Part.graph

    def graph(self: Part, *details: Any) -> Graph:
        found = graph_of(self, *details)
        return found if told_apart else found._replace(num_inner=-1)

    Part.graph = graph  # type: ignore[method-assign, assignment]
    atoms = water_box(arguments.atoms // 3)
    atoms.calc = UMACalculator(arguments.model, arguments.task, device="cpu", comm=world)
    times: dict[bool, list[float]] = {True: [], False: []}
    for call in range(2 + 2 * arguments.calls):  # the first two warm up
        if call == 2:
            before = traffic()
        told_apart = call % 2 == 0
        atoms.rattle(1e-4, seed=call)
        world.Barrier()
        start = time.perf_counter()
        atoms.get_forces()
        seconds = world.allreduce(time.perf_counter() - start, MPI.MAX)
        if call >= 2:
            times[told_apart].append(seconds)
    if world.rank == 0:
        medians = [statistics.median(times[way]) for way in (False, True)]
        travelled = (traffic() - before).max() / (2 * arguments.calls)
        print(json.dumps({"medians": medians, "travelled": travelled}))


def main() -> None:
    """Print a table of networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--task", default="omol")
    parser.add_argument("--atoms", type=int, default=768)
    parser.add_argument("--calls", type=int, default=7, help="of each kind")
    parser.add_argument("--megabytes", nargs="+", type=float, default=[100.0, 25.0, 10.0])
    parser.add_argument("--as-rank", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_rank:
        measure(arguments)
        return
    if why_not():
        parser.error(why_not())
    if shutil.which("tc") is None:
        parser.error("needs tc, as of the package iproute2")
    command: list[object] = [sys.executable, __file__, *sys.argv[1:], "--as-rank"]
    print("MB/s   on the wire (s)   without overlap (s)   with overlap (s)   ratio")
    for megabytes in arguments.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            done = launch((1, 1), Path(folder), command, ENVIRONMENT, megabytes)
        if done.code:
            sys.exit(done.output)
        found = json.loads(done.output.splitlines()[-1])
        without, overlapping = found["medians"]
        wire = found["travelled"] / megabytes / 1e6
        print(
            f"{megabytes:4g} {wire:17.4f} {without:21.4f} {overlapping:18.4f} "
            f"{overlapping / without:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
