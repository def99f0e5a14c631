# SPDX-License-Identifier: MIT
"""Precision of products of float32 matrices: that of the options, whatever torch is set to.

torch keeps one setting for the whole process, which other programs in it may change by
``allow_tf32``, ``fp32_precision`` or ``set_float32_matmul_precision``. An evaluation sets its own
and puts theirs back. ``uma_md/kernels/precision.cpp`` is the same for LAMMPS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from uma_md.kernels import library

_ON_CPUS = ("bf16x3", "bf16x6")
_EXACT = ("ieee", "none")  # words of torch for products in float32
_CUDA = torch.backends.cuda.matmul
_MKLDNN: Any = torch.backends.mkldnn


def check_precision(precision: str, dtype: str, device: torch.device, engine: str) -> None:
    """Check that products can have a precision.

    Parameters
    ----------
    precision
        One of ``uma_md.options.PRECISIONS``.
    dtype
        Of the model.
    device
    engine
        The one that runs, ``kernels`` or ``portable``.

    Raises
    ------
    ValueError
        When they cannot.
    """
    if precision == "float32":
        return
    if dtype != "float32":
        raise ValueError(
            f"precision {precision} must have dtype float32, found {dtype}: leave precision out"
        )
    wanted = "cpu" if precision in _ON_CPUS else "cuda"
    if device.type != wanted:
        raise ValueError(
            f"precision {precision} must run on {wanted}, found {device}: take precision float32"
        )
    if precision != "tf32" and engine != "kernels":
        raise ValueError(
            f"precision {precision} must have engine kernels, found {engine}: take precision "
            "float32, or see with engine kernels what these need"
        )
    if precision in _ON_CPUS and not torch.ops.uma_md.bf16_instructions():
        raise ValueError(
            f"precision {precision} must have a processor with bfloat16 (AMX, or AVX-512 with "
            "BF16) and a compiler that knows it, found none: take precision float32"
        )


def precisions_for(kind: str) -> tuple[str, ...]:
    """Precisions other than float32 that the kernels have on a kind of device, ``cpu`` or another.

    None on CPUs that do not multiply bfloat16, or where the kernels are not compiled.
    """
    if kind == "cuda":
        return ("fp16x3", "tf32")
    multiplies = kind == "cpu" and library.load() and torch.ops.uma_md.bf16_instructions()
    return _ON_CPUS if multiplies else ()


def described(precision: str) -> str:
    """A precision, and the instructions of this processor that it takes, for logs."""
    if precision not in _ON_CPUS:
        return precision
    return f"{precision} by {torch.ops.uma_md.bf16_instructions()}"


class _Turns:
    """Threads that need the same of torch's settings evaluate together, others take turns."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users = 0
        self._tf32 = False
        self._put_back: list[Callable[[], None]] = []

    def enter(self, tf32: bool) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._users == 0 or self._tf32 == tf32)
            if self._users == 0:
                self._put_back = _set(tf32)
                self._tf32 = tf32
            self._users += 1

    def leave(self) -> None:
        with self._changed:
            self._users -= 1
            if self._users == 0:
                for put_back in self._put_back:
                    put_back()
                self._changed.notify_all()


_TURNS = _Turns()


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Give a block in which torch multiplies float32 matrices as a precision says.

    Blocks with different precisions must not be nested.
    """
    tf32 = precision == "tf32"
    _TURNS.enter(tf32)
    try:
        yield
    finally:
        _TURNS.leave()


def _set(tf32: bool) -> list[Callable[[], None]]:
    """Set what is not so already; gives what puts it back."""
    put_back = []
    for matmul, parent, words in (
        (_CUDA, torch.backends.cudnn, ("tf32",) if tf32 else _EXACT),
        (_MKLDNN.matmul, _MKLDNN, _EXACT),  # products on CPUs
    ):
        found = matmul.fp32_precision
        if found not in words:
            inherited = found == parent.fp32_precision
            put_back.append(_setter(matmul, "fp32_precision", "none" if inherited else found))
            matmul.fp32_precision = words[0]
    if _CUDA.allow_fp16_accumulation:
        put_back.append(_setter(_CUDA, "allow_fp16_accumulation", True))
        _CUDA.allow_fp16_accumulation = False
    return put_back


def _setter(target: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(target, name, value)
