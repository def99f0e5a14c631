# SPDX-License-Identifier: MIT
"""What starts in place of a program: hands over all that it was given, and waits for the end.

It imports little, as it is to start at once.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress

# MPI's launcher sends SIGUSR1, for which MPI has a handler.
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)


def main(address: str, program: str) -> None:
    """Have the program done, or Python where it has no name, and end as it did."""
    given = [0, 1, 2]
    if "PMI_FD" in os.environ:  # the connection to MPI's launcher
        if program:  # uma-ipi leaves MPI at once: the launcher would see this process linger
            os.execv(program, [program, *sys.argv[1:]])
        given.append(int(os.environ["PMI_FD"]))
    order = json.dumps([program, sys.argv, os.getcwd(), dict(os.environ)]).encode()  # noqa: PTH109
    server = socket.socket(socket.AF_UNIX)
    server.connect(address)
    socket.send_fds(server, [len(order).to_bytes(8, "little")], given)
    server.sendall(order)

    def pass_on(number: int, _: object) -> None:
        with suppress(OSError):  # it has just ended
            server.send(bytes([number]))

    for number in PASSED_ON:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, pass_on)
    answer = server.recv(8)
    end(int.from_bytes(answer, "little", signed=True) if answer else -signal.SIGKILL)


def end(code: int) -> None:
    """End with a code, or by a signal, whose number it is with a minus."""
    if code < 0:
        if -code in PASSED_ON:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
