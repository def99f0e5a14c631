# SPDX-License-Identifier: MIT
"""UMA checkpoint files, read as data: nothing in them is ever executed.

A published file is a zip archive: ``data.pkl``, a pickle of fairchem-core's
``MLIPInferenceCheckpoint``, and one record of raw bytes per tensor. Tensors stay on disk until
asked for, so that the raw weights, which inference does not use, are never read. The same content
as a safetensors file is read as well.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from uma_md.files import safetensors_checkpoint
from uma_md.files.archive import StoredTensor, check_fits, open_archive, read_tensor
from uma_md.files.checksum import sha256
from uma_md.files.pickles import MOST_BYTES, Record, plain, read_pickle


@dataclass
class Checkpoint:
    """What a checkpoint holds, with the averaged (EMA) weights still on disk.

    Attributes
    ----------
    path
        The file.
    model_config, tasks_config
        Plain dicts and lists.
    weights
        Tensors by their published names, without the leading ``module.``.
    """

    path: Path
    model_config: dict[str, Any]
    tasks_config: list[dict[str, Any]]
    weights: dict[str, StoredTensor]

    def read(self, names: list[str], dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Read tensors from disk, one by one, floating ones as ``dtype``.

        Raises
        ------
        ValueError
            When the file is damaged, or a weight is no finite number in ``dtype``.
        """
        opened = safetensors_checkpoint.open_tensors if _is_safe(self.path) else _open_tensors
        with opened(self.path) as fetch:
            return {name: _converted(name, fetch(self.weights[name]), dtype) for name in names}

    def sha256(self) -> str:
        """Checksum of the file."""
        with self.path.open("rb") as file:
            return sha256(file)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint without running anything from it.

    Parameters
    ----------
    path
        A file as published, or as ``uma_md.files.safetensors_checkpoint`` writes it.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is not a UMA checkpoint, is damaged, or names code outside the allow-list.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint must be an existing file, found none at {path}")
    if _is_safe(path):
        return Checkpoint(path, *safetensors_checkpoint.read_header(path))
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} must be a UMA checkpoint as published (a torch zip archive), whole and not "
            "cut short"
        )
    with open_archive(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        state = _read_content(archive, path)
    weights = {
        str(name).removeprefix("module."): tensor
        for name, tensor in state["ema_state_dict"].items()
        if isinstance(tensor, StoredTensor) and name != "n_averaged"
    }
    for tensor in weights.values():
        check_fits(tensor, sizes.get(tensor.record))
    return Checkpoint(path, state["model_config"], state["tasks_config"], weights)


def _is_safe(path: Path) -> bool:
    return path.suffix == safetensors_checkpoint.SUFFIX


def _read_content(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    """The parts of the checkpoint that inference needs, as plain dicts, lists and values."""
    pickles = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"{path} must be a UMA checkpoint with one data.pkl, found {len(pickles)}")
    prefix = pickles[0].filename.removesuffix("data.pkl")
    _check_byte_order(archive, prefix, path)
    if pickles[0].file_size > MOST_BYTES:
        raise ValueError(f"{path} must have a data.pkl of at most {MOST_BYTES} bytes, found more")
    try:
        return _parts(read_pickle(archive.read(pickles[0]), prefix))
    except ValueError as error:
        raise ValueError(f"{path} must be a UMA checkpoint: {error}") from error


def _parts(content: Any) -> dict[str, Any]:
    """What inference needs of the object that the pickle describes."""
    if not isinstance(content, Record) or content.name != "MLIPInferenceCheckpoint":
        found = content.name if isinstance(content, Record) else type(content).__name__
        raise ValueError(
            f"it must hold an MLIPInferenceCheckpoint, as the published files do, found {found}"
        )
    parts = {}
    for name, kind in (("model_config", dict), ("ema_state_dict", dict), ("tasks_config", list)):
        if name not in content.state:
            raise ValueError(f"it lacks {name}")
        parts[name] = plain(content.state[name])
        if not isinstance(parts[name], kind):
            raise ValueError(f"its {name} must be a {kind.__name__}")
    return parts


def _check_byte_order(archive: zipfile.ZipFile, prefix: str, path: Path) -> None:
    name = f"{prefix}byteorder"
    if name in archive.namelist() and archive.read(name) != b"little":
        raise ValueError(f"{path} must have byte order little, found another one")


@contextmanager
def _open_tensors(path: Path) -> Iterator[Callable[[StoredTensor], torch.Tensor]]:
    """A function that reads one tensor of a published file."""
    with open_archive(path) as archive:
        yield lambda tensor: read_tensor(archive, tensor)


def _converted(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor.contiguous()
    tensor = tensor.to(dtype).contiguous()
    if tensor.numel() and not all(math.isfinite(bound) for bound in torch.aminmax(tensor)):
        raise ValueError(
            f"weights must be finite numbers, {name} holds others in {dtype}: the checkpoint is "
            "damaged"
        )
    return tensor
