# SPDX-License-Identifier: MIT
"""Long work shows a bar on a terminal, and nothing in a pipe."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import prepared
import pytest
from command_runs import ENVIRONMENT, TIME_LIMIT, done, run
from command_runs import uma_md as in_this_process
from conftest import checkpoint
from hub_server import Hub

from uma_md.build import find_tool

NAME = "uma-s-1p2p1"
FILE = f"checkpoints/{NAME}.pt"


def on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    """What a program writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True
    )
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 1 << 16):
            written += part
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait(TIME_LIMIT) == 0, written
    return written.decode(errors="replace")


def uma_md(*words: object) -> list[str]:
    return [str(prepared.folder() / "uma-md"), *map(str, words)]


def test_a_build_shows_how_far_it_is(tmp_path):
    files = [f"build file{k}: touch\n" for k in range(3)]
    (tmp_path / "build.ninja").write_text("rule touch\n  command = touch $out\n" + "".join(files))
    script = "import sys; from uma_md import build; build._run(sys.argv[1:], verbose=False)"
    command = [sys.executable, "-c", script, str(find_tool("ninja", "")), "-C", str(tmp_path)]
    shown = on_a_terminal(command, ENVIRONMENT)
    assert "compiling" in shown
    assert "3/3" in shown
    quiet = subprocess.run([*command, "-t", "clean"], capture_output=True, text=True, check=True)
    assert quiet.stdout + quiet.stderr == ""


@pytest.mark.slow
def test_an_export_shows_its_steps(tmp_path):
    words = ("export", checkpoint("tiny-1p2p1"), "--task", "omol", "-o", tmp_path / "water.pt")
    command = uma_md(*words, "--merge-for", "H2O")
    shown = on_a_terminal(command, ENVIRONMENT)
    for step in ("reading tiny-1p2p1.pt", "merging the experts", "writing water.pt", "5/5"):
        assert step in shown
    quiet = in_this_process(*words, "--merge-for", "H2O")
    assert quiet.exit_code == 0
    assert quiet.stderr == ""
    assert len(quiet.stdout.splitlines()) == 1


@pytest.mark.slow
def test_setup_and_check_show_what_they_do(tmp_path):
    folder = tmp_path / "run"
    command = uma_md("setup", "H2O", "--task", "omol", "--engine", "ase", "-o", folder)
    assert "writing model.pt" in on_a_terminal(command, ENVIRONMENT)
    command = uma_md("check", folder)
    shown = on_a_terminal(command, ENVIRONMENT)
    assert "five steps" in shown
    assert "4/4" in shown
    quiet = in_this_process("check", folder)
    assert quiet.exit_code == 0
    assert quiet.stderr == ""


@pytest.mark.slow
def test_a_download_shows_how_far_it_is(tmp_path):
    with Hub({FILE: checkpoint("tiny-1p2p1").read_bytes()}) as server:
        environment = ENVIRONMENT | {
            "HF_ENDPOINT": server.url(),
            "HF_TOKEN": "hf_member",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        for name, show in (("terminal", on_a_terminal), ("pipe", None)):
            command = uma_md("download", NAME, "--cache", tmp_path / name)
            if show is not None:
                assert "100%" in show(command, environment)
                continue
            quiet = run(command, tmp_path, environment)
            assert quiet.returncode == 0, quiet.stderr
            assert "%" not in quiet.stderr
            assert quiet.stdout.strip().endswith(f"{NAME}.pt")


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.slow
def test_the_demo_counts_the_steps_of_lammps(tmp_path):
    pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")
    folder = tmp_path / "run"
    done("setup", "H2O", "--task", "omol", "--ensemble", "nve", "-o", folder)
    (folder / "in.demo").write_text("include in.system\nfix 1 all nve\nthermo 1\nrun 3\nrun 4\n")
    demo = Path(__file__).parents[1] / "examples" / "water" / "run.py"
    script = (
        "import runpy, sys; from pathlib import Path; "
        "demo = runpy.run_path(sys.argv[1]); folder = Path(sys.argv[2]); "
        "demo['run_lammps'](folder / 'in.demo', 2, 'log.demo', folder)"
    )
    command = [str(prepared.python()), "-c", script, str(demo), str(folder)]
    shown = on_a_terminal(command, ENVIRONMENT)
    assert "LAMMPS on 2 ranks" in shown
    assert "7/7" in shown
    quiet = run(command, tmp_path)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    (folder / "in.demo").write_text("include in.system\nrun_style none\n")
    failed = run(command, tmp_path)
    assert failed.returncode == 1
    assert "mpiexec failed:" in failed.stderr
