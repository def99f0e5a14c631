# SPDX-License-Identifier: MIT
"""What an exported file says of itself, and what a model demands of the system it serves."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from uma_md.config import CHARGE_RANGE, LONGEST_CUTOFF, SPIN_RANGE
from uma_md.system import count_elements, formula

FORMAT = "uma-md"
FORMAT_VERSION = 1

_LARGEST = 1 << 53  # what any reader of JSON holds exactly
MOST_ATOMS = _LARGEST  # of an element
_NAME = r"[^\x00-\x1f\x7f]{1,500}"
_SHA256 = "[0-9a-f]{64}"
_MERGE_ADVICE = "export again with --merge-for this system, or without --merge-for"

Check = Callable[[Any], bool]


def _entry(meaning: str, must_be: str, holds: Check) -> Any:
    """A field: what it means, and what its value must be, in words and as a test."""
    return field(metadata={"meaning": meaning, "must_be": must_be, "holds": holds})


def _is_elements(value: Any) -> bool:
    if type(value) is not list or not value or not value[-1]:
        return False
    symbols = chemical_symbols[1 : len(value) + 1]
    return len(symbols) == len(value) and all(
        type(known) is str and known in ("", symbol)
        for known, symbol in zip(value, symbols, strict=True)
    )


def _is_cutoff(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= LONGEST_CUTOFF and math.isfinite(value)


def _is_composition(value: Any) -> bool:
    if value is None:
        return True
    if type(value) is not dict or not value:
        return False
    return all(
        atomic_numbers.get(key, 0) > 0 and type(value[key]) is int and 1 <= value[key] <= _LARGEST
        for key in value
    )


def _text(meaning: str, must_be: str = "a name", pattern: str = _NAME) -> Any:
    return _entry(
        meaning,
        must_be,
        lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value)),
    )


def _integer(meaning: str, low: int, high: int | None = None) -> Any:
    limits = f"from {low}" if high is None else f"from {low} to {high}"
    most = _LARGEST if high is None else high
    return _entry(
        meaning,
        f"an integer {limits}",
        lambda value: type(value) is int and low <= value <= most,
    )


def _boolean(meaning: str) -> Any:
    return _entry(meaning, "true or false", lambda value: type(value) is bool)


@dataclass(frozen=True)
class Metadata:
    """The record that travels with a network, as ``metadata.json`` in an exported file.

    Every field states its meaning and what its value must be; ``described_fields`` lists them.
    """

    model_id: str = _text("generation of the model")
    task: str = _text("the task whose energy it gives")
    charge: int = _integer("total charge where the system gives none, e", *CHARGE_RANGE)
    spin: int = _integer("spin multiplicity where the system gives none", *SPIN_RANGE)
    elements: tuple[str, ...] = _entry(
        "the elements that the task knows",
        "symbols in the order of atomic numbers, empty where not known",
        _is_elements,
    )
    cutoff: float = _entry(
        "reach of an edge, angstrom", f"a length within {LONGEST_CUTOFF:g} angstrom", _is_cutoff
    )
    dtype: str = _text("precision of the network", "float32 or float64", "float32|float64")
    torch_version: str = _text("the torch that wrote it", "a version", "[0-9A-Za-z.+-]{1,50}")
    composition: dict[str, int] | None = _entry(  # noqa: RUF009  a field
        "atoms per element that the experts are merged for; null where none are merged",
        "null, or positive numbers of atoms by element",
        _is_composition,
    )
    composition_exact: bool = _boolean(
        "whether that composition holds atom by atom; else only its ratios count"
    )
    supports_single_atoms: bool = _boolean("whether the model may serve an isolated atom")
    max_neighbors: int = _integer("most neighbors of an atom in the model's training", 1)
    num_layers: int = _integer("layers of message passing", 1, 1000)
    lmax: int = _integer("largest degree of the node features", 1, 6)
    mmax: int = _integer("largest order in the frames of edges", 0, 6)
    sphere_channels: int = _integer("channels of the node features", 1)
    bytes_per_edge: int = _integer("memory that an edge of a layer takes when kept, bytes", 1)
    parameters_total: int = _integer("parameters of the checkpoint", 1)
    parameters_active: int = _integer("parameters that act on one system", 1)
    source: str = _text("name of the checkpoint file", "a file name")
    source_sha256: str = _text("its checksum", "a sha256 or nothing", f"{_SHA256}|")

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
        _check(record)
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
        """The elements in words, as ``name_elements`` says them."""
        return name_elements(self.elements)

    def check_single_atom(self, natoms: int, num_edges: int) -> None:
        """Refuse an isolated atom where the model was not made for it.

        Parameters
        ----------
        natoms
            Atoms of the whole system.
        num_edges
            Neighbors of its atoms within the cutoff, images included.
        """
        if natoms == 1 and num_edges == 0 and not self.supports_single_atoms:
            raise ValueError(
                f"{self.model_id} does not describe a single isolated atom: "
                "use its isolated-atom reference energy, or a model that supports single atoms"
            )

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
                f"{_MERGE_ADVICE}"
            )

    def check_served(
        self, atomic_numbers: Sequence[int] | np.ndarray, charge: int, spin: int
    ) -> None:
        """Refuse systems that the model does not know, or is not merged for."""
        self.check_elements(atomic_numbers)
        if self.composition is not None:
            self.check_system(count_elements(atomic_numbers), charge, spin)


def name_elements(elements: Sequence[str]) -> str:
    """Elements by atomic number in words: first and last, or all where some are unknown (empty)."""
    if all(elements):
        return f"{elements[0]} to {elements[-1]}"
    return ", ".join(filter(None, elements))


def described_fields() -> list[tuple[str, str, str]]:
    """Name, meaning, and what the value must be, of every field of the record."""
    return [
        (entry.name, entry.metadata["meaning"], entry.metadata["must_be"])
        for entry in fields(Metadata)
    ]


def _check(record: Mapping[str, Any]) -> None:
    """Refuse a record that lacks a value or has an invalid one, naming the first."""
    missing = [entry.name for entry in fields(Metadata) if entry.name not in record]
    if missing:
        raise ValueError(f"metadata lacks {', '.join(missing)}: export the model again")
    for entry in fields(Metadata):
        if not entry.metadata["holds"](record[entry.name]):
            raise ValueError(
                f"metadata must have {entry.metadata['must_be']} as its {entry.name}, found "
                f"{str(record[entry.name])[:50]!r}: export the model again"
            )
