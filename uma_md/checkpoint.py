"""Published UMA checkpoint files, read as data: nothing in them is ever executed.

A file is a zip archive: ``data.pkl``, a pickle of fairchem-core's
``MLIPInferenceCheckpoint``, and one record of raw bytes per tensor. The pickle is read
with an allow-list; what it may name becomes an inert stand-in. Tensors stay on disk
until asked for, so that the raw weights, which inference does not use, are never read.
"""

from __future__ import annotations

import collections
import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


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


@dataclass
class Checkpoint:
    """What a published file holds, with the averaged (EMA) weights still on disk.

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
        """Read tensors from disk, one by one, floating ones as ``dtype``."""
        with zipfile.ZipFile(self.path) as archive:
            return {name: _read_tensor(archive, self.weights[name], dtype) for name in names}

    def sha256(self) -> str:
        """Checksum of the file."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a published checkpoint without running anything from it.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is not a UMA checkpoint, or names code outside the allow-list.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint must be an existing file, found none at {path}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} must be a UMA checkpoint as published (a torch zip archive)")
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{path} must be a UMA checkpoint, found an archive without data.pkl")
        prefix = pickles[0].removesuffix("data.pkl")
        content = _load_pickle(archive.read(pickles[0]), prefix, path)
    content = _plain(content)
    if not isinstance(content, _Record) or content.name != "MLIPInferenceCheckpoint":
        raise ValueError(
            f"{path} must hold an MLIPInferenceCheckpoint, as the published UMA files do, "
            f"found {getattr(content, 'name', type(content).__name__)}"
        )
    state = content.state
    lost = {"model_config", "ema_state_dict", "tasks_config"} - set(state)
    if lost:
        raise ValueError(f"{path} lacks {', '.join(sorted(lost))} of a UMA checkpoint")
    averaged = state["ema_state_dict"]
    weights = {
        name.removeprefix("module."): tensor
        for name, tensor in averaged.items()
        if isinstance(tensor, StoredTensor) and name != "n_averaged"
    }
    return Checkpoint(path, state["model_config"], list(state["tasks_config"]), weights)


def _read_tensor(
    archive: zipfile.ZipFile, tensor: StoredTensor, dtype: torch.dtype
) -> torch.Tensor:
    try:
        info = archive.getinfo(tensor.record)
    except KeyError:
        raise ValueError(f"the checkpoint is cut short: it lacks {tensor.record}") from None
    count = int(np.prod(tensor.shape))
    extent = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))
    needed = (tensor.offset + extent) * tensor.dtype.itemsize if count else 0
    if min(*tensor.shape, *tensor.stride, tensor.offset, 0) < 0 or needed > info.file_size:
        raise ValueError(
            f"the checkpoint is damaged: {tensor.record} holds {info.file_size} bytes, "
            f"its tensor of shape {tensor.shape} needs {needed}"
        )
    flat = torch.frombuffer(bytearray(archive.read(info)) or bytearray(8), dtype=tensor.dtype)
    view = torch.as_strided(flat, tensor.shape, tensor.stride, tensor.offset)
    if view.is_floating_point():
        return view.to(dtype).contiguous()
    return view.contiguous()


@dataclass
class _Record:
    """Inert stand-in for an object of a class that the pickle names."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):
            state = next((part for part in state if part), {})
        self.state = dict(state)


def _stand_in(name: str) -> type:
    """A class whose instances only remember the state that the pickle gives them."""

    def new(cls: type, *_arguments: Any) -> _Record:
        return _Record(name)

    return type(name, (), {"__new__": new})


def _rebuild_tensor(
    storage: tuple[str, torch.dtype],
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    *_rest: Any,
) -> StoredTensor:
    record, dtype = storage
    return StoredTensor(record, dtype, int(offset), tuple(shape), tuple(stride))


def _rebuild_parameter(tensor: StoredTensor, *_rest: Any) -> StoredTensor:
    return tensor


def _named(name: str) -> Callable[..., str]:
    """A constructor that yields a name, for torch.device and the like."""
    return lambda *_arguments: name


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): _stand_in("defaultdict"),
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "set"): set,
    ("builtins", "tuple"): tuple,
    ("builtins", "int"): int,
    ("builtins", "long"): int,
    ("builtins", "float"): float,
    ("builtins", "str"): str,
    ("builtins", "bool"): bool,
    ("typing", "Any"): "Any",
    ("torch", "device"): _named("device"),
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("fairchem.core.units.mlip_unit.api.inference", "MLIPInferenceCheckpoint"): _stand_in(
        "MLIPInferenceCheckpoint"
    ),
    ("omegaconf.dictconfig", "DictConfig"): _stand_in("DictConfig"),
    ("omegaconf.listconfig", "ListConfig"): _stand_in("ListConfig"),
    ("omegaconf.base", "ContainerMetadata"): _stand_in("ContainerMetadata"),
    ("omegaconf.base", "Metadata"): _stand_in("Metadata"),
    **{
        ("omegaconf.nodes", name): _stand_in(name)
        for name in ("AnyNode", "IntegerNode", "FloatNode", "StringNode", "BooleanNode")
    },
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
    **{
        ("torch", str(dtype).removeprefix("torch.")): str(dtype)
        for dtype in (*_DTYPES.values(), torch.complex64)
    },
}


class _Unpickler(pickle.Unpickler):
    """Reads a pickle whose every name is on the allow-list."""

    def __init__(self, data: bytes, prefix: str) -> None:
        super().__init__(io.BytesIO(data))
        self._prefix = prefix

    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ValueError(
                f"a checkpoint must hold data only, this one names {module}.{name}, "
                "which is not on uma-md's allow-list: do not trust this file"
            ) from None

    def persistent_load(self, pid: Any) -> tuple[str, torch.dtype]:
        kind, dtype, key, _location, _size = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not str(key).isalnum():
            raise ValueError(f"a checkpoint's tensors must be torch storages, found {kind!r}")
        return f"{self._prefix}data/{key}", dtype


def _load_pickle(data: bytes, prefix: str, path: Path) -> Any:
    try:
        return _Unpickler(data, prefix).load()
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} must be a UMA checkpoint, its pickle is damaged: {error}"
        ) from error


def _plain(value: Any) -> Any:
    """Turn omegaconf stand-ins into dicts, lists and values, all the way down."""
    if isinstance(value, _Record):
        if value.name in ("DictConfig", "ListConfig"):
            return _plain(value.state.get("_content"))
        if value.name.endswith("Node"):
            return _plain(value.state.get("_val"))
        if value.name == "MLIPInferenceCheckpoint":
            return _Record(value.name, {key: _plain(part) for key, part in value.state.items()})
        return None
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(part) for part in value)
    return value
