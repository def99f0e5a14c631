# SPDX-License-Identifier: MIT
"""Several models of one task as one potential: the mean of its members, and how far these differ.

Standard deviations are those of the members at hand, of which there are all: squares are divided
by their number, not by one less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch

from uma_md.files.metadata import Metadata
from uma_md.graph import Graph
from uma_md.memory import BatchLimit
from uma_md.networks import Networks
from uma_md.options import RunOptions
from uma_md.potential import Potential
from uma_md.properties import Properties

Model = str | Path
Models = Model | Sequence[Model]

ALIKE = ("task", "cutoff", "dtype", "elements", "composition", "charge", "spin")

Member = TypeVar("Member", bound=Potential, covariant=True)


class Deviations(NamedTuple):
    """Standard deviations over the members, for one system.

    Attributes
    ----------
    energy
        Of the energy per atom, eV.
    forces : (atoms,), eV/angstrom
        Square root of the mean over members of the squared length by which a member's force on
        an atom differs from the mean force.
    virial : (3, 3), eV
        Of each component of the symmetric part.
    """

    energy: float
    forces: np.ndarray
    virial: np.ndarray


class Committee(Generic[Member]):
    """Potentials of one task, evaluated one after the other.

    They may have different networks. It has the methods of a ``Potential``, with what its members
    give in ``Properties.members``.

    Parameters
    ----------
    members
    names
        Of the members, for errors.
    options
        A charge or a spin given here is that of all members.

    Attributes
    ----------
    metadata
        What the first member says of itself, with the fewest neighbors that one takes.

    Raises
    ------
    ValueError
        When members differ in task, cutoff, precision, elements, charge, spin, or the composition
        that they are merged for.
    """

    def __init__(
        self, members: Sequence[Member], names: Sequence[Model], options: RunOptions
    ) -> None:
        self.members = tuple(members)
        _check_alike([member.metadata for member in members], names, options)
        fewest = min(member.metadata.max_neighbors for member in members)
        self.metadata: Metadata = replace(members[0].metadata, max_neighbors=fewest)

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.members[0].device

    @property
    def engine(self) -> str:
        """What computes messages, ``kernels`` or ``portable``, or both."""
        return " and ".join(sorted({member.engine for member in self.members}))

    @property
    def precision(self) -> str:
        """What products of matrices are computed in."""
        return self.members[0].precision

    def merge(self, atomic_numbers: Sequence[int] | np.ndarray, charge: int, spin: int) -> None:
        """Fit all members to a system, as ``Potential.merge``."""
        for member in self.members:
            member.merge(atomic_numbers, charge, spin)

    def is_merged_for(
        self, atomic_numbers: Sequence[int] | np.ndarray, charge: int, spin: int
    ) -> bool:
        """Whether all members are fitted to a system."""
        return all(member.is_merged_for(atomic_numbers, charge, spin) for member in self.members)

    def fit_of(self, atomic_numbers: np.ndarray, charge: int, spin: int) -> tuple[bytes, int, int]:
        """What the members are fitted to: equal where one fit serves both systems."""
        fits = [member.fit_of(atomic_numbers, charge, spin)[0] for member in self.members]
        return b"".join(fits), charge, spin

    def batch_limit(self) -> BatchLimit:
        """How much may be evaluated at once by each member."""
        limits = [member.batch_limit() for member in self.members]
        return BatchLimit(
            min(limit.edges for limit in limits),
            min(limit.available for limit in limits),
            max(limit.per_edge for limit in limits),
            max(limit.per_atom for limit in limits),
        )

    def properties(self, graph: Graph) -> Properties:
        """Evaluate a graph all of whose atoms this process owns.

        Raises
        ------
        ValueError
            When a model gives NaN or infinity.
        """
        return combine([member.properties(graph) for member in self.members])


AnyPotential = Potential | Committee[Potential]


def combine(members: Sequence[Properties]) -> Properties:
    """The mean of what members give, each of which it holds; equal ones without rounding."""
    return Properties(
        mean(np.stack([one.energies for one in members])),
        mean(np.stack([one.forces for one in members])),
        mean(np.stack([one.virials for one in members])),
        tuple(members),
    )


def mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis; of equal values it is the value itself."""
    found: np.ndarray = values[0] + (values - values[0]).mean(axis=0)
    return found


def deviation(values: np.ndarray) -> np.ndarray:
    """Standard deviation over the first axis; of equal values it is 0."""
    found: np.ndarray = (values - values[0]).std(axis=0)
    return found


def deviations(found: Properties) -> Deviations:
    """How far members differ for one system."""
    energies = np.array([one.energies.sum() for one in found.members])
    forces = np.stack([one.forces for one in found.members])
    virials = np.stack([one.virials[0] for one in found.members])
    return Deviations(
        float(deviation(energies)) / len(found.energies),
        np.sqrt((deviation(forces) ** 2).sum(axis=1)),
        deviation(0.5 * (virials + virials.transpose(0, 2, 1))),
    )


def is_committee(models: Models) -> bool:
    """Whether several models are meant, or a list of one."""
    return not isinstance(models, (str, Path))


def listed(models: Models) -> list[Model]:
    """The models, one or several.

    Raises
    ------
    TypeError, ValueError
        When they are no paths or names, or none.
    """
    if isinstance(models, (str, Path)):
        return [models]
    found = list(models)
    for one in found:
        if not isinstance(one, (str, Path)):
            raise TypeError(
                f"models of a committee must be paths or names, found {type(one).__name__}"
            )
    if not found:
        raise ValueError("a committee must have at least one model, found none: name its files")
    return found


def load_potential(
    models: Models,
    task: str | None,
    options: RunOptions,
    device: torch.device,
    sharers: int = 1,
    networks: Networks | None = None,
) -> AnyPotential:
    """Load a ``Potential``, or a committee of them, whose members share the memory."""
    members = load_members(Potential, models, task, options, device, sharers, networks)
    return Committee(members, listed(models), options) if is_committee(models) else members[0]


def load_members(
    kind: Callable[[Model, str | None, RunOptions, torch.device, int, Networks | None], Member],
    models: Models,
    task: str | None,
    options: RunOptions,
    device: torch.device,
    sharers: int,
    networks: Networks | None,
) -> list[Member]:
    """Load potentials of a kind for the models, one or several, which share the memory."""
    names = listed(models)
    sharers *= len(names)
    return [kind(name, task, options, device, sharers, networks) for name in names]


def members_of(potential: AnyPotential) -> tuple[Potential, ...]:
    """The networks that a potential evaluates."""
    return potential.members if isinstance(potential, Committee) else (potential,)


def _check_alike(records: Sequence[Metadata], names: Sequence[Model], options: RunOptions) -> None:
    given = [name for name in ("charge", "spin") if getattr(options, name) is not None]
    for entry in ALIKE:
        if entry in given:
            continue
        first = getattr(records[0], entry)
        for record, name in zip(records, names, strict=True):
            found = getattr(record, entry)
            if found != first:
                raise ValueError(
                    f"members of a committee must have the same {entry}, found "
                    f"{_words(first, found)} in {names[0]} and {_words(found, first)} in {name}: "
                    "take fine-tunes of one model, with the same task"
                )


def _words(value: object, other: object) -> str:
    """A value in a few words; of elements the first that only one of both has."""
    if not isinstance(value, tuple) or not isinstance(other, tuple):
        return str(value)
    known, others = set(filter(None, value)), set(filter(None, other))
    symbol = next(one for one in (*value, *other) if one and (one in known) != (one in others))
    return symbol if symbol in known else f"no {symbol}"
