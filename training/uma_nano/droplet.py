# SPDX-License-Identifier: MIT
"""The first O-O peak of water in a droplet of 20 molecules, by the teacher and by the model.

Usage: ``python droplet.py teacher`` or ``python droplet.py FILE [--steps N]``

A droplet, since periodic GFN2-xTB is too slow for long runs. Hydrogens weigh as much as deuterium,
which allows steps of 1 fs and leaves classical averages of positions as they are.
"""

from __future__ import annotations

import argparse

import numpy as np
from ase import units
from ase.md.langevin import Langevin
from systems import cluster
from teachers import teacher

from uma_md import UMACalculator


def first_peak(distances: np.ndarray) -> float:
    """Position of the first peak of g(r), angstrom: the top of a parabola through it."""
    edges = np.arange(2.2, 3.6, 0.05)
    counts, _ = np.histogram(distances, edges)
    centers = (edges[1:] + edges[:-1]) / 2
    values = counts / centers**2
    top = int(values.argmax())
    near = slice(top - 2, top + 3)
    curve = np.polyfit(centers[near], np.log(values[near]), 2)
    return float(-curve[1] / (2 * curve[0]))


def main() -> None:
    """Run the droplet and print the peak of each half of the run, and of the whole."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="teacher, or a checkpoint")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    atoms = cluster(None, 20, rng)
    if options.model == "teacher":
        atoms.calc = teacher(atoms, "omol")
    else:
        atoms.calc = UMACalculator(options.model, "omol", "cpu")
    atoms.set_masses([2.014 if number == 1 else 15.999 for number in atoms.numbers])
    dynamics = Langevin(
        atoms, units.fs, temperature_K=300, friction=0.01 / units.fs, fixcm=False, rng=rng
    )
    oxygens = np.flatnonzero(atoms.numbers == 8)
    found = []
    for _ in range(options.steps // 10):
        dynamics.run(10)
        places = atoms.positions[oxygens]
        pairs = np.linalg.norm(places[:, None] - places[None], axis=2)
        found.append(pairs[np.triu_indices(len(places), 1)])
    kept = np.array(found[len(found) // 3 :])
    half = len(kept) // 2
    print(f"first peak {first_peak(kept.ravel()):.3f} A, {options.steps // 3} steps left out")
    print(f"its halves {first_peak(kept[:half].ravel()):.3f} {first_peak(kept[half:].ravel()):.3f}")


if __name__ == "__main__":
    main()
