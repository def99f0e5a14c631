# SPDX-License-Identifier: MIT
"""How a model is to be run: the options that the calculator, predictions and uma-ipi share.

An option is added here, once: the calculator and ``predict`` take it as a keyword, ``uma-md
predict`` and ``uma-ipi`` as a flag, and ``docs/options.md`` lists it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from uma_md.config import CHARGE_RANGE, SPIN_RANGE, check_integer

DTYPE_NAMES = ("float32", "float64")
RECOMPUTE = ("auto", "on", "off")
ENGINES = ("auto", "kernels", "portable")
PRECISIONS = ("float32", "tf32", "fp16x3", "bf16x3", "bf16x6")
GRAPHS = ("off", "auto", "on")


def _option(default: Any, kind: type, meaning: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"kind": kind, "meaning": meaning, "choices": choices})


@dataclass(frozen=True)
class RunOptions:
    """How a model is to be run.

    Raises
    ------
    TypeError, ValueError
        When a value is none of those that the option takes.
    """

    device: str = _option(
        "auto",
        str,
        "Where the network runs: auto (an accelerator where there is one), cpu or cuda.",
    )
    dtype: str = _option(
        "float32",
        str,
        "Precision of a checkpoint's network; an exported file has its own.",
        DTYPE_NAMES,
    )
    chunk: int | None = _option(
        None,
        int,
        "Edges handled at a time: fewer need less memory. By default as device and memory allow.",
    )
    recompute: str = _option(
        "auto",
        str,
        "Compute messages again for the forces (on) or keep them (off); auto keeps them where "
        "memory allows.",
        RECOMPUTE,
    )
    engine: str = _option(
        "auto",
        str,
        "What computes messages: hand-written kernels, the network's portable operators, or auto, "
        "the kernels where they are compiled.",
        ENGINES,
    )
    precision: str = _option(
        "float32",
        str,
        "Products in dtype float32: in float32; on CUDA in tf32, faster and less precise, or, by "
        "kernels, in fp16x3, about as precise as float32; by kernels on CPUs that multiply "
        "bfloat16 in bf16x6, about as precise, or bf16x3, less so.",
        PRECISIONS,
    )
    graphs: str = _option(
        "auto",
        str,
        "Record what kernels do on CUDA and repeat it (CUDA graphs), which saves the host's time: "
        "off, on, or auto, for small systems.",
        GRAPHS,
    )
    charge: int | None = _option(
        None, int, "Total charge in e; by default the structure's, or else the model's."
    )
    spin: int | None = _option(
        None, int, "Spin multiplicity 2S+1; by default the structure's, or else the model's."
    )
    trust_code: bool = _option(
        False,
        bool,
        "Run the code of an exported file that uma-md export did not write, with your rights.",
    )

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_NAMES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPE_NAMES)}; found {self.dtype!r}")
        if self.recompute not in RECOMPUTE:
            raise ValueError(f"recompute must be auto, on or off, found {self.recompute!r}")
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be auto, kernels or portable, found {self.engine!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(PRECISIONS)}; found {self.precision!r}"
            )
        if self.graphs not in GRAPHS:
            raise ValueError(f"graphs must be off, auto or on, found {self.graphs!r}")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be 1 or more edges, found {self.chunk}")
        for name, limits in (("charge", CHARGE_RANGE), ("spin", SPIN_RANGE)):
            if getattr(self, name) is not None:
                value = check_integer(name, getattr(self, name), limits)
                object.__setattr__(self, name, value)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of all options."""
        return tuple(entry.name for entry in fields(cls))

    def charge_and_spin(self, info: dict[str, Any], charge: int, spin: int) -> tuple[Any, Any]:
        """Charge and spin that are given here, or else in a structure's ``info``, or else these."""
        return (
            info.get("charge", charge) if self.charge is None else self.charge,
            info.get("spin", spin) if self.spin is None else self.spin,
        )
