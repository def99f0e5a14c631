# SPDX-License-Identifier: MIT
"""UMA interatomic potentials in LAMMPS, behind i-PI, and in ASE."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uma_md.calculator import UMACalculator as UMACalculator
    from uma_md.prediction import Prediction as Prediction
    from uma_md.prediction import PredictionError as PredictionError
    from uma_md.prediction import PredictionInterrupt as PredictionInterrupt
    from uma_md.prediction import predict as predict

__version__ = "0.1.0"
__all__ = [
    "Prediction",
    "PredictionError",
    "PredictionInterrupt",
    "UMACalculator",
    "__version__",
    "predict",
]

_HOMES = {
    "UMACalculator": "calculator",
    "Prediction": "prediction",
    "PredictionError": "prediction",
    "PredictionInterrupt": "prediction",
    "predict": "prediction",
}


def __getattr__(name: str) -> Any:
    """Import what computes, and torch with it, only when it is asked for."""
    if name in _HOMES:
        return getattr(import_module(f"uma_md.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
