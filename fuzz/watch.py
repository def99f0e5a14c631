# SPDX-License-Identifier: MIT
"""What a target has in common with the others: the loop, and the eyes on what the input starts."""

import sys
from collections.abc import Callable

import atheris

FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess."),
    *("socket.connect", "pickle.find_class", "urllib.", "webbrowser."),
)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event.startswith(FORBIDDEN):
        raise SystemError(f"the input started {event} {str(arguments)[:200]}")


def fuzz(read: Callable[[bytes], object], allowed: tuple[type[Exception], ...]) -> None:
    """Feed ``read`` until the time is over; what is not ``allowed`` is a finding."""

    def once(data: bytes) -> None:
        try:
            read(data)
        except allowed as error:
            if not 0 < len(str(error)) < 2000:
                raise SystemError("a message must be a sentence") from error

    sys.addaudithook(_refuse)
    atheris.Setup(sys.argv, once)
    atheris.Fuzz()
