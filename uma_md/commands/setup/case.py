# SPDX-License-Identifier: MIT
"""What a run consists of, chosen for a system, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from ase import Atoms

from uma_md.commands.setup.advice import Advice
from uma_md.commands.setup.anatomy import Anatomy

ENGINES = ("lammps", "ipi", "ase")
ENSEMBLES = ("nve", "nvt", "npt")
SAME_MASS = 1e-3  # u
FEW = 50  # atoms that a chain of thermostats may leave unevenly warm


class Choice(NamedTuple):
    """Something that was chosen, its value, and the reason."""

    what: str
    value: str
    why: str


class AtomType(NamedTuple):
    """Atoms that LAMMPS treats alike: an element, and a mass in u."""

    symbol: str
    mass: float


@dataclass(frozen=True)
class Wishes:
    """What a user asked for; None where it is to be chosen.

    Attributes
    ----------
    task
    model
        A file, or the name of a published model.
    engine
        One of ``ENGINES``.
    ensemble
        One of ``ENSEMBLES``.
    temperature
        K.
    pressure
        bar, for npt.
    timestep
        fs.
    steps
    charge, spin
        Total charge in e, spin multiplicity.
    beads
        Of a path integral, for i-PI.
    ranks
        MPI ranks.
    dtype
        ``float32`` or ``float64``.
    periodic
        Cell vectors that repeat, such as ``ab`` or ``none``.
    repeat
        How often to repeat the structure along its cell vectors.
    all_experts
        Whether the model's file is to serve any composition.
    relax
        Whether to relax the structure with the model at first.
    """

    task: str
    model: str = "uma-nano"
    engine: str = "lammps"
    ensemble: str = "nvt"
    temperature: float = 300.0
    pressure: float = 1.0
    timestep: float | None = None
    steps: int = 1000
    charge: int | None = None
    spin: int | None = None
    beads: int = 1
    ranks: int | None = None
    dtype: str = "float32"
    periodic: str | None = None
    repeat: tuple[int, int, int] = (1, 1, 1)
    all_experts: bool = False
    relax: bool = False

    def __post_init__(self) -> None:
        for name, unit in (("temperature", "K"), ("timestep", "fs")):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e5:
                raise ValueError(f"{name} must be above 0 {unit} and below 1e5, found {value:g}")
        if not abs(self.pressure) < 1e8:
            raise ValueError(f"pressure must be within 1e8 bar, found {self.pressure:g}")
        for name in ("steps", "beads", "ranks"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, found {value}")
        if self.beads > 1 and self.engine != "ipi":
            raise ValueError("several beads must go with --engine ipi, found another engine")
        if min(self.repeat) < 1:
            raise ValueError(f"--repeat must be three numbers from 1, found {self.repeat}")


@dataclass(frozen=True)
class Case:
    """A run that is ready to be written.

    Attributes
    ----------
    atoms
        In the axes of the run, with charge and spin in ``info``.
    task, model
    charge, spin
    types
        Atom types of LAMMPS.
    type_of : (atoms,)
        Index into ``types`` of each atom.
    ensemble
    temperature, pressure
        K, bar.
    timestep
        fs.
    steps, beads, ranks
    thermostat
        ``none``, ``langevin`` or ``chain``.
    barostat
        ``none``, ``iso``, ``aniso``, ``tri`` or ``plane``.
    choices, advice
        What is said of it.
    """

    atoms: Atoms
    task: str
    model: str
    charge: int
    spin: int
    types: list[AtomType]
    type_of: np.ndarray
    ensemble: str
    temperature: float
    pressure: float
    timestep: float
    steps: int
    beads: int
    ranks: int
    thermostat: str
    barostat: str
    choices: list[Choice] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)

    @property
    def thermostat_time(self) -> float:
        """Time in which the thermostat acts, fs."""
        return 200 * self.timestep

    @property
    def barostat_time(self) -> float:
        """Time in which the barostat acts, fs."""
        return 2000 * self.timestep


def atom_types(atoms: Atoms) -> tuple[list[AtomType], np.ndarray]:
    """Types by element and mass, in the order of atomic numbers, and the index of each atom's."""
    masses = np.round(atoms.get_masses() / SAME_MASS).astype(int)
    keys = np.stack([atoms.numbers, masses], axis=1)
    rows, type_of = np.unique(keys, axis=0, return_inverse=True)
    types = []
    for index, _ in enumerate(rows):
        first = int(np.flatnonzero(type_of.ravel() == index)[0])
        types.append(AtomType(str(atoms.symbols[first]), float(atoms.get_masses()[first])))
    return types, type_of.ravel()


def choose_timestep(atoms: Atoms, wish: float | None) -> Choice:
    """The time step in fs, by the lightest atom."""
    if wish is not None:
        return Choice("time step", f"{wish:g} fs", "as given")
    lightest = int(np.argmin(atoms.get_masses()))
    mass, symbol = atoms.get_masses()[lightest], atoms.symbols[lightest]
    if mass < 4.5:
        return Choice("time step", "0.5 fs", "bonds of hydrogen vibrate in 9 fs")
    if mass < 20:
        return Choice("time step", "1 fs", f"{symbol} is the lightest atom")
    return Choice("time step", "2 fs", f"{symbol} is the lightest atom, and there is no hydrogen")


def choose_thermostat(atoms: Atoms, ensemble: str, engine: str) -> Choice:
    """What keeps the temperature: ``none``, ``langevin`` or ``chain``."""
    if ensemble == "nve":
        return Choice("thermostat", "none", "nve")
    if engine != "lammps":
        why = "it reaches all motions alike, from any start"
        return Choice("thermostat", "langevin", why)
    if ensemble == "nvt" and len(atoms) < FEW:
        why = f"a Nose-Hoover chain may leave so few atoms ({len(atoms)}) unevenly warm"
        return Choice("thermostat", "langevin", why)
    return Choice("thermostat", "chain", "Nose-Hoover, with dynamics close to nve")


def choose_barostat(anatomy: Anatomy, ensemble: str, engine: str) -> Choice:
    """What keeps the pressure: ``none``, ``iso``, ``aniso``, ``tri`` or ``plane``.

    Raises
    ------
    ValueError
        When there is no direction to change, or the engine has no such barostat.
    """
    atoms = anatomy.atoms
    if ensemble != "npt":
        return Choice("barostat", "none", ensemble)
    if atoms.pbc.sum() < 2:
        raise ValueError(
            "npt must have a box that is periodic in two or three directions, found "
            f"{atoms.pbc.sum()}: take nvt, or give --periodic"
        )
    if not atoms.pbc.all():
        if engine != "lammps":
            raise ValueError(
                "npt in two directions must run in LAMMPS, found another engine: take --engine "
                "lammps, or nvt"
            )
        return Choice("barostat", "plane", "x and y change, the box is open along z")
    if anatomy.molecular:
        return Choice("barostat", "iso", "a fluid or crystal of molecules keeps its shape")
    if engine == "lammps" and _is_orthogonal(atoms):
        return Choice("barostat", "aniso", "the three lengths of an orthogonal box change")
    return Choice("barostat", "tri", "a solid may change lengths and angles")


def _is_orthogonal(atoms: Atoms) -> bool:
    return bool(np.allclose(atoms.cell.angles(), 90))


def is_triclinic(atoms: Atoms) -> bool:
    """Whether LAMMPS needs tilt factors for the cell, whose rows are lower triangular."""
    cell = atoms.cell.array
    return bool(np.abs(cell - np.diag(np.diag(cell))).max() > 1e-9 * np.abs(cell).max())
