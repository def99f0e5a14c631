# SPDX-License-Identifier: MIT
"""Whether the values of an exported file's record are of the kinds that they must be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from ase.data import atomic_numbers, chemical_symbols

LARGEST = 1 << 53  # what any reader of JSON holds exactly
LONGEST_CUTOFF = 100.0  # angstrom

Check = Callable[[Any], bool]


def _integer(low: int, high: int = LARGEST) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _text(pattern: str) -> Check:
    return lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value))


def _is_cutoff(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= LONGEST_CUTOFF and math.isfinite(value)


def _are_elements(value: Any) -> bool:
    if type(value) is not list or not value or not value[-1]:
        return False
    symbols = chemical_symbols[1 : len(value) + 1]
    return len(symbols) == len(value) and all(
        type(known) is str and known in ("", symbol)
        for known, symbol in zip(value, symbols, strict=True)
    )


def _is_composition(value: Any) -> bool:
    if value is None:
        return True
    if type(value) is not dict or not value:
        return False
    return all(atomic_numbers.get(key, 0) > 0 and _integer(1)(value[key]) for key in value)


_NAME = r"[^\x00-\x1f\x7f]{1,500}"

# By field: what its value must be, in words and as a test.
CHECKS: dict[str, tuple[str, Check]] = {
    "model_id": ("a name", _text(_NAME)),
    "task": ("a name", _text(_NAME)),
    "charge": ("an integer from -100 to 100", _integer(-100, 100)),
    "spin": ("an integer from 0 to 100", _integer(0, 100)),
    "elements": ("symbols in the order of atomic numbers, empty where not known", _are_elements),
    "cutoff": (f"a length within {LONGEST_CUTOFF:g} angstrom", _is_cutoff),
    "dtype": ("float32 or float64", _text("float32|float64")),
    "torch_version": ("a version", _text(r"[0-9A-Za-z.+-]{1,50}")),
    "composition": ("null, or positive numbers of atoms by element", _is_composition),
    "composition_exact": ("true or false", lambda value: type(value) is bool),
    "supports_single_atoms": ("true or false", lambda value: type(value) is bool),
    "max_neighbors": ("an integer from 1", _integer(1)),
    "num_layers": ("an integer from 1 to 1000", _integer(1, 1000)),
    "lmax": ("an integer from 1 to 6", _integer(1, 6)),
    "mmax": ("an integer from 0 to 6", _integer(0, 6)),
    "sphere_channels": ("an integer from 1", _integer(1)),
    "bytes_per_edge": ("an integer from 1", _integer(1)),
    "parameters_total": ("an integer from 1", _integer(1)),
    "parameters_active": ("an integer from 1", _integer(1)),
    "source": ("a file name", _text(_NAME)),
    "source_sha256": ("a sha256 or nothing", _text("[0-9a-f]{64}|")),
}


def check_record(record: dict[str, Any]) -> None:
    """Refuse a record that lacks a value or has one of another kind.

    Raises
    ------
    ValueError
        Naming the first field that is wrong.
    """
    lost = [name for name in CHECKS if name not in record]
    if lost:
        raise ValueError(f"metadata lacks {', '.join(lost)}: export the model again")
    for name, (kind, holds) in CHECKS.items():
        if not holds(record[name]):
            raise ValueError(
                f"metadata must have {kind} as its {name}, found {str(record[name])[:50]!r}: "
                "export the model again"
            )
