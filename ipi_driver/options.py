# SPDX-License-Identifier: MIT
"""How a model is to be run for i-PI, as the command line or i-PI's input says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uma_md.options import RunOptions

OF_COMMITTEES = ("deviations", "committee")
EXTRAS = ("energies", "fingerprint", *OF_COMMITTEES)


@dataclass(frozen=True)
class Options(RunOptions):
    """How a model is to be run for i-PI; the structure of ``RunOptions`` is the template.

    Attributes
    ----------
    task
        Needed for a checkpoint of several tasks.
    extras
        Names of the extras to send, of ``EXTRAS``.
    skin
        How far beyond the cutoff pairs are kept, angstrom.
    """

    task: str | None = None
    extras: tuple[str, ...] = ()
    skin: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.extras if name not in EXTRAS]
        if unknown:
            raise ValueError(f"extras must be of {', '.join(EXTRAS)}; found {unknown[0]!r}")
        if not 0 <= self.skin <= 10:
            raise ValueError(f"skin must be 0 to 10 angstrom, found {self.skin:g}")


def whole_number(name: str, value: Any) -> int:
    """A parameter of i-PI's input as an integer, also where it is written as -1.0.

    Raises
    ------
    ValueError
        When it is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.5
    if not number.is_integer():
        raise ValueError(f"{name} must be an integer, found {value!r}")
    return int(number)
