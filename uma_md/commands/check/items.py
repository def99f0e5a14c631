# SPDX-License-Identifier: MIT
"""What is looked at in a folder, one function each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa

from uma_md import UMACalculator
from uma_md.commands.check.lammps_point import Point, compute_point
from uma_md.commands.check.physics import fastest_vibration, pressure_error, slope_error
from uma_md.commands.check.report import Item
from uma_md.commands.check.steps import run_steps
from uma_md.commands.launch import LaunchError
from uma_md.commands.setup import record
from uma_md.files.structures import read_structure

STRONG = 10.0  # eV/angstrom: forces on which dynamics do not begin well
FEWEST_STEPS = 6  # of a period: dynamics blow up at pi
ENOUGH_STEPS = 9  # of a period, for energies that are kept well
HOT = 20  # times the temperature that is asked for
STEPS = 5

Body = Callable[["Subject"], Item]


class Subject:
    """A folder that is looked at, with what several items need.

    Parameters
    ----------
    folder
        Of ``uma-md setup``.
    device
        Where the network runs in Python.
    ranks
        Numbers of MPI ranks for LAMMPS.

    Raises
    ------
    OSError, ValueError
        When the folder is not whole.
    """

    def __init__(self, folder: Path, device: str, ranks: tuple[int, ...]) -> None:
        self.folder, self.ranks = folder, ranks
        self.record = record.read_record(folder)
        self.atoms: Atoms = read_structure(folder / record.STRUCTURE, "extxyz")
        self.atoms.calc = UMACalculator(folder / record.MODEL, device=device)
        self.points: dict[int, Point] = {}

    @property
    def engine(self) -> str:
        """What moves the atoms."""
        return str(self.record["engine"])

    @cached_property
    def exact(self) -> bool:
        """Whether the network computes in float64."""
        return bool(self.atoms.calc.metadata.dtype == "float64")

    def point(self, ranks: int) -> Point:
        """LAMMPS on some ranks, computed once."""
        if ranks not in self.points:
            self.points[ranks] = compute_point(self.folder, ranks)
        return self.points[ranks]


def items(subject: Subject) -> list[tuple[str, Callable[[], Item]]]:
    """Names of all items for a folder, and what looks at them, in their order."""
    found: list[tuple[str, Callable[[], Item]]] = [("forces", lambda: check_forces(subject))]
    if subject.engine == "lammps":
        found.append(("elements", lambda: check_elements(subject)))
        found += [(f"ranks {n}", _comparison(subject, n)) for n in subject.ranks]
    if subject.engine == "ipi":
        found.append(("i-PI input", lambda: check_input(subject)))
    found.append(("force slope", lambda: check_slope(subject)))
    if subject.atoms.pbc.all():
        found.append(("pressure slope", lambda: check_pressure(subject)))
    found.append(("time step", lambda: check_timestep(subject)))
    found.append(("five steps", lambda: check_steps(subject)))
    return found


def _comparison(subject: Subject, ranks: int) -> Callable[[], Item]:
    return lambda: compare_ranks(subject, ranks)


def check_forces(subject: Subject) -> Item:
    """Energy and forces of the start in Python."""
    atoms = subject.atoms
    energy = float(atoms.get_potential_energy())
    largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    values = {"energy_eV": energy, "largest_force_eV_per_A": largest}
    text = f"energy {energy:.6f} eV, largest force {largest:.3f} eV/A"
    if largest > STRONG:
        text += f", above {STRONG:g}: relax the structure before dynamics"
        return Item("forces", "warning", text, values)
    return Item("forces", "ok", text, values)


def check_elements(subject: Subject) -> Item:
    """The way of elements and masses through data file, atom types and pair_coeff, and back."""
    point, atoms = subject.point(subject.ranks[0]), subject.atoms
    values = {"elements": sorted(set(point.symbols)), "atoms": len(point.symbols)}
    if len(point.symbols) != len(atoms):
        text = f"LAMMPS must have the structure's {len(atoms)} atoms, found {len(point.symbols)}"
        return Item("elements", "failed", text, values)
    for number, (found, expected) in enumerate(zip(point.symbols, atoms.symbols, strict=True), 1):
        if found != expected:
            text = (
                f"atom {number} must be {expected}, found {found} in LAMMPS: compare the elements "
                "of pair_coeff with the atom types of the data file"
            )
            return Item("elements", "failed", text, values)
    wrong = np.flatnonzero(np.abs(point.masses - atoms.get_masses()) > 1e-3)
    if len(wrong):
        k = int(wrong[0])
        text = (
            f"atom {k + 1} ({atoms.symbols[k]}) must have the mass {atoms.get_masses()[k]:.4f} u, "
            f"found {point.masses[k]:.4f} in LAMMPS: correct Masses of the data file"
        )
        return Item("elements", "failed", text, values)
    names = " ".join(values["elements"])  # type: ignore[arg-type]
    return Item("elements", "ok", f"{names}: each atom has its element and its mass", values)


def compare_ranks(subject: Subject, ranks: int) -> Item:
    """LAMMPS's energy, forces and virial beside ASE's."""
    point, atoms = subject.point(ranks), subject.atoms
    limits = (1e-9, 1e-8, 1e-8) if subject.exact else (1e-6, 1e-3, 1e-3)
    if len(point.forces) != len(atoms):
        text = f"LAMMPS must have {len(atoms)} atoms, found {len(point.forces)}"
        return Item(f"ranks {ranks}", "failed", text, {})
    energy = abs(point.energy - atoms.get_potential_energy()) / len(atoms)
    forces = float(np.abs(point.forces - atoms.get_forces()).max())
    virial = float(np.abs(point.virial + _stress(atoms) * atoms.get_volume()).max()) / len(atoms)
    pressure = virial * len(atoms) / atoms.get_volume() / GPa
    values = {
        "energy_eV_per_atom": energy,
        "force_eV_per_A": forces,
        "virial_eV_per_atom": virial,
        "pressure_GPa": pressure,
    }
    text = (
        f"LAMMPS on {ranks} {'ranks' if ranks > 1 else 'rank'} and ASE differ by {energy:.1e} "
        f"eV/atom, {forces:.1e} eV/A in forces, {pressure:.1e} GPa in pressure"
    )
    small = all(v <= limit for v, limit in zip((energy, forces, virial), limits, strict=True))
    return Item(f"ranks {ranks}", "ok" if small else "failed", text, values)


def _stress(atoms: Atoms) -> np.ndarray:
    return np.asarray(atoms.get_stress(voigt=False))


def check_slope(subject: Subject) -> Item:
    """Forces beside finite differences of the energy."""
    norm, slope = slope_error(subject.atoms)
    error, limit = abs(slope - norm) / max(norm, 1e-3), 1e-2 if subject.exact else 3e-2
    values = {"by_forces_eV_per_A": norm, "by_energies_eV_per_A": slope, "relative": error}
    text = f"forces and finite differences of the energy differ by {100 * error:.2g} percent"
    return Item("force slope", "ok" if error < limit else "failed", text, values)


def check_pressure(subject: Subject) -> Item:
    """Pressure beside finite differences of the energy by volume."""
    virial, slope = pressure_error(subject.atoms)
    each = abs(virial - slope) / len(subject.atoms)
    values = {"by_stress_eV": virial, "by_energies_eV": slope, "eV_per_atom": each}
    gigapascal = abs(virial - slope) / subject.atoms.get_volume() / GPa
    text = f"pressure and finite differences of the energy differ by {gigapascal:.2g} GPa"
    allowed = 2e-3 + 0.02 * abs(virial) / len(subject.atoms)
    return Item("pressure slope", "ok" if each < allowed else "failed", text, values)


def check_timestep(subject: Subject) -> Item:
    """The time step beside the fastest vibration."""
    step, period = float(subject.record["timestep"]), fastest_vibration(subject.atoms)
    values: dict[str, Any] = {"timestep_fs": step}
    if not np.isfinite(period):
        return Item("time step", "ok", f"{step:g} fs; nothing vibrates", values)
    values |= {"period_fs": period, "steps_per_period": period / step}
    text = (
        f"{step:g} fs; the fastest vibration takes {period:.1f} fs "
        f"({33356.4 / period:.0f} cm-1), {period / step:.1f} steps"
    )
    if period / step < FEWEST_STEPS:
        text += f": dynamics may blow up, take {period / 2 / FEWEST_STEPS:.2g} fs"
        return Item("time step", "failed", text, values)
    if period / step < ENOUGH_STEPS:
        text += f": take {period / 2 / ENOUGH_STEPS:.2g} fs for an energy that is kept well"
        return Item("time step", "warning", text, values)
    return Item("time step", "ok", text, values)


def check_steps(subject: Subject) -> Item:
    """Five steps of the folder's own run."""
    rows = run_steps(subject.folder, subject.engine, STEPS, max(subject.ranks))
    last = rows[-1]
    values = {"steps": int(last[0]), "potential_eV": last[1], "temperature_K": last[2]}
    text = f"after {last[0]:.0f} steps {last[1]:.4f} eV, {last[2]:.0f} K"
    if not np.isfinite(rows).all():
        return Item("five steps", "failed", f"energies must be finite, found {text}", values)
    if last[2] > HOT * float(subject.record["temperature"]):
        return Item("five steps", "failed", f"{text}: relax the structure first", values)
    return Item("five steps", "ok", text, values)


def check_input(subject: Subject) -> Item:
    """What ``uma-ipi --check`` says of i-PI's input."""
    from ipi_driver.input.check import check
    from ipi_driver.input.ipi_input import read_input

    path, said = subject.folder / "input.xml", list[str]()
    fields = read_input(path).fields
    if len(fields) != 1:
        text = f"input.xml must have one force field, found {len(fields)}"
        return Item("i-PI input", "failed", text, {})
    (field,) = fields
    address = {"unix": field.address, "host": "localhost", "port": None, "shm": False}
    address |= {"mpi": False, "mpi_name": "", "prefix": "/tmp/ipi_"}
    model, template = subject.folder / record.MODEL, subject.folder / record.STRUCTURE
    good = check(path, model, template, address, {}, said.append)
    found = list(_remarks(said))
    text = "; ".join(found) or "nothing to remark on input.xml"
    status = "failed" if not good else "warning" if found else "ok"
    return Item("i-PI input", status, text, {"remarks": found})


def _remarks(said: list[str]) -> Iterator[str]:
    for line in said:
        if line.startswith(("error: ", "warning: ")):
            yield line


def look(name: str, body: Callable[[], Item]) -> Item:
    """One item; what keeps it from being looked at is a failure in a sentence."""
    try:
        return body()
    except ImportError as error:  # i-PI, which is no dependency
        return Item(name, "skipped", f"{error}: install it", {})
    except (LaunchError, OSError, ValueError) as error:
        return Item(name, "failed", " ".join(str(error).split()), {})
