# SPDX-License-Identifier: MIT
"""The teachers of uma-nano: GFN2-xTB for omol, effective medium theory for the metals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.calculators.emt import EMT
from dataset import Labelled

# eV/angstrom: structures with larger forces are not for learning.
LARGEST_FORCE = {"omol": 10.0, "omat": 6.0, "oc20": 6.0}


def teacher(atoms: Atoms, task: str) -> Calculator:
    """The calculator that labels a structure of a task."""
    if task != "omol":
        return EMT()
    from tblite.ase import TBLite

    return TBLite(
        method="GFN2-xTB",
        charge=atoms.info["charge"],
        multiplicity=atoms.info["spin"],
        verbosity=0,
    )


def label(
    atoms: Atoms, task: str, family: str, trajectory: int, largest_force: float | None = None
) -> Labelled | None:
    """Energy and forces of a structure; None where the teacher fails or forces are huge."""
    largest_force = largest_force or LARGEST_FORCE[task]
    copy = atoms.copy()
    copy.calc = teacher(copy, task)
    # Positions are kept in float32: the label is that of what is kept.
    copy.positions = copy.positions.astype(np.float32)
    try:
        energy, forces = copy.get_potential_energy(), copy.get_forces()
        virial = np.full((3, 3), np.nan)
        if copy.pbc.all():
            virial = -copy.get_stress(voigt=False) * copy.get_volume()
    except (CalculationFailed, RuntimeError):
        return None
    if not np.isfinite(forces).all() or abs(forces).max() > largest_force:
        return None
    copy.calc = None
    return Labelled(copy, task, family, trajectory, float(energy), forces, virial)


def labelled(structures: Iterable[tuple[str, str, int, Atoms]]) -> Iterator[Labelled]:
    """Label structures, each with its task, family and trajectory; leave out what has no label."""
    for task, family, trajectory, atoms in structures:
        item = label(atoms, task, family, trajectory)
        if item is not None:
            yield item
