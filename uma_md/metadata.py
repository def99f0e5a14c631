# SPDX-License-Identifier: MIT
"""What an exported file says of itself, and what a model demands of the system it serves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from uma_md.record_check import check_record

FORMAT = "uma-md"
FORMAT_VERSION = 1
CHARGE_RANGE = (-100, 100)
SPIN_RANGE = (0, 100)


@dataclass(frozen=True)
class Metadata:
    """The record that travels with a network.

    Attributes
    ----------
    model_id, task
        Generation of the model, and the task whose energy it gives.
    charge, spin
        Total charge (e) and spin multiplicity, used where the system gives none.
    elements
        Symbols by atomic number from H, empty where the model does not know the element.
    cutoff
        angstrom.
    dtype
        ``float32`` or ``float64``.
    torch_version
        The torch that wrote the file.
    composition
        Atoms per element that the experts are merged for; None when the file keeps them.
    composition_exact
        Whether that composition holds atom by atom, or only its ratios count.
    supports_single_atoms, max_neighbors, num_layers, lmax, mmax, sphere_channels
        As in ``uma_md.config.ModelConfig``.
    bytes_per_edge
        What one edge of one layer keeps in memory when its graph is kept.
    parameters_total, parameters_active
        Numbers of the checkpoint, and those that act on one system.
    source, source_sha256
        Name and checksum of the checkpoint file.
    """

    model_id: str
    task: str
    charge: int
    spin: int
    elements: tuple[str, ...]
    cutoff: float
    dtype: str
    torch_version: str
    composition: dict[str, int] | None
    composition_exact: bool
    supports_single_atoms: bool
    max_neighbors: int
    num_layers: int
    lmax: int
    mmax: int
    sphere_channels: int
    bytes_per_edge: int
    parameters_total: int
    parameters_active: int
    source: str
    source_sha256: str

    def to_json(self) -> str:
        """Serialize, with the format's name and version in front."""
        record = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(record, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Metadata:
        """Parse what ``to_json`` wrote.

        Raises
        ------
        ValueError
            When the record is not of this format, of another version, or damaged.
        """
        try:
            record: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"metadata must be JSON, found other text: {error}") from error
        if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
            raise ValueError("metadata must be written by uma-md export, found something else")
        version = record.pop("format_version", None)
        if type(version) is not int or version != FORMAT_VERSION:
            raise ValueError(
                f"file format must be version {FORMAT_VERSION}, found {str(version)[:50]}: "
                "export again with this uma-md, or update it"
            )
        check_record(record)
        record["elements"] = tuple(record["elements"])
        return cls(**{entry.name: record[entry.name] for entry in fields(cls)})

    def check_elements(self, atomic_numbers: Sequence[int] | np.ndarray) -> None:
        """Refuse atoms of elements that the model does not know."""
        for number in sorted({int(number) for number in atomic_numbers}):
            if not (1 <= number <= len(self.elements) and self.elements[number - 1]):
                symbol = chemical_symbols[number] if 0 < number < len(chemical_symbols) else "X"
                raise ValueError(
                    f"{self.model_id} knows the elements {self.known_elements}, found "
                    f"{symbol} (atomic number {number})"
                )

    @property
    def known_elements(self) -> str:
        """The elements in words: the first and the last, or all where some between are unknown."""
        if all(self.elements):
            return f"{self.elements[0]} to {self.elements[-1]}"
        return ", ".join(filter(None, self.elements))

    def check_system(self, counts: dict[str, int], charge: int, spin: int) -> None:
        """Refuse systems that the experts of a merged file are not merged for."""
        if self.composition is None:
            return
        reference, total = self.composition, sum(self.composition.values())
        atoms = sum(counts.values())
        if self.composition_exact:
            same = counts == reference
        else:
            same = counts.keys() == reference.keys() and all(
                counts[symbol] * total == reference[symbol] * atoms for symbol in counts
            )
        if not same or (charge, spin) != (self.charge, self.spin):
            raise ValueError(
                f"this file is merged for {formula(reference)} with charge {self.charge} and spin "
                f"{self.spin}, found {formula(counts)} with charge {charge} and spin {spin}: "
                "export again with --merge-for this system, or without --merge-for"
            )


def formula(counts: dict[str, int]) -> str:
    """Counts of elements as a formula, such as H64O32."""
    return "".join(f"{symbol}{count}" for symbol, count in sorted(counts.items())) or "no atoms"


def count_elements(atomic_numbers: Sequence[int] | np.ndarray) -> dict[str, int]:
    """Atoms per element symbol."""
    numbers, counts = np.unique(np.asarray(atomic_numbers, dtype=int), return_counts=True)
    return {chemical_symbols[z]: int(n) for z, n in zip(numbers, counts, strict=True)}


def check_charge_spin(charge: Any, spin: Any) -> tuple[int, int]:
    """Total charge and spin multiplicity as ints in the range that the models know.

    Raises
    ------
    TypeError
        When one is not an integer.
    ValueError
        When one is out of range.
    """
    for name, value, (low, high) in (
        ("charge", charge, CHARGE_RANGE),
        ("spin", spin, SPIN_RANGE),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name} must be an integer, found {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low} to {high}, found {value}")
    return int(charge), int(spin)


def default_spin(task: str) -> int:
    """Spin multiplicity where none is given: 1 for omol, 0 (not told) for the other tasks."""
    return 1 if task == "omol" else 0
