# SPDX-License-Identifier: MIT
"""Time of many small molecules in batches, beside one after the other through ASE.

    python benchmarks/predictions.py uma-nano --task omol

Three lists: molecules of ASE's G2 set in random order, conformers of one molecule, and clusters no
two of which have the same composition, for which experts merge each time in both ways. Both ways
take turns in one run; medians are printed. On one thread of a CPU the time is that of the process,
which others on the machine disturb less.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.collections import g2

from uma_md import UMACalculator

CONFORMER = "CH3CH2OH"


def mixed(count: int, elements: list[str]) -> list[Atoms]:
    """Molecules of several atoms that the model knows, rattled, in random order."""
    names = [
        name
        for name in g2.names
        if len(molecule(name)) > 1 and set(molecule(name).symbols) <= set(elements)
    ]
    made = [rattled(molecule(names[number % len(names)]), number) for number in range(count)]
    return [made[number] for number in np.random.default_rng(0).permutation(count)]


def conformers(count: int, elements: list[str]) -> list[Atoms]:
    return [rattled(molecule(CONFORMER), number) for number in range(count)]


def distinct(count: int, elements: list[str]) -> list[Atoms]:
    """Atoms on a grid, each time with other shares of hydrogen and of two more elements."""
    rng = np.random.default_rng(0)
    grid = 1.6 * np.argwhere(np.ones((3, 3, 2)))
    made: dict[tuple[float, ...], Atoms] = {}
    while len(made) < count:
        size = int(rng.integers(6, 19))
        atoms = Atoms(rng.choice(elements, size), grid[rng.permutation(18)[:size]])
        shares = np.bincount(atoms.numbers, minlength=120) / size
        made.setdefault(tuple(shares.round(12)), rattled(atoms, len(made)))
    return list(made.values())


def rattled(atoms: Atoms, seed: int) -> Atoms:
    atoms.rattle(0.03, seed=seed)
    return atoms


LISTS: dict[str, Callable[[int, list[str]], list[Atoms]]] = {
    "mixed": mixed,
    "conformers": conformers,
    "distinct": distinct,
}


def one_by_one(calculator: UMACalculator, structures: list[Atoms]) -> list[np.ndarray]:
    forces = []
    for atoms in structures:
        alone = atoms.copy()
        alone.calc = calculator
        forces.append(alone.get_forces())
    return forces


def in_batches(calculator: UMACalculator, structures: list[Atoms]) -> list[np.ndarray]:
    return [found.forces for found in calculator.predict(structures, progress=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--task", default="omol")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--lists", nargs="+", choices=LISTS, default=list(LISTS))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="initial magnetic moments")
    torch.set_num_threads(arguments.threads)
    calculator = UMACalculator(arguments.model, arguments.task, arguments.device, arguments.dtype)
    elements = [symbol for symbol in calculator.metadata.elements if symbol]
    alone = calculator.device.type == "cpu" and arguments.threads == 1
    clock = time.process_time if alone else time.perf_counter
    ways = {"one by one": one_by_one, "in batches": in_batches}
    print(f"{arguments.count} structures, {arguments.threads} threads, {arguments.dtype}")
    for kind in arguments.lists:
        structures = LISTS[kind](arguments.count, elements[:8] if kind == "distinct" else elements)
        for way in ways.values():
            way(calculator, structures[:20])
        times: dict[str, list[float]] = {name: [] for name in ways}
        found = {}
        for _ in range(arguments.repeats):
            for name, evaluate in ways.items():
                start = clock()
                found[name] = evaluate(calculator, structures)
                times[name].append(clock() - start)
        single, batches = (statistics.median(values) for values in times.values())
        pairs = zip(*found.values(), strict=True)
        difference = max(float(np.abs(one - other).max()) for one, other in pairs)
        formulas = len({str(atoms.symbols.formula.format("hill")) for atoms in structures})
        print(
            f"{kind:12s} {formulas:5d} formulas  one by one {single:7.2f} s  in batches "
            f"{batches:7.2f} s  x{single / batches:5.1f}  forces differ by {difference:.0e}"
        )


if __name__ == "__main__":
    main()
