# SPDX-License-Identifier: MIT
"""Programs whose processes are forked from one that has imported torch, ASE and i-PI.

Such an import takes longer than most work of a test. ``folder()`` holds programs to be put in
front of those of the environment: ``prepared_client.py`` is what starts, and has
``prepared_server.py`` fork the process that does the work, with the arguments, folder, variables,
standard streams and MPI connection of what was started, so that pipes, signals, exit codes and
``mpiexec`` are as ever; ranks of ``uma-ipi`` are started. Where a start itself is the subject of a
test, or variables of the loader or of threads are, it starts the program of the environment.
"""

import atexit
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent
PROGRAMS = ("python", "uma-md", "uma-ipi", "i-pi")  # the others are those of the environment
CLIENT = """#!{python} -IS
import sys
sys.path.insert(0, {here!r})
from prepared_client import main
main({address!r}, {program!r})
"""


@functools.cache
def folder() -> Path:
    """Folder of the programs; the process to fork from lives as long as the tests do.

    It is the environment's own under sanitizers, whose libraries take messages that hand over
    streams for faults.
    """
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        return BIN
    home = tempfile.TemporaryDirectory(prefix="prepared-")  # removed when the tests end
    place = Path(home.name)
    for program in BIN.iterdir():
        if program.name not in PROGRAMS:
            (place / program.name).symlink_to(program)
    for name in PROGRAMS:
        command = "" if name == "python" else str(BIN / name)
        text = CLIENT.format(
            python=sys.executable, here=str(HERE), address=f"{place}/socket", program=command
        )
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, HERE / "prepared_server.py", f"{place}/socket"],
        stdin=subprocess.PIPE,  # it ends when this closes
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # a signal to the tests is not one to all that is forked
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    atexit.register(_end, server, home)
    return place


def python() -> Path:
    """Python with torch."""
    return folder() / "python"


def path() -> str:
    """``PATH`` with the programs in front."""
    return os.pathsep.join((str(folder()), os.environ["PATH"]))


def _end(server: "subprocess.Popen[bytes]", home: "tempfile.TemporaryDirectory[str]") -> None:
    server.communicate()
    home.cleanup()
