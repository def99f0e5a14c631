# SPDX-License-Identifier: MIT
"""Forks a process for each order of ``prepared_client.py``, from one that has imported the slow.

``prepared_server.py ADDRESS`` ends when its standard input closes. What it forks comes back from
``serve`` with the command, and runs it as a Python that was started with it does, to its end.
"""

import atexit
import ctypes
import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import ase.io  # noqa: F401
import numpy as np
import torch  # noqa: F401

with suppress(ImportError):
    import ipi.engine.simulation  # noqa: F401

LONGEST = 1 << 20  # of an order, bytes


def serve(address: str) -> tuple[str, list[str]]:
    """Fork for all who ask; returns program and arguments, in a process that is to run them."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    gc.collect()
    gc.freeze()  # a collection in a process would copy the memory that it shares
    print("ready", flush=True)
    while 0 not in select.select([0, listener.fileno()], [], [])[0]:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _become(client)
        client.close()
        with suppress(ChildProcessError):  # when there is none
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    os._exit(0)


def _become(client: socket.socket) -> tuple[str, list[str]]:
    """Take an order and fork the process that it asks for; stay behind to see how it ends."""
    start, given, _, _ = socket.recv_fds(client, 8, 4)
    text = bytearray()
    while len(text) < int.from_bytes(start, "little"):
        text += client.recv(LONGEST)
    program, (itself, *arguments), folder, variables = json.loads(text)
    process = os.fork()
    if process:
        _watch(client, process, given)
    client.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    targets = [0, 1, 2]
    if len(given) > 3:
        targets.append(int(variables["PMI_FD"]))
    _place(given, targets)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    np.random.seed()  # noqa: NPY002
    sys.executable = str(Path(itself).with_name("python"))
    places = variables.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [place for place in places if place and place not in sys.path[1:]]
    return program, arguments


def _place(given: list[int], targets: list[int]) -> None:
    """Give file descriptors their numbers, by others above all of these."""
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, 200) for number in given]
    for number in given:
        os.close(number)
    for number, target in zip(high, targets, strict=True):
        os.dup2(number, target)
        os.close(number)


def _watch(client: socket.socket, process: int, given: list[int]) -> None:
    """Pass signals on, say how the process ended, and end it where nobody waits for it any more."""
    for number in (*given, 0, 1, 2):
        os.close(number)
    end = os.pidfd_open(process)
    while end not in select.select([client.fileno(), end], [], [])[0]:
        if not (wanted := client.recv(1)):
            os.kill(process, signal.SIGKILL)
            break
        os.kill(process, wanted[0])
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        client.sendall(code.to_bytes(8, "little", signed=True))
    finally:
        os._exit(0)


def run(program: str, arguments: list[str]) -> None:
    """As ``python`` does with a file, ``-m`` and a module, or ``-c`` and code; or a program."""
    if program:
        arguments = [program, *arguments]
    kind, *rest = arguments
    if kind == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path[0] = ""
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[0] = str(Path(kind).absolute().parent)
        sys.argv = arguments
        runpy.run_path(kind, run_name="__main__")


def finish() -> None:
    """End well and at once: to take all modules down costs as much as many a test.

    The exit of C has handlers, among them that by which MPI takes leave of its launcher.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if "mpi4py.MPI" in sys.modules:
        sys.modules["mpi4py.MPI"].Finalize()
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).exit(0)


if __name__ == "__main__":
    try:
        run(*serve(sys.argv[1]))
    except SystemExit as end:
        if end.code:
            raise
    finish()
