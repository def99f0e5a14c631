# SPDX-License-Identifier: MIT
"""Running `uma-md` and what it writes from tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import prepared
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.io import write
from click.testing import CliRunner, Result

from uma_md.cli import main
from uma_md.commands.launch import run_program

BIN = Path(sys.executable).parent
TIME_LIMIT = 200
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
}


def uma_md(*words: object) -> Result:
    """A command in this process."""
    return CliRunner().invoke(main, list(map(str, words)))


def done(*words: object) -> str:
    """Output of a command, which must end well."""
    result = uma_md(*words)
    assert result.exit_code == 0, result.output
    return result.output


def run(
    command: list[str], folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program with all that it starts, within a time limit."""
    return run_program(command, folder, environment or ENVIRONMENT, TIME_LIMIT)


def run_folder(folder: Path) -> str:
    """Start a folder of `uma-md setup` as its user does, from elsewhere."""
    environment = ENVIRONMENT | {"PATH": prepared.path()}
    ended = run(["sh", f"{folder.name}/run.sh"], folder.parent, environment)
    logs = "".join(log.read_text()[-1000:] for log in folder.glob("*.log"))
    assert ended.returncode == 0, f"{ended.stdout[-2000:]}{ended.stderr[-2000:]}{logs}"
    return ended.stdout


def lammps_table(log: str) -> np.ndarray:
    """Rows of step, time, temperature, potential energy and more that LAMMPS printed."""
    table = log.rpartition("Step ")[2].partition("Loop time")[0]
    rows = re.findall(r"^ +\d+ .*$", table, re.MULTILINE)
    return np.array([row.split() for row in rows], dtype=float)


def triclinic_cif(folder: Path) -> Path:
    """Sheared copper, as CIF."""
    atoms = bulk("Cu") * (2, 2, 2)
    shear = np.array([[1, 0, 0], [0.2, 1, 0], [-0.1, 0.15, 1.02]])
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    path = folder / "copper.cif"
    write(path, atoms)
    return path


def slab_poscar(folder: Path) -> Path:
    """CO on Cu(111) in a hexagonal cell, as POSCAR, which repeats in all directions."""
    atoms = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    add_adsorbate(atoms, molecule("CO"), 2.0, "ontop")
    atoms.rattle(0.05, seed=2)
    path = folder / "POSCAR"
    write(path, atoms, format="vasp", direct=True)
    return path


def hydroxide_extxyz(folder: Path) -> Path:
    """Hydroxide with its charge, as extended XYZ without a cell."""
    atoms = molecule("OH")
    atoms.info.update(charge=-1, spin=1)
    atoms.rattle(0.03, seed=3)
    path = folder / "hydroxide.xyz"
    write(path, atoms, format="extxyz")
    return path


def ethanol_pdb(folder: Path) -> Path:
    """Ethanol as PDB without a cell."""
    path = folder / "ethanol.pdb"
    write(path, molecule("CH3CH2OH"))
    return path


def left_handed(folder: Path) -> Path:
    """Molecules in a cell whose vectors are left-handed, as extended XYZ."""
    atoms = molecule("CH3OH", vacuum=2.5)
    atoms.pbc = True
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    path = folder / "left.extxyz"
    write(path, atoms)
    return path


def first_atoms_exchanged(atoms: Atoms) -> Atoms:
    """Another order of the same atoms."""
    order = [1, 0, *range(2, len(atoms))]
    return atoms[order]
