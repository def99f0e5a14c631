# SPDX-License-Identifier: MIT
"""What ``test_mpi.py`` computes on ranks and alone: models, structures, properties."""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from structures import structure

DATA = Path(__file__).parent / "data"
TINY = ("tiny-1p1", "tiny-1p2", "tiny-1p2p1", "tiny-m", "tiny-l6", "esen-bare", "esen-few")
SPECS = ("water:8", "shear", "mol:CH3CH2OH@-1,2", "mol:OH@-1,1", "lattice")
MORE_SPECS = ("water:32", "slab", "far", "wire", "outside", "mol:H")


def atoms_of(spec: str) -> Atoms:
    """Structures of ``structures.py``, and some that only decomposition finds special."""
    if spec == "lattice":
        return bulk("Cu")  # one atom, whose images are its only neighbors
    if spec == "wire":
        wire = structure("nacl:2")[:24]
        wire.set_cell(np.diag([11.3, 0.0, 0.0]))
        wire.pbc = (True, False, False)
        return wire
    if spec == "outside":
        atoms = structure("cutri:3")
        images = np.random.default_rng(1).integers(-3, 4, (len(atoms), 3))
        atoms.positions += images @ atoms.cell.array
        return atoms
    if spec == "mol:H":
        return Atoms("H", info={"spin": 2})
    return structure(spec)


def cases() -> list[tuple[str, str, str]]:
    """Variants, dtypes and structures that are compared with one rank."""
    pairs = [(variant, "float64", spec) for variant in TINY for spec in SPECS]
    pairs += [("tiny-1p2p1", "float64", spec) for spec in MORE_SPECS]
    return [*pairs, ("tiny-1p2p1", "float32", "water:8"), ("tiny-1p1", "float32", "shear")]


def few_cases() -> list[tuple[str, str, str]]:
    """Of ``cases`` each model with one structure in float64, and one model with all of them."""
    first = [(variant, SPECS[k % len(SPECS)]) for k, variant in enumerate(TINY)]
    return [
        case
        for case in cases()
        if case[0] == "tiny-1p2p1" or case[1] == "float32" or case[::2] in first
    ]


def node_cases() -> list[tuple[str, str, str]]:
    """What is computed over a network: with sums of channels and without, in both precisions."""
    return [
        ("tiny-1p1", "float64", "water:8"),
        ("tiny-1p2p1", "float64", "water:32"),
        ("tiny-1p2p1", "float32", "water:8"),
        ("esen-few", "float64", "shear"),
    ]


def model(name: str) -> Path:
    return DATA / f"{name}.pt"


def properties(atoms: Atoms) -> dict[str, np.ndarray]:
    found = {name: np.array(atoms.calc.get_property(name, atoms)) for name in ("energy", "forces")}
    found["energies"] = atoms.calc.get_property("energies", atoms)
    if atoms.cell.rank == 3:
        found["stress"] = atoms.get_stress()
    return found


def run_md(atoms: Atoms, steps: int = 20) -> np.ndarray:
    """Positions of each step of a trajectory at constant energy."""
    rng = np.random.default_rng(5)
    atoms.set_momenta(rng.normal(scale=0.08, size=(len(atoms), 3)))
    dynamics, path = VelocityVerlet(atoms, 0.5 * units.fs), []
    dynamics.attach(lambda: path.append(atoms.positions.copy()))
    dynamics.run(steps)
    return np.array(path)


def bead_atoms(moved: bool = False) -> list[Atoms]:
    found = []
    for seed in range(3):
        atoms = atoms_of("water:8")
        atoms.set_cell(atoms.cell.array * (1 + 0.01 * seed), scale_atoms=True)
        atoms.rattle(0.05, seed=seed)
        if moved:
            atoms.rattle(0.08, seed=seed + 10)
            atoms.set_cell(atoms.cell.array * 1.002, scale_atoms=True)
        found.append(atoms)
    return found
