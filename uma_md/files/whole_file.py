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
LONGEST_PREFIX = 40  # characters of a name that a temporary one begins with


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when all went well.

    SIGTERM and SIGHUP remove the temporary file before they end the process.
    Of several processes that write at once, each writes its own and the last one stays. Where
    ``path`` is a link, what it leads to is written and the link stays.

    Raises
    ------
    OSError
        When there is something at ``path`` that is no regular file, or no file can be made there.
    SystemExit
        As ``uma_md.signals.signals_as_exceptions`` says.
    """
    path = replaceable(path)
    with signals_as_exceptions():
        part = _new_file(path)
        try:
            yield part
            _to_disk(part)
            part.chmod(0o666 & ~_umask())
            part.replace(replaceable(path))
        finally:
            part.unlink(missing_ok=True)


def _new_file(path: Path) -> Path:
    """An empty file beside a path, whose folder is made if need be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.name[:LONGEST_PREFIX]}."
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix)
    except OSError as error:
        raise _no_room(path.parent, error) from error
    os.close(handle)
    return Path(name)


def check_output(path: Path) -> Path:
    """The regular file that a path leads to, where a file can be made: for before the work.

    Raises
    ------
    OSError
        When there is something else, or the folder takes no files.
    """
    target = replaceable(path)
    folder = target.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".uma-md."):
            pass
    except OSError as error:
        raise _no_room(folder, error) from error
    return target


def _no_room(folder: Path, error: OSError) -> OSError:
    return OSError(
        f"output must be in a folder where files can be made, found {folder} "
        f"({error.strerror}): choose another folder"
    )


def replaceable(path: Path) -> Path:
    """The regular file that a path leads to, or that can be made there.

    Raises
    ------
    OSError
        When there is something else, which a file must not replace, or the name is too long.
    """
    try:
        target = _followed(path)
        found = target.lstat().st_mode if os.path.lexists(target) else stat.S_IFREG
    except OSError as error:
        raise OSError(
            f"output must have a name that the disk takes, found {str(path)[:100]} "
            f"({error.strerror}): choose another name"
        ) from error
    if not stat.S_ISREG(found):
        raise OSError(
            f"output must be a new file or replace a regular one, found {kind_of(found)} at "
            f"{path}: choose another name"
        )
    return target


def _followed(path: Path) -> Path:
    """What a path leads to, in its own folder; links into /proc are not followed."""
    target = path.absolute()
    for _ in range(MOST_LINKS):
        if not target.is_symlink() or target.parent.resolve().is_relative_to("/proc"):
            break
        target = target.parent / target.readlink()
    return target.parent.resolve() / target.name


def kind_of(mode: int) -> str:
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
