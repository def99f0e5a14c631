# SPDX-License-Identifier: MIT
"""A structure at rest: relaxed with the model before dynamics begin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.optimize import FIRE

from uma_md.calculator import UMACalculator
from uma_md.commands.setup.case import Choice
from uma_md.progress import Progress

FMAX = 0.05  # eV/angstrom
MOST_STEPS = 300
SLOWEST = 0.1  # angstrom: no atom moves farther in a step


def relax(atoms: Atoms, model: Path, charge: int, spin: int) -> tuple[Atoms, Choice]:
    """Relax positions in the cell as it is, until no force is above 0.05 eV/angstrom.

    Parameters
    ----------
    atoms
        Atoms of theirs that are fixed (``FixAtoms``) stay.
    model
        An exported file.
    charge, spin
        Total charge in e, spin multiplicity.

    Returns
    -------
    Atoms, Choice
        The relaxed structure, and what was done in words.

    Raises
    ------
    ValueError
        As ``UMACalculator`` says of a structure that the model cannot serve.
    """
    moved = atoms.copy()
    moved.info = {"charge": charge, "spin": spin}
    moved.calc = UMACalculator(model)
    first = _largest_force(moved)
    with Progress(MOST_STEPS) as progress:
        progress.begin("relaxing")
        optimizer = FIRE(moved, logfile=None, maxstep=SLOWEST)
        optimizer.attach(lambda: progress.reach(optimizer.nsteps))
        converged = optimizer.run(fmax=FMAX, steps=MOST_STEPS)
    last, steps = _largest_force(moved), optimizer.nsteps
    relaxed = atoms.copy()
    relaxed.positions = moved.positions
    forces = f"largest force from {first:.2f} to {last:.2f} eV/A, cell as it was"
    if not converged:
        forces += f"; not below {FMAX:g} yet, so begin with small steps"
    return relaxed, Choice("relaxed", f"{steps} step{'' if steps == 1 else 's'}", forces)


def _largest_force(atoms: Atoms) -> float:
    """eV/angstrom; of atoms that may move."""
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())
