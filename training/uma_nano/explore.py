# SPDX-License-Identifier: MIT
"""Let the model find its own holes: MD or relaxations with it, frames labelled by the teacher.

Usage: ``python explore.py --model FILE --output FOLDER --round N [--relax] [--times N]``

Frames of MD come at even times and, where forces grow or the temperature runs away, right there.
A tenth of the runs is held out, as in the first data. The structures are appended to
``FOLDER/FAMILY.npz``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.md.langevin import Langevin
from ase.optimize import LBFGS
from dataset import Labelled, add
from liquid import liquid_water
from systems import (
    METALS,
    ORGANICS,
    close_carbon_monoxide,
    cluster,
    crystal,
    ion,
    slab,
    with_state,
)
from teachers import label

from uma_md import UMACalculator

RUNAWAY_FORCE = 15.0  # eV/angstrom
Start = tuple[str, str, Atoms, float, float]  # task, family, structure, temperature, time (ps)


def starts(rng: np.random.Generator) -> Iterator[Start]:
    """Where the runs of one round begin."""
    for density in (0.9, 1.0, 1.0, 1.1, 1.25):
        temperature = float(rng.uniform(280, 420))
        (box,) = liquid_water(16, density, temperature, 1, rng)
        yield "omol", "liquid water", box, temperature, 0.5
    for _ in range(6):
        droplet = cluster(None, int(rng.integers(12, 24)), rng)
        yield "omol", "water droplets", droplet, float(rng.uniform(250, 400)), 0.5
    for run in range(10):
        hydrated = cluster(ion((1, 1, -1)[run % 3]), int(rng.integers(2, 18)), rng)
        yield "omol", "hydrated ions", hydrated, float(rng.uniform(250, 400)), 1.0
    for name in ORGANICS:
        temperature = float(rng.uniform(300, 1500))
        yield "omol", "organic molecules", with_state(molecule(name)), temperature, 0.5
    for run in range(8):
        solid = crystal((METALS[run % 4],), rng)
        yield "omat", "metals", solid, float(rng.choice([300, 1200, 2500])), 1.0
    for run in range(8):
        yield "oc20", "slabs", slab(METALS[run % 4], rng), float(rng.uniform(300, 900)), 0.5


def starts_of_relaxations(rng: np.random.Generator) -> Iterator[Start]:
    """Where relaxations begin: adsorbates above surfaces, and distorted molecules."""
    for run in range(160):
        yield "oc20", "slabs", slab(METALS[run % 4], rng), 0.0, 0.0
    for run in range(90):
        yield "oc20", "slabs", close_carbon_monoxide(METALS[run % 4], rng), 0.0, 0.0
    for name in ORGANICS * 4:
        atoms = with_state(molecule(name))
        atoms.positions += rng.normal(scale=0.15, size=atoms.positions.shape)
        yield "omol", "organic molecules", atoms, 0.0, 0.0


def relaxed(start: Start, calculator: UMACalculator) -> Iterator[Atoms]:
    """Frames of a relaxation with the model."""
    atoms = start[2].copy()
    atoms.calc = calculator
    relaxation = LBFGS(atoms, logfile=os.devnull)
    for steps in (5, 5, 10, 20, 40):
        converged = relaxation.run(fmax=0.05, steps=steps)
        yield atoms.copy()
        if converged:
            return


def frames(
    start: Start, calculator: UMACalculator, count: int, rng: np.random.Generator
) -> Iterator[Atoms]:
    """Frames of a run with the model, which ends where it runs away."""
    task, _, atoms, temperature, length = start
    atoms = atoms.copy()
    atoms.calc = calculator
    spread = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * spread[:, None])
    step = 0.5 if task == "omol" else 2.0
    dynamics = Langevin(
        atoms, step * units.fs, temperature_K=temperature, friction=0.01 / units.fs, rng=rng,
        fixcm=False,
    )  # fmt: skip
    stride = max(1, round(1000 * length / step / count / 10))
    for k in range(1, 10 * count + 1):
        dynamics.run(stride)
        hot = atoms.get_temperature() > 4 * temperature + 500
        away = abs(atoms.get_forces()).max() > RUNAWAY_FORCE or hot
        if k % 10 == 0 or away:
            yield atoms.copy()
        if away:
            return


def main() -> None:
    """Run one round."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--round", type=int, required=True)
    parser.add_argument("--frames", type=int, default=6, help="per run")
    parser.add_argument("--tasks", nargs="+", default=["omol", "omat", "oc20"])
    parser.add_argument("--relax", action="store_true", help="relaxations instead of MD")
    parser.add_argument("--times", type=int, default=1, help="how often all runs are made")
    options = parser.parse_args()
    rng = np.random.default_rng(options.round)
    calculators = {task: UMACalculator(options.model, task, "cpu") for task in options.tasks}
    found: list[Labelled] = []
    draw = starts_of_relaxations if options.relax else starts
    for run, start in enumerate(chain.from_iterable(draw(rng) for _ in range(options.times))):
        task, family, *_ = start
        if task not in calculators:
            continue
        taken = 0
        if options.relax:
            taking = relaxed(start, calculators[task])
        else:
            taking = frames(start, calculators[task], options.frames, rng)
        for frame in taking:
            largest_force = RUNAWAY_FORCE if options.relax else None
            item = label(frame, task, family, 1000 * options.round + run, largest_force)
            taken += 1
            if item is not None:
                found.append(item)
        early = " (ran away)" if taken < options.frames and not options.relax else ""
        print(f"{family}, {start[2].symbols}: {taken} frames{early}", flush=True)
    add(options.output, found)
    print(f"{len(found)} structures", flush=True)


if __name__ == "__main__":
    main()
