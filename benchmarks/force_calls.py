# SPDX-License-Identifier: MIT
"""Time and memory of one force call, beside fairchem-core where it is installed.

    python benchmarks/force_calls.py uma-s-1p2p1.pt --task omol

Calls of all candidates alternate in one run, since machines drift; medians and ratios to the
first candidate are printed. Peak memory is that of a process of its own per candidate.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from structures import structure


def ours(engine: str, recompute: str) -> Callable[[argparse.Namespace], Calculator]:
    def make(arguments: argparse.Namespace) -> Calculator:
        from uma_md import UMACalculator

        return UMACalculator(
            arguments.checkpoint,
            arguments.task,
            "cpu",
            arguments.dtype,
            engine=engine,
            recompute=recompute,
        )

    return make


def fairchem(compiled: bool) -> Callable[[argparse.Namespace], Calculator]:
    def make(arguments: argparse.Namespace) -> Calculator:
        from fairchem.core import FAIRChemCalculator
        from fairchem.core.units.mlip_unit import MLIPPredictUnit
        from fairchem.core.units.mlip_unit.api.inference import InferenceSettings

        settings = InferenceSettings(
            tf32=False,
            activation_checkpointing=False,
            merge_mole=True,
            compile=compiled,
            base_precision_dtype=arguments.dtype,
        )
        unit = MLIPPredictUnit(arguments.checkpoint, device="cpu", inference_settings=settings)
        return FAIRChemCalculator(unit, task_name=arguments.task)

    return make


CANDIDATES: dict[str, Callable[[argparse.Namespace], Calculator]] = {
    "kernels, kept": ours("kernels", "off"),
    "kernels, recomputed": ours("kernels", "on"),
    "portable, kept": ours("portable", "off"),
    "portable, recomputed": ours("portable", "on"),
}
if find_spec("fairchem"):
    CANDIDATES["fairchem-core, merged"] = fairchem(compiled=False)
    CANDIDATES["fairchem-core, compiled"] = fairchem(compiled=True)


def force_call(atoms: Atoms, calculator: Calculator, seed: int) -> float:
    """Seconds of a force call on a structure that it has not seen."""
    atoms = atoms.copy()
    atoms.rattle(0.01, seed=seed)
    atoms.calc = calculator
    start = time.perf_counter()
    atoms.get_forces()
    return time.perf_counter() - start


def peak_memory(name: str, arguments: argparse.Namespace) -> float:
    """Gigabytes that a call adds to a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure_memory, (name, arguments))


def _measure_memory(name: str, arguments: argparse.Namespace) -> float:
    torch.set_num_threads(arguments.threads)
    atoms, calculator = structure(arguments.structure), CANDIDATES[name](arguments)
    Path("/proc/self/clear_refs").write_text("5")  # loading took more: the peak begins anew
    before = _status("VmRSS")
    force_call(atoms, calculator, 0)
    return (_status("VmHWM") - before) / 1e9


def _status(name: str) -> float:
    """A figure of Linux's on this process, bytes: its memory, or the peak of it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return 1024 * float(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--task", default="omol")
    parser.add_argument("--structure", default="water:32", help="a name of tests/structures.py")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    atoms = structure(arguments.structure)
    made = {name: make(arguments) for name, make in CANDIDATES.items()}
    times: dict[str, list[float]] = {name: [] for name in made}
    for repeat in range(arguments.repeats + 1):
        for name, calculator in made.items():
            seconds = force_call(atoms, calculator, repeat)
            if repeat > 0:  # the first call warms up
                times[name].append(seconds)
    base = statistics.median(next(iter(times.values())))
    print(f"{len(atoms)} atoms, {arguments.threads} threads, {arguments.dtype}")
    for name, values in times.items():
        median = statistics.median(values)
        memory = peak_memory(name, arguments)
        print(f"{name:24s} {median:7.2f} s   x{median / base:5.2f}   {memory:5.2f} GB")


if __name__ == "__main__":
    main()
