# SPDX-License-Identifier: MIT
"""Torch's zip archives, read as data: their members, and the tensors that lie in them."""

from __future__ import annotations

import math
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that still lies in its file.

    Attributes
    ----------
    record
        Name of the archive's member with its bytes.
    dtype
        Of its elements.
    offset, shape, stride
        In elements, within the record.
    """

    record: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@contextmanager
def open_archive(path: Path, most_inflated: int = 0) -> Iterator[zipfile.ZipFile]:
    """Open a torch archive, after checking that its directory promises nothing impossible.

    Parameters
    ----------
    path
        The file.
    most_inflated
        Bytes that compressed members may have in all; without it there must be none.

    Raises
    ------
    ValueError
        When the archive is damaged or is none that torch writes.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGE, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path} must be a whole torch zip archive, it is damaged: {error}"
        ) from error
    with archive:
        _check_members(archive.infolist(), path, most_inflated)
        try:
            yield archive
        except _DAMAGE as error:
            raise ValueError(f"{path} is damaged: {error}: get the file again") from error


def _check_members(members: list[zipfile.ZipInfo], path: Path, most_inflated: int) -> None:
    """Refuse members that torch never writes, and sizes that do not fit into the file."""
    names = [member.orig_filename for member in members]
    if len(set(names)) != len(names):
        raise ValueError(f"{path} must hold each member once, found one twice: do not trust it")
    for member in members:
        parts = member.orig_filename.split("/")
        if "" in parts or ".." in parts or re.search(r"[\\\0]", member.orig_filename):
            raise ValueError(
                f"{path} must have members inside one folder, found {member.orig_filename!r}: do "
                "not trust it"
            )
        if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
            raise ValueError(f"{path} must hold plain members, found a link or an encrypted one")
    size = path.stat().st_size
    if any(not 0 <= member.header_offset < size for member in members):
        raise ValueError(f"{path} must have its members within it, found one elsewhere: damaged")
    stored = [member for member in members if member.compress_type == zipfile.ZIP_STORED]
    inflated = sum(member.file_size for member in members) - sum(m.file_size for m in stored)
    if (
        inflated > most_inflated
        or any(member.file_size != member.compress_size for member in stored)
        or sum(member.compress_size for member in members) > size
    ):
        raise ValueError(
            f"{path} must hold its members as they are, found compressed or overlapping ones that "
            "would unpack to more: do not trust it"
        )


def check_fits(tensor: StoredTensor, size: int | None) -> None:
    """Refuse a tensor that is not within its record of ``size`` bytes; None is no record."""
    if size is None:
        raise ValueError(f"the checkpoint is cut short: it lacks {tensor.record}")
    count = math.prod(tensor.shape)
    extent = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))
    needed = max(tensor.offset + extent, count) * tensor.dtype.itemsize if count else 0
    if min(*tensor.shape, *tensor.stride, tensor.offset, 0) < 0 or needed > size:
        raise ValueError(
            f"the checkpoint is damaged: {tensor.record} holds {size} bytes, "
            f"its tensor of shape {tensor.shape} needs {needed}"
        )


def read_tensor(archive: zipfile.ZipFile, tensor: StoredTensor) -> torch.Tensor:
    """Read a tensor's record and return the part of it that the tensor is."""
    sizes = {tensor.record: archive.getinfo(tensor.record).file_size}
    check_fits(tensor, sizes[tensor.record])
    flat = torch.frombuffer(
        bytearray(archive.read(tensor.record)) or bytearray(8), dtype=tensor.dtype
    )
    return torch.as_strided(flat, tensor.shape, tensor.stride, tensor.offset)
