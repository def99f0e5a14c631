# SPDX-License-Identifier: MIT
"""UMA interatomic potentials in LAMMPS, behind i-PI, and in ASE."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uma_md.calculator import UMACalculator as UMACalculator

__version__ = "0.1.0"
__all__ = ["UMACalculator", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the calculator, and torch with it, only when it is asked for."""
    if name == "UMACalculator":
        from uma_md.calculator import UMACalculator

        return UMACalculator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
