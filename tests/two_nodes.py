# SPDX-License-Identifier: MIT
"""Two nodes on this machine, in namespaces of Linux, for MPI to run over.

Each has a hostname, a network, shared memory, processes and mounts of its own; a pair of virtual
network devices joins them. ``launch`` runs a program on ranks of both. Run as a program, this file
is one of the nodes: the first starts the second, and ``mpiexec``, which reaches the second through
a launcher in the place of ssh. When the first ends, so does all that runs in them.
"""

import functools
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rank_session import BIN

ADDRESSES = {"first": "10.9.0.1", "second": "10.9.0.2"}
DEVICE = "wire"
COUNTER = Path("/sys/class/net", DEVICE, "statistics")
KINDS = ("--net", "--uts", "--ipc", "--mount", "--pid")
TIME_LIMIT = 300
WAIT = 30  # seconds for the network
LAUNCHER = """#!/bin/sh
host=$1
shift
test "$host" = second || exec sh -c "$*"
exec {enter} sh -c "$*"
"""


@dataclass(frozen=True)
class Ending:
    """How a program ended on both nodes.

    Attributes
    ----------
    code
        Of ``mpiexec``.
    output
        Standard output and error of all ranks.
    sent, received
        Bytes that left and reached the first node, those of TCP included.
    """

    code: int
    output: str
    sent: int
    received: int


def launch(
    ranks: tuple[int, int],
    folder: Path,
    command: list[object],
    environment: Mapping[str, str],
    megabytes: float = 0.0,
) -> Ending:
    """Run a command on so many ranks of the first and of the second node, within a time limit.

    Their network carries so many megabytes a second each way; as many as it can for 0.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, __file__, str(folder)]
    arguments += map(str, (megabytes, *ranks, *command))
    output = folder / "output"
    with output.open("w") as stream:
        done = subprocess.run(
            [*_new_namespaces(), *arguments],
            cwd=folder,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            timeout=TIME_LIMIT,
            check=False,
        )
    counters = folder / "bytes"
    assert counters.exists(), f"two nodes could not be made: {output.read_text()}"
    sent, received = map(int, counters.read_text().split())
    return Ending(done.returncode, output.read_text(), sent, received)


@functools.cache
def why_not() -> str:
    """Why no two nodes can be made here; empty where they can."""
    missing = [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    if missing:
        return f"needs {' and '.join(missing)}, as of the packages iproute2 and util-linux"
    veth = ["ip", "link", "add", DEVICE, "type", "veth", "peer", "name", "other"]
    trial = " && ".join(map(shlex.join, (veth, ["mount", "-t", "sysfs", "sysfs", "/sys"])))
    done = subprocess.run(
        [*_new_namespaces(), "sh", "-c", trial], capture_output=True, text=True, check=False
    )
    return done.stderr.strip() and f"needs namespaces, as of root: {done.stderr.strip()}"


def _new_namespaces() -> list[str]:
    """What starts a program in namespaces of its own; users other than root need one of users."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, *KINDS, "--fork", "--kill-child", "--mount-proc"]


def _run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True)


def _settle(name: str) -> None:
    """What is this node's own: its name, its shared memory, and the network devices in /sys."""
    socket.sethostname(name)
    _run("ip", "link", "set", "lo", "up")
    _run("mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
    _run("mount", "-t", "sysfs", "sysfs", "/sys")


def _second() -> None:
    """The second node, until the first closes the pipe."""
    _settle("second")
    print("settled", flush=True)
    sys.stdin.read()


def _first(folder: Path, megabytes: float, ranks: list[str], command: list[str]) -> int:
    """The first node: returns the exit code of ``mpiexec``."""
    names = "".join(f"{address} {name}\n" for name, address in ADDRESSES.items())
    (folder / "names").write_text(f"127.0.0.1 localhost\n{names}")
    _run("mount", "--bind", folder / "names", "/etc/hosts")
    _settle("first")
    other = [*_new_namespaces(), sys.executable, __file__]
    with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as second:
        assert second.stdout is not None
        assert second.stdout.readline() == b"settled\n"
        (inside,) = Path(f"/proc/{second.pid}/task/{second.pid}/children").read_text().split()
        enter = ["nsenter", "--target", inside, *KINDS]
        _join(inside, enter)
        if megabytes:
            _slow_down(megabytes, enter)
        launcher = folder / "launcher"
        launcher.write_text(LAUNCHER.format(enter=shlex.join(enter)))
        launcher.chmod(0o755)
        hosts = folder / "hosts"
        hosts.write_text("".join(f"{n}:{r}\n" for n, r in zip(ADDRESSES, ranks, strict=True)))
        mpiexec = [f"{BIN}/mpiexec", "-f", str(hosts), "-launcher", "rsh"]
        mpiexec += ["-launcher-exec", str(launcher)]
        number = sum(map(int, ranks))
        done = subprocess.run([*mpiexec, "-n", str(number), *command], check=False)
        counters = (COUNTER / f"{way}_bytes" for way in ("tx", "rx"))
        (folder / "bytes").write_text(" ".join(path.read_text().strip() for path in counters))
    return done.returncode


def _join(inside: str, enter: list[str]) -> None:
    """Join the nodes by a pair of devices, and wait until both say that they are up."""
    _run("ip", "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", inside)
    for prefix, address in zip(([], enter), ADDRESSES.values(), strict=True):
        _run(*prefix, "ip", "address", "add", f"{address}/24", "dev", DEVICE)
        _run(*prefix, "ip", "link", "set", DEVICE, "up")
    state = ["cat", str(COUNTER.with_name("operstate"))]
    end = time.monotonic() + WAIT
    for prefix in ([], enter):
        while b"up" not in subprocess.check_output([*prefix, *state]):
            assert time.monotonic() < end, "the nodes' network does not come up"
            time.sleep(0.02)


def _slow_down(megabytes: float, enter: list[str]) -> None:
    """Limit the network to so many megabytes a second each way, with room for a second's."""
    rate = ["rate", f"{round(8e6 * megabytes)}bit", "burst", "32kb", "latency", "1s"]
    for prefix in ([], enter):
        _run(*prefix, "tc", "qdisc", "add", "dev", DEVICE, "root", "tbf", *rate)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(_first(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:5], sys.argv[5:]))
    _second()
