"""Exported models: TorchScript files with a JSON record, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from uma_md.metadata import Metadata
from uma_md.model import UMA

_RECORD = "metadata.json"


def is_exported(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive, rather than a checkpoint."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def read_metadata(path: str | Path) -> Metadata:
    """Read the record of an exported file, without running its code.

    Raises
    ------
    ValueError
        When the file was not written by ``uma-md export``, or by a newer one.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(f"/extra/{_RECORD}")]
        if len(names) != 1:
            raise ValueError(f"{path} is TorchScript, but not a file that uma-md export wrote")
        return Metadata.from_json(archive.read(names[0]).decode())


def save(model: UMA, metadata: Metadata, path: str | Path) -> None:
    """Write a network and its record to one file."""
    scripted = torch.jit.script(model)
    with _written_whole(Path(path)) as part:
        torch.jit.save(scripted, str(part), _extra_files={_RECORD: metadata.to_json()})


def load(path: str | Path, device: torch.device) -> tuple[Any, Metadata]:
    """Load an exported file's module onto a device, and its record.

    TorchScript's profiling executor and its fusion are turned off, since they compile
    anew whenever the number of edges changes.
    """
    metadata = read_metadata(path)
    torch._C._jit_set_profiling_executor(False)
    torch._C._jit_set_profiling_mode(False)
    module = torch.jit.load(str(path), map_location=device)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module, metadata


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
