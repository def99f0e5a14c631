# SPDX-License-Identifier: MIT
"""TorchScript, which torch warns of: our calls are silent, those of others are not."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import torch

TORCH_ADVICE = r"`torch\.jit\.\w+` is (deprecated|not supported)"
_FIRST_WITHOUT = (3, 14)  # torch: "not supported in Python 3.14+ and may break"
_filters = threading.RLock()


def script(module: torch.nn.Module) -> torch.jit.ScriptModule:
    """Compile a module.

    Raises
    ------
    ValueError
        Where torch does not support TorchScript.
    """
    with without_advice():
        return torch.jit.script(module)


def save(
    scripted: torch.jit.ScriptModule, target: Path | BytesIO, extra_files: Mapping[str, str]
) -> None:
    """Write a compiled module and further files into one archive."""
    with without_advice():
        torch.jit.save(scripted, _opened(target), _extra_files=dict(extra_files))


def load(source: Path | BytesIO) -> torch.jit.ScriptModule:
    """Read a compiled module onto the CPU.

    Raises
    ------
    RuntimeError
        When torch cannot read the file.
    ValueError
        Where torch does not support TorchScript.
    """
    with without_advice():
        return torch.jit.load(_opened(source), map_location="cpu")


def _opened(file: Path | BytesIO) -> str | BytesIO:
    return file if isinstance(file, BytesIO) else str(file)


@contextmanager
def without_advice() -> Iterator[None]:
    """A block in which ``torch.jit`` does not say that it is deprecated.

    Python keeps one list of filters per process. Threads of ours enter one after the other, so
    that none puts back what another has changed; a thread of others that calls ``torch.jit``
    in the meantime is not warned.

    Raises
    ------
    ValueError
        Where torch does not support TorchScript.
    """
    check_python(sys.version_info[:2])
    with _filters, warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):  # before torch 2.14, and since
            warnings.filterwarnings("ignore", TORCH_ADVICE, category)
        yield


def check_python(version: tuple[int, int]) -> None:
    """Refuse a Python on which torch does not support TorchScript.

    Raises
    ------
    ValueError
    """
    if version >= _FIRST_WITHOUT:
        raise ValueError(
            "exported files need TorchScript, which torch supports on Python 3.10 to 3.13, found "
            f"Python {version[0]}.{version[1]}: use one of those"
        )
