# SPDX-License-Identifier: MIT
"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when all went well.

    Of several processes that write at once, each writes its own and the last one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        _to_disk(Path(name))
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def reserve(path: Path, size: int) -> None:
    """Make sure that the disk takes ``size`` bytes of a file, which may then be written anew.

    Raises
    ------
    OSError
        When the disk, a quota or a limit of the process is too small.
    """
    try:
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise OSError(
                f"{path.parent} must have room for {size / 1e6:.0f} MB, found less: the disk is "
                "full, make room or choose another folder"
            ) from error


def _to_disk(path: Path) -> None:
    """Have the bytes on disk before the name: a crash in between would leave an empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
