# SPDX-License-Identifier: MIT
"""Programs that commands start: what they print, their end, and what must not outlive them."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from command_runs import ENVIRONMENT, done
from test_progress import on_a_terminal

from uma_md.commands.launch import LaunchError, run_lammps, run_program


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which waits for its parent, does not."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def test_lines_are_seen_as_they_come_and_both_outputs_are_kept(tmp_path):
    seen: list[str] = []
    command = ["sh", "-c", "echo one; echo wrong >&2; echo two; exit 3"]
    ended = run_program(command, tmp_path, ENVIRONMENT, watch=seen.append)
    assert seen == ["one\n", "two\n"]
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "one\ntwo\n", "wrong\n")


@pytest.mark.parametrize("after", ["exit 0", "sleep 60"])
def test_nothing_that_a_program_started_is_left(after, tmp_path):
    command = ["sh", "-c", f"sleep 60 > /dev/null & echo $! > pid; {after}"]
    begin = time.monotonic()
    if after == "exit 0":
        run_program(command, tmp_path, ENVIRONMENT, 20)
    else:
        with pytest.raises(LaunchError, match="must end within 5 s, found it running"):
            run_program(command, tmp_path, ENVIRONMENT, 5)
    assert time.monotonic() - begin < 20
    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not is_alive(pid):
            break
        time.sleep(0.1)
    assert not is_alive(pid)


def test_a_program_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="no-such-program"):
        run_program(["no-such-program"], tmp_path, os.environ)


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.slow
def test_a_long_run_of_lammps_shows_a_bar_on_a_terminal_only(tmp_path):
    folder = tmp_path / "run"
    done("setup", "H2O", "--task", "omol", "--ensemble", "nve", "-o", folder)
    (folder / "in.long").write_text(
        "variable more index 1\ninclude in.system\nfix 1 all nve\nthermo 1\nrun 3\nrun ${more}\n"
    )
    script = (
        "import sys; from pathlib import Path; from uma_md.commands.launch import run_long; "
        "folder = Path(sys.argv[1]); "
        "log = run_long(folder / 'in.long', folder, 2, {'more': 4}, 7); "
        "assert 'Loop time' in log"
    )
    command = [sys.executable, "-c", script, str(folder)]
    shown = on_a_terminal(command, ENVIRONMENT)
    assert "LAMMPS on 2 ranks" in shown
    assert "7/7" in shown
    quiet = run_program(command, tmp_path, ENVIRONMENT)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


@pytest.mark.lammps
def test_an_error_of_lammps_is_the_launch_error(tmp_path):
    with pytest.raises(LaunchError, match="on 1 ranks ended with the error: Run_style command"):
        run_lammps("units metal\nrun_style none\n", tmp_path, 1)
