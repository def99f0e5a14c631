# SPDX-License-Identifier: MIT
"""Resident memory of one force call by size, per atom: water through ASE, a process per size.

python benchmarks/memory.py uma-s-1p2p1.pt --task omol --atoms 96 768 2592 --recompute on
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from structures import water_box


def measure(arguments: argparse.Namespace) -> None:
    """One force call; prints atoms, edges, seconds of processors and MiB before and at the most."""
    from uma_md import UMACalculator
    from uma_md.neighbors import find_pairs

    atoms = water_box(round(arguments.atoms[0] / 3))
    calculator = UMACalculator(
        arguments.model,
        arguments.task,
        "cpu",
        recompute=arguments.recompute,
        engine=arguments.engine,
    )
    calculator.get_forces(water_box(1))  # merges, and takes what every size takes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    calculator.get_forces(atoms)
    seconds = time.process_time() - start
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cutoff = calculator.metadata.cutoff
    edges = len(find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff).senders)
    print(len(atoms), edges, seconds, before / 1024, most / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--task")
    parser.add_argument("--atoms", type=int, nargs="+", default=[96, 768, 2592])
    parser.add_argument("--recompute", default="auto")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments)
        return
    given = ["--recompute", arguments.recompute, "--engine", arguments.engine, "--measure"]
    given += ["--task", arguments.task] if arguments.task else []
    rows = []
    for atoms in arguments.atoms:
        command = [sys.executable, __file__, arguments.model, *given, "--atoms", str(atoms)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found, edges, seconds, before, most = map(float, done.stdout.split())
        rows.append((found, most))
        print(
            f"{found:.0f} atoms, {edges:.0f} edges: {seconds:.1f} s, {1e6 * seconds / edges:.1f} "
            f"µs per edge; {most:.0f} MiB at the most, {1024 * (most - before) / found:.1f} KiB "
            "per atom beyond the model",
            flush=True,
        )
    if len(rows) > 1:
        slope, intercept = np.polyfit([row[0] for row in rows], [row[1] for row in rows], 1)
        print(f"fit: {intercept:.0f} MiB + {1024 * slope:.1f} KiB per atom")


if __name__ == "__main__":
    main()
