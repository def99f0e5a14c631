# SPDX-License-Identifier: MIT
"""The potential of an ASE calculator, its copies and its pickles."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from uma_md.committee import Committee, Model, Models, is_committee, listed, load_members
from uma_md.files.metadata import Metadata
from uma_md.networks import Networks
from uma_md.options import RunOptions
from uma_md.potential import Potential
from uma_md.ranks.placement import pick_device

_IN_USE: weakref.WeakSet[SharedPotential] = weakref.WeakSet()


class SharedPotential(Potential):
    """A potential that is its own copy, and whose pickle names the model and loads it again.

    Whoever evaluates holds the lock and merges for the own system first: so copies of a
    calculator share the weights, whatever system and thread each of them has. In a child that was
    forked, torch computes on one thread, since the parent's threads are not in it.

    Parameters
    ----------
    model, task, options, device, sharers, networks
        As for ``Potential``.

    Attributes
    ----------
    lock
        Held from ``merge`` to the end of an evaluation.
    """

    def __init__(
        self,
        model: str | Path,
        task: str | None,
        options: RunOptions,
        device: torch.device,
        sharers: int = 1,
        networks: Networks | None = None,
    ) -> None:
        super().__init__(model, task, options, device, sharers, networks)
        self.lock = threading.RLock()
        self._recipe = _everywhere(model), options
        _IN_USE.add(self)

    def __copy__(self) -> SharedPotential:
        """Give the potential itself."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedPotential:
        """Give the potential itself."""
        return self

    def __reduce__(self) -> tuple[Callable[..., SharedPotential], tuple[Any, ...]]:
        """Say how to load it again."""
        return _load_again, (*self._recipe, self.metadata)


class SharedCommittee(Committee[SharedPotential]):
    """A committee that is its own copy, and whose pickle names the models and loads them again.

    Attributes
    ----------
    lock
        Held from ``merge`` to the end of an evaluation.
    """

    def __init__(
        self, members: Sequence[SharedPotential], names: Sequence[Model], options: RunOptions
    ) -> None:
        super().__init__(members, names, options)
        self.lock = members[0].lock
        self._recipe = [*map(str, names)], options

    def __copy__(self) -> SharedCommittee:
        """Give the committee itself."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedCommittee:
        """Give the committee itself."""
        return self

    def __reduce__(self) -> tuple[Callable[..., SharedCommittee], tuple[Any, ...]]:
        """Say how to load it again."""
        return SharedCommittee, (self.members, *self._recipe)


AnyShared = SharedPotential | SharedCommittee


def load_shared(
    models: Models,
    task: str | None,
    options: RunOptions,
    device: torch.device,
    sharers: int = 1,
    networks: Networks | None = None,
) -> AnyShared:
    """Load a ``SharedPotential``, or a committee of them, with its arguments."""
    members = load_members(SharedPotential, models, task, options, device, sharers, networks)
    return SharedCommittee(members, listed(models), options) if is_committee(models) else members[0]


def _everywhere(model: str | Path) -> str:
    """The name of a published model, or a path that holds in any folder."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.is_file() else str(model)


def _load_again(model: str, options: RunOptions, metadata: Metadata) -> SharedPotential:
    """Load what was pickled, on the device that its options ask for here.

    Raises
    ------
    OSError, ValueError
        When the file is not available, or not the same any more.
    """
    potential = SharedPotential(model, metadata.task, options, pick_device(options.device))
    found = replace(potential.metadata, torch_version=metadata.torch_version)
    if found != replace(metadata, bytes_per_edge=found.bytes_per_edge):
        raise ValueError(
            f"{model} must hold the model that was pickled, found another one: make the "
            "calculator anew"
        )
    return potential


def _after_fork() -> None:
    """Free a child of what belongs to threads of its parent: a lock that is held, OpenMP's team."""
    if _IN_USE:
        torch.set_num_threads(1)
    for potential in _IN_USE:
        potential.lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
