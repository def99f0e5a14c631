# SPDX-License-Identifier: MIT
"""Several LAMMPS at once: partitions of one run, and instances in one Python process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lammps_runs import Block, launch
from lammps_session import BIN, ONE_THREAD, TIME_LIMIT
from lammps_snapshots import check, watch
from structures import structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

HEAD = """
variable part uloop 4
timestep 0.0005
"""

# Commands, and whether dumped forces are the model's alone.
RUNS = {
    "neb": (
        "displace_atoms all random 0.02 0.02 0.02 7${part}\nfix path all neb 1.0\n"
        "min_style quickmin\nWATCH\nneb 0.0 0.001 4 4 2 none",
        False,
    ),
    "pimd": (
        "velocity all create 300 47${part} loop geom\nfix beads all pimd/langevin method nmpimd "
        "ensemble nvt integrator obabo temp 300 thermostat PILE_L 31415 tau 0.1\nWATCH\nrun 5",
        False,
    ),
    "temper": (
        "variable t world 300 400 500 600\nvelocity all create $t 47 loop geom\n"
        "fix heat all nvt temp $t $t 0.1\nWATCH\ntemper 8 2 $t heat 38 58",
        True,
    ),
    "prd": (
        "velocity all create 900 47 loop geom\nfix nve all nve\n"
        "fix bath all langevin 900 900 0.1 77\ncompute moved all event/displace 0.5\n"
        "min_style fire\nprd 12 4 1 2 4 moved 54985 min 1e-2 1e-2 3 6 time steps\nWATCH\nrun 2",
        False,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layout"), [("neb", "4x2"), ("pimd", "4x2"), ("temper", "4x1"), ("prd", "4x1")]
)
def test_every_partition_gives_the_energies_of_ase(name, layout, exported, results, tmp_path):
    commands, own_forces = RUNS[name]
    block = Block(structure("water:2"), exported("tiny-1p2p1"), before="variable s equal 1")
    before, _, after = commands.rpartition("WATCH\n")
    script = block.setup(tmp_path, 0) + HEAD + before + watch("part${part}") + after + "\n"
    parts, each = map(int, layout.split("x"))
    options = ("-partition", layout, "-pscreen", "screen", "-plog", "none")
    result = launch(script, parts * each, tmp_path, *options)
    assert result.returncode == 0, result.stdout[-2000:] + _screens(tmp_path)
    for part in range(1, parts + 1):
        log = (tmp_path / f"screen.{part - 1}").read_text()
        check(
            log,
            tmp_path,
            f"part{part}",
            block.elements,
            results("tiny-1p2p1"),
            only_energies=not own_forces,
        )


def _screens(folder: Path) -> str:
    return "".join(path.read_text()[-1500:] for path in sorted(folder.glob("screen.*")))


LIBRARY = Path(__file__).with_name("lammps_library.py")


def test_instances_and_sub_communicators_from_python(exported, calculators, tmp_path):
    """Three ranks: two share an instance, the third has two of its own, one with a fix external."""
    specs = {"pair": "water:8", "first": "water:8", "second": "nacl:2"}
    arguments = {}
    for index, (name, spec) in enumerate(specs.items()):
        task = "omat" if spec == "nacl:2" else "omol"
        block = Block(structure(spec), exported("tiny-1p2p1", task))
        arguments[name] = block.setup(tmp_path, index)
    (tmp_path / "scripts.json").write_text(json.dumps(arguments))
    command = [BIN / "mpiexec", "-n", "3", sys.executable, LIBRARY, tmp_path]
    result = subprocess.run(
        list(map(str, command)),
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    for name, spec in specs.items():
        found = np.load(tmp_path / f"{name}.npz")
        atoms = structure(spec)
        atoms.calc = calculators("tiny-1p2p1", "omat" if spec == "nacl:2" else "omol")
        assert found["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        forces = atoms.get_forces() + ([0.5, 0, 0] if name == "second" else 0.0)
        assert np.abs(found["forces"] - forces).max() < 1e-8
