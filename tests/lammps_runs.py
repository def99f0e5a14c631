# SPDX-License-Identifier: MIT
"""Running the real LAMMPS on real MPI ranks from tests, and reading what it gives.

One script serves many structures: each is a block that ends in ``clear``.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lammps import Prism
from ase.io.lammpsdata import write_lammps_data
from lammps_session import BIN, ONE_THREAD, TIME_LIMIT, feed

# What is the same on any number of ranks is tried on four by make test-all; which numbers there are
# of ranks and grids of them is the subject of other tests.
RANKS = (1, 2, pytest.param(4, marks=pytest.mark.extended))
# Ranks, and which workflows of a file run on them: one half on two, the other on four, of which
# half on one, too.
WORKFLOW_RUNS = [
    (1, slice(0, None, 4)),
    (2, slice(1, None, 2)),
    (4, slice(0, None, 2)),
    pytest.param(1, slice(1, None, 2), marks=pytest.mark.extended),
    pytest.param(1, slice(2, None, 4), marks=pytest.mark.extended),
    pytest.param(2, slice(0, None, 2), marks=pytest.mark.extended),
    pytest.param(4, slice(1, None, 2), marks=pytest.mark.extended),
]
BAR = 1.6021765e6  # of LAMMPS, per eV/angstrom^3 in units metal


@dataclass
class Prediction:
    """What LAMMPS gives for one block of a script, in eV and angstrom, in the structure's own axes.

    Attributes
    ----------
    energy
        Potential energy.
    forces : (atoms, 3)
    virial : (3, 3)
        From the virial part of the pressure, times the volume.
    atom_energies : (atoms,)
    atom_stress : (atoms, 6), and centroid_stress : (atoms, 9)
        LAMMPS's negative per-atom virials, in LAMMPS's axes, eV.
    """

    energy: float
    forces: np.ndarray
    virial: np.ndarray
    atom_energies: np.ndarray
    atom_stress: np.ndarray
    centroid_stress: np.ndarray


@dataclass
class Block:
    """One structure and how LAMMPS is to run it.

    Attributes
    ----------
    atoms
        The structure; open directions get boundaries as ``open_boundary`` says.
    model
        An exported file.
    style
        Arguments of ``pair_style uma``; on the CPU, if no device is named.
    before, after
        Commands in front of the box's making, and after the pair style's.
    elements
        One per atom type; from the structure if not given.
    """

    atoms: Atoms
    model: Path
    style: str = ""
    before: str = ""
    after: str = ""
    open_boundary: str = "f"
    elements: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.atoms = in_a_box(self.atoms)
        self.elements = self.elements or sorted(set(self.atoms.get_chemical_symbols()))

    @property
    def prism(self) -> Prism:
        return Prism(self.atoms.cell.array, pbc=self.atoms.pbc)

    def setup(self, folder: Path, index: int) -> str:
        """Write the data file; returns the script up to the pair style."""
        data = folder / f"{index}.data"
        write_lammps_data(data, self.atoms, specorder=self.elements, masses=True)
        boundary = " ".join("p" if p else self.open_boundary for p in self.atoms.pbc)
        return "\n".join(
            [
                "units metal",
                "atom_style atomic",
                "atom_modify map array",
                f"boundary {boundary}",
                "box tilt large",
                self.before,
                f"read_data {data}",
                f"pair_style uma {'' if 'device' in self.style else 'device cpu '}{self.style}",
                f"pair_coeff * * {self.model} {' '.join(self.elements)}",
                self.after,
            ]
        )


def in_a_box(atoms: Atoms) -> Atoms:
    """Give a structure a cell that holds it along the open directions."""
    atoms = atoms.copy()
    if atoms.cell.rank < 3:
        span = np.ptp(atoms.positions, axis=0)
        atoms.positions += 1.0 - atoms.positions.min(axis=0)
        atoms.set_cell(span + 2.0)
    return atoms


STATIC = """
compute energies all pe/atom
compute stresses all stress/atom NULL virial
compute centroids all centroid/stress/atom NULL virial
compute virial all pressure NULL virial
thermo_style custom step pe c_virial[*]
thermo_modify format float %.16g
run 0
variable energy equal pe
print "energy $(v_energy:%.16g)" file {name}.energy
print "$(c_virial[1]:%.16g) $(c_virial[2]:%.16g) $(c_virial[3]:%.16g) &
$(c_virial[4]:%.16g) $(c_virial[5]:%.16g) $(c_virial[6]:%.16g) $(vol:%.16g)" file {name}.virial
write_dump all custom {name}.dump id fx fy fz c_energies c_stresses[*] c_centroids[*] &
modify format float %.17g sort id
clear
"""


def static(blocks: list[Block], ranks: int, folder: Path) -> list[Prediction]:
    """Evaluate structures once each, by one script."""
    folder.mkdir(parents=True, exist_ok=True)
    run(static_script(blocks, folder), ranks, folder)
    return [read_prediction(block, folder / str(index)) for index, block in enumerate(blocks)]


def static_script(blocks: list[Block], folder: Path) -> str:
    """The script that evaluates structures once each; ``read_prediction`` reads what it leaves."""
    return "".join(
        block.setup(folder, index) + STATIC.format(name=folder / str(index))
        for index, block in enumerate(blocks)
    )


def read_prediction(block: Block, path: Path) -> Prediction:
    """What ``STATIC`` wrote to files of this name."""
    energy = float(path.with_suffix(".energy").read_text().split()[1])
    xx, yy, zz, xy, xz, yz, volume = np.loadtxt(path.with_suffix(".virial"))
    rows = np.loadtxt(path.with_suffix(".dump"), skiprows=9, ndmin=2)
    pressure = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) / BAR
    return Prediction(
        energy,
        block.prism.vector_to_ase(rows[:, 1:4]),
        block.prism.tensor2_to_ase(pressure * volume),
        rows[:, 4],
        rows[:, 5:11] / BAR,
        rows[:, 11:20] / BAR,
    )


def run(script: str, ranks: int, folder: Path) -> str:
    """Run a script and return what LAMMPS wrote; it must end well."""
    ending = feed(script, ranks, folder)
    assert not any(ending.errors), f"{ending.screen[-3000:]}\n{ending.errors}"
    return ending.screen


def refuse(script: str, folder: Path, message: str, ranks: int = 2) -> str:
    """The script must end with one error on all ranks, whose parts come in order, before a run.

    Returns what LAMMPS wrote.
    """
    ending = feed(script, ranks, folder)
    assert all(ending.errors), f"{ending.screen[-3000:]}\n{ending.errors}"
    assert len(set(ending.errors)) == 1
    assert_parts(ending.screen, message)
    return ending.screen


def must_end(script: str, folder: Path, message: str, ranks: int = 2) -> str:
    """As ``refuse``, but runs may have ended before; returns what LAMMPS wrote."""
    ending = feed(script, ranks, folder)
    assert all(ending.errors), f"{ending.screen[-3000:]}\n{ending.errors}"
    assert len(set(ending.errors)) == 1
    assert message in " ".join(ending.screen.split()), ending.screen[-3000:]
    return ending.screen


def abort(script: str, folder: Path, message: str, ranks: int = 2) -> str:
    """All processes of ``lmp`` must end with an exit code and a message as in ``refuse``.

    Returns what LAMMPS wrote. It writes to a file: what is on its way to the screen when a rank
    aborts may be dropped by the launcher.
    """
    result = launch(script, ranks, folder, "-screen", "screen.txt")
    screen = (folder / "screen.txt").read_text()
    assert result.returncode != 0, screen[-3000:]
    assert_parts(screen + result.stderr, message)
    return screen


def assert_parts(text: str, message: str) -> None:
    """A text must hold the parts of a message, which ``...`` divides, and no finished run."""
    text = " ".join(text.split())
    position = 0
    for part in message.split(" ... "):
        position = text.find(part, position)
        assert position >= 0, f"{part!r} is missing from: {text[-2000:]}"
    assert "Loop time" not in text


def launch(
    script: str,
    ranks: int,
    folder: Path,
    *options: str,
    environment: Mapping[str, str] = ONE_THREAD,
) -> subprocess.CompletedProcess[str]:
    """Start ``lmp`` on some ranks, each with one thread if not said else, within a time limit."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "in.lmp").write_text(script)
    command = [BIN / "mpiexec", "-n", str(ranks), BIN / "lmp", "-in", "in.lmp", "-log", "none"]
    command += options
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
