# SPDX-License-Identifier: MIT
"""Checkpoints as safetensors files: configs as JSON in the header, tensors by published names.

The header's texts are ``format`` (``uma-md``), ``model_config`` and ``tasks_config``. Such a file
holds the averaged weights alone, and no pickle.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from uma_md.files.archive import StoredTensor
from uma_md.files.metadata import FORMAT
from uma_md.files.whole_file import written_whole

SUFFIX = ".safetensors"
_CONFIGS = {"model_config": dict, "tasks_config": list}
_MOST_CHARACTERS = 1 << 25
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
}


def write_checkpoint(
    path: str | Path,
    model_config: dict[str, Any],
    tasks_config: list[dict[str, Any]],
    weights: Mapping[str, torch.Tensor],
) -> None:
    """Write a checkpoint as a safetensors file, whole or not at all.

    Parameters
    ----------
    path
        The file, with the suffix ``.safetensors``.
    model_config, tasks_config
        As in a published checkpoint; tensors and arrays in them become lists.
    weights
        Tensors by their published names, without a leading ``module.``.

    Raises
    ------
    ValueError
        When the suffix is another one, or a number in the configs is not finite.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"a safetensors checkpoint must be named *{SUFFIX}, found {path.name}")
    texts = {
        name: json.dumps(config, allow_nan=False, default=lambda part: part.tolist())
        for name, config in (("model_config", model_config), ("tasks_config", tasks_config))
    }
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as part:
        save_file(tensors, part, {"format": FORMAT, **texts})


def read_header(path: Path) -> tuple[dict[str, Any], list[Any], dict[str, StoredTensor]]:
    """Read the configs, and where the tensors are.

    Raises
    ------
    ValueError
        When the file is damaged, or is no checkpoint that uma-md wrote.
    """
    with _opened(path) as file:
        texts = file.metadata() or {}
        if texts.get("format") != FORMAT or not texts.keys() >= _CONFIGS.keys():
            raise ValueError(
                f"{path} must be a checkpoint as safetensors, with format {FORMAT}, model_config "
                "and tasks_config in its header, found other safetensors"
            )
        model_config, tasks_config = (
            _parse(texts[name], kind, f"{name} of {path}") for name, kind in _CONFIGS.items()
        )
        weights = {}
        for name in sorted(file.keys()):
            part = file.get_slice(name)
            if part.get_dtype() not in _DTYPES:
                raise ValueError(
                    f"weights must be of {', '.join(_DTYPES)}; {path} has {part.get_dtype()}"
                )
            shape = tuple(part.get_shape())
            strides = itertools.accumulate(reversed(shape[1:]), int.__mul__, initial=1)
            stride = tuple(strides)[::-1] if shape else ()
            weights[name] = StoredTensor(name, _DTYPES[part.get_dtype()], 0, shape, stride)
    return model_config, tasks_config, weights


@contextmanager
def open_tensors(path: Path) -> Iterator[Callable[[StoredTensor], torch.Tensor]]:
    """A function that reads one tensor of a safetensors file."""
    with _opened(path) as file:
        yield lambda tensor: file.get_tensor(tensor.record).clone()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file: {error}") from error


def _parse(text: str, kind: type, what: str) -> Any:
    try:
        if len(text) > _MOST_CHARACTERS:
            raise ValueError(f"more than {_MOST_CHARACTERS} characters")
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the {what} must be JSON, found {str(error)[:100]}") from error
    if not isinstance(value, kind):
        raise ValueError(f"the {what} must be a {kind.__name__}, found a {type(value).__name__}")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"the number {constant}")
