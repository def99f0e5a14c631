"""How a model is to be run, as the command line or i-PI's input says."""

from __future__ import annotations

from dataclasses import dataclass

EXTRAS = ("energies",)


@dataclass(frozen=True)
class Options:
    """How a model is to be run, as the command line or i-PI's input says.

    Attributes
    ----------
    task, charge, spin
        None for what the template, or else the model, says.
    device, dtype, trust_code
        As for ``uma_md.UMACalculator``.
    extras
        Names of the extras to send, of ``EXTRAS``.
    skin
        How far beyond the cutoff pairs are kept, angstrom.
    """

    task: str | None = None
    charge: int | None = None
    spin: int | None = None
    device: str = "auto"
    dtype: str = "float32"
    extras: tuple[str, ...] = ()
    skin: float = 1.0
    trust_code: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.extras if name not in EXTRAS]
        if unknown:
            raise ValueError(f"extras must be of {', '.join(EXTRAS)}; found {unknown[0]!r}")
        if not 0 <= self.skin <= 10:
            raise ValueError(f"skin must be 0 to 10 angstrom, found {self.skin:g}")
