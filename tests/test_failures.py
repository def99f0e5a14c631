"""What goes wrong while LAMMPS runs: every rank ends within seconds, with a sentence, and no later step."""

import os
import signal
import subprocess
import time

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


def limited(script: str, folder, ranks: int, gigabytes: float, where: str) -> subprocess.Popen:
    """Run with the address space of one rank limited, as a device out of memory would be."""
    (folder / "in.lmp").write_text(script)
    kilobytes = int(gigabytes * 2**20)
    inner = f'if [ "$PMI_RANK" = {where} ]; then ulimit -v {kilobytes}; fi; exec {BIN}/lmp -in in.lmp -log none'
    return subprocess.run(
        [str(BIN / "mpiexec"), "-n", str(ranks), "bash", "-c", inner],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS * 5,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_out_of_memory_on_one_rank_ends_all(rank, exported, tmp_path):
    block = Block(structure("water:32"), exported("tiny-1p2p1"), "recompute off chunk 100000")
    small = block.setup(tmp_path, 0) + "\nrun 0\nshell cat /proc/$(PID)/status\n"
    script = block.setup(tmp_path, 0) + "\nreplicate 3 3 3\n" + MOVE + "run 3\n"
    result = limited(script, tmp_path, 2, _room_for(small, tmp_path), rank)
    text = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert "memory" in text, text[-2000:]
    assert "Loop time" not in text
    assert frames_are_whole(tmp_path / "run.dump") == 0


def _room_for(script: str, folder) -> float:
    """Address space that a small run takes, and a little, in GB."""
    (folder / "in.lmp").write_text(script.replace("\nshell cat /proc/$(PID)/status\n", "\nrun 2\n"))
    command = f"{BIN}/lmp -in in.lmp -log none & pid=$!; peak=0; while [ -e /proc/$pid/status ]; do grep VmPeak /proc/$pid/status; sleep 0.05; done; wait $pid"
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS * 5,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    peaks = [int(line.split()[1]) for line in result.stdout.splitlines() if line.startswith("VmPeak")]
    return max(peaks) / 2**20 + 0.3


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_killed_rank_ends_the_others(ranks, water, tmp_path):
    (tmp_path / "in.lmp").write_text(water.setup(tmp_path, 0) + MOVE + "run 100000\n")
    command = [BIN / "mpiexec", "-n", str(ranks), BIN / "lmp", "-in", "in.lmp", "-log", "none"]
    with subprocess.Popen(
        list(map(str, command)),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        children = _wait_for(lambda: frames_so_far(tmp_path) >= 2 and _ranks_of(process.pid))
        os.kill(children[-1], signal.SIGKILL)
        text, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert "KILLED BY SIGNAL: 9" in text or "killed" in text.lower()
    assert not any(os.path.exists(f"/proc/{child}") for child in children)


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
    raise AssertionError("the run did not start")


def _ranks_of(parent: int) -> list[int]:
    """Process numbers of the lmp processes below one."""
    below: list[int] = []
    for child in map(int, _children(parent)):
        name = open(f"/proc/{child}/comm").read().strip()  # noqa: SIM115
        below += [child] if name == "lmp" else _ranks_of(child)
    return below


def _children(parent: int) -> list[str]:
    found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False)
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
    script = water.setup(tmp_path, 0) + MOVE + (
        "fix squeeze all deform 1 x scale 0.5 y scale 0.5 z scale 0.5 remap x\nrun 10\n"
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
    script = water.setup(tmp_path, 0) + "\ndelete_atoms group all\nrun 2\nprint 'energy $(pe:%.16g)'\n"
    assert "energy 0\n" in run(script, 2, tmp_path)
