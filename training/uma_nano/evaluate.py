# SPDX-License-Identifier: MIT
"""Measure uma-nano: errors on held-out structures, metals and molecules against the teachers.

Usage: ``python evaluate.py --model FILE --data FOLDER [FOLDER ...]``
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from ase.optimize import BFGS
from dataset import Labelled, load_folder
from systems import LATTICE, METALS, graph_of, molecules, with_state
from teachers import teacher

from uma_md import UMACalculator


class Error(NamedTuple):
    """An RMS error and the standard error of it, from the spread over the structures."""

    rms: float
    uncertainty: float


def rms_error(squares: np.ndarray, weights: np.ndarray) -> Error:
    """RMS from mean squares of structures, 1000 times as large."""
    mean = np.average(squares, weights=weights)
    spread = np.sqrt(np.square(weights * (squares - mean)).sum()) / weights.sum()
    return Error(1000 * float(np.sqrt(mean)), 1000 * float(spread / (2 * np.sqrt(mean))))


def held_out_errors(
    model: str, data: Iterable[Labelled]
) -> dict[tuple[str, str], tuple[int, Error, Error]]:
    """Number, errors of forces (meV/angstrom) and energies (meV/atom) by task and family."""
    calculators: dict[str, UMACalculator] = {}
    squares: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    for item in data:
        if item.task not in calculators:
            calculators[item.task] = UMACalculator(model, item.task, "cpu")
        atoms = item.atoms.copy()
        atoms.calc = calculators[item.task]
        energy = (atoms.get_potential_energy() - item.energy) / len(atoms)
        force = np.square(atoms.get_forces() - item.forces).mean()
        squares[item.task, item.family].append((energy**2, force, len(atoms)))
    rows = {}
    for key, found in sorted(squares.items()):
        energies, forces, sizes = np.array(found).T
        rows[key] = (len(found), rms_error(forces, sizes), rms_error(energies, np.ones(len(found))))
    return rows


def water_forces(
    model: str, data: Iterable[Labelled], reach: float = 3.4
) -> tuple[float, float, float]:
    """Errors of the forces on whole molecules of water in the gas phase, meV/angstrom.

    RMS of the components; and, of pairs with oxygens closer than ``reach`` (angstrom), the mean of
    how much more the molecules are pushed apart than with the teacher, and its standard error.
    """
    calculator = UMACalculator(model, "omol", "cpu")
    squares, pushes = [], []
    for item in data:
        atoms = item.atoms.copy()
        atoms.calc = calculator
        oxygens = np.flatnonzero(atoms.numbers == 8)
        owners = molecules(graph_of(atoms, 2.5))
        errors = np.zeros((owners.max() + 1, 3))
        np.add.at(errors, owners, atoms.get_forces() - item.forces)
        errors = errors[owners[oxygens]]
        squares.append(np.square(errors).mean())
        one, other = np.triu_indices(len(oxygens), 1)
        apart = atoms.positions[oxygens[one]] - atoms.positions[oxygens[other]]
        distances = np.linalg.norm(apart, axis=1)
        near = distances < reach
        push = ((errors[one] - errors[other]) * apart).sum(axis=1) / distances / 2
        pushes.append(push[near])
    push = 1000 * np.concatenate(pushes)
    error = push.std() / np.sqrt(len(push))
    return 1000 * float(np.sqrt(np.mean(squares))), float(push.mean()), float(error)


def lattice_and_bulk_modulus(symbol: str, calculator: Calculator) -> tuple[float, float]:
    """Lattice constant (angstrom) and bulk modulus (GPa) of an fcc metal."""
    volumes, energies = [], []
    for scale in np.linspace(0.97, 1.03, 13):
        cube = bulk(symbol, "fcc", a=LATTICE[symbol] * scale, cubic=True)
        cube.calc = calculator
        volumes.append(cube.get_volume())
        energies.append(cube.get_potential_energy())
    volume, _, modulus = EquationOfState(volumes, energies).fit()
    return float(volume ** (1 / 3)), float(modulus / units.GPa)


def methylene_gap(task_calculator: Calculator | None) -> float:
    """Energy of relaxed singlet methylene less that of the triplet, eV."""
    energies = []
    for name, spin in (("CH2_s1A1d", 1), ("CH2_s3B1d", 3)):
        atoms: Atoms = with_state(molecule(name), 0, spin)
        atoms.calc = task_calculator or teacher(atoms, "omol")
        BFGS(atoms, logfile=os.devnull).run(fmax=0.01, steps=200)
        energies.append(atoms.get_potential_energy())
    return float(energies[0] - energies[1])


def main() -> None:
    """Print everything as tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="uma-nano")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    data = [item for folder in options.data for item in load_folder(folder, held_out=True)]
    for (task, family), (number, force, energy) in held_out_errors(options.model, data).items():
        print(f"{task:5} {family:20} {number:5} {force.rms:8.1f} meV/A {energy.rms:8.2f} meV/atom")
    settled = [item for item in data if item.family == "settled droplets"]
    if settled:
        rms, push, error = water_forces(options.model, settled)
        print(
            f"molecules in settled droplets: force {rms:.1f} meV/A, "
            f"pairs within 3.4 A pushed apart by {push:+.1f} ± {error:.1f} meV/A too much"
        )
    metal = UMACalculator(options.model, "omat", "cpu")
    for symbol in METALS:
        found, expected = (lattice_and_bulk_modulus(symbol, c) for c in (metal, EMT()))
        print(
            f"{symbol}: lattice constant {found[0]:.4f} A (EMT {expected[0]:.4f}), "
            f"bulk modulus {found[1]:.1f} GPa (EMT {expected[1]:.1f})"
        )
    gap, expected_gap = (
        methylene_gap(UMACalculator(options.model, "omol", "cpu")),
        methylene_gap(None),
    )
    print(f"CH2 singlet-triplet gap {gap:.3f} eV (GFN2-xTB {expected_gap:.3f})")


if __name__ == "__main__":
    main()
