# SPDX-License-Identifier: MIT
"""Programs that are forked instead of started do what those do that are started."""

import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import prepared
import pytest

SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(100)"
SEEN = """
import os, sys
print(os.getcwd(), sys.argv, os.environ["GIVEN"], os.environ.get("HOME"), sys.stdin.read())
print(os.path.basename(sys.executable), __name__, file=sys.stderr)
sys.exit(3)
"""


def run(*command: object, **options) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=100, check=False, **options
    )


def test_arguments_folder_variables_and_streams_are_those_of_the_program(tmp_path):
    (tmp_path / "seen.py").write_text(SEEN)
    found = [
        run(program, *words, "a b", input="in", cwd=tmp_path, env={"GIVEN": "x"})
        for program in (prepared.python(), sys.executable)
        for words in (["seen.py"], ["-c", SEEN], ["-m", "seen"])
    ]
    assert [(one.returncode, one.stdout, one.stderr) for one in found[:3]] == [
        (one.returncode, one.stdout, one.stderr) for one in found[3:]
    ]
    assert found[0].stdout == f"{tmp_path} ['seen.py', 'a b'] x None in\n"
    assert found[0].stderr == "python __main__\n"


def test_errors_are_those_of_the_program():
    ended = run(prepared.python(), "-c", "raise ValueError('told so')")
    assert ended.returncode == 1
    assert ended.stderr.endswith("ValueError: told so\n")
    ended = run(prepared.folder() / "uma-md", "info", "none.pt")
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: checkpoint must be an existing file")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_program_and_process(number):
    with subprocess.Popen(
        [prepared.python(), "-c", SLEEP],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # what a shell starts in the background ignores SIGINT
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL) if number != 9 else None,
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert pid != process.pid
        process.send_signal(number)
        assert process.wait(60) == -number
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.mpi
@pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py")
def test_ranks_are_one_job_and_end_together():
    mpiexec = [prepared.folder() / "mpiexec", "-n", 3, prepared.python(), "-c"]
    say = "from mpi4py.MPI import COMM_WORLD as w; r = w.allreduce(w.rank); w.rank or print(r)"
    for options in ([], ["-disable-auto-cleanup"]):
        done = run(mpiexec[0], *options, *mpiexec[1:], say)
        assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    abort = "from mpi4py.MPI import COMM_WORLD as w; w.rank == 1 and w.Abort(5); w.Barrier()"
    assert run(*mpiexec, abort).returncode == 5


def test_nothing_is_left_when_the_tests_end():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import prepared; print(prepared.folder())"
    )
    done = run(sys.executable, "-c", script, Path(prepared.__file__).parent)
    place = Path(done.stdout.strip())
    assert place.is_absolute()
    assert not place.exists()
    assert str(place) not in run("ps", "-eo", "args").stdout
