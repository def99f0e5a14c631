# SPDX-License-Identifier: MIT
"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uma_md.signals import signals_as_exceptions

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MOST_LINKS = 40  # from one to the next, as on Linux


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when all went well.

    SIGTERM and SIGHUP remove the temporary file before they end the process.
    Of several processes that write at once, each writes its own and the last one stays. Where
    ``path`` is a link, what it leads to is written and the link stays.

    Raises
    ------
    OSError
        When there is something at ``path`` that is no regular file.
    SystemExit
        As ``uma_md.signals.signals_as_exceptions`` says.
    """
    path = replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with signals_as_exceptions():
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            yield Path(name)
            _to_disk(Path(name))
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(replaceable(path))
        finally:
            Path(name).unlink(missing_ok=True)


def replaceable(path: Path) -> Path:
    """The regular file that a path leads to, or that can be made there.

    Raises
    ------
    OSError
        When there is something else, which a file must not replace.
    """
    target = path.absolute()
    for _ in range(MOST_LINKS):
        if not target.is_symlink() or target.parent.resolve().is_relative_to("/proc"):
            break
        target = target.parent / target.readlink()
    target = target.parent.resolve() / target.name
    try:
        found = target.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return target
    if not stat.S_ISREG(found):
        raise OSError(
            f"output must be a new file or replace a regular one, found {_kind(found)} at {path}: "
            "choose another name"
        )
    return target


def _kind(mode: int) -> str:
    """What is no regular file, in words."""
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    if stat.S_ISLNK(mode):
        return "a link that leads in a circle or into /proc"
    return "a pipe or a socket"


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
