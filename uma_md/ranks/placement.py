# SPDX-License-Identifier: MIT
"""Where a rank computes: its device, its threads, the memory it may fill."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from uma_md.ranks.agreement import Ranks


WITHOUT_FLOAT64 = ("mps",)  # Apple's


class Placement(NamedTuple):
    """Where a rank computes.

    Attributes
    ----------
    device
    node_rank
        Number of this rank within its node.
    ranks_on_node
        Ranks that share this node's cores and memory.
    sharers
        Ranks that share the memory of this rank's device, itself included.
    """

    device: torch.device
    node_rank: int = 0
    ranks_on_node: int = 1
    sharers: int = 1


class _Node(NamedTuple):
    """What the ranks of a node know of each other.

    Attributes
    ----------
    rank
        Number of this rank within the node.
    cores
        Cores that any of them may use.
    visible
        Identities of the devices that each of them may take, in its own numbering.
    """

    rank: int
    cores: int
    visible: list[list[str]]


def place(ranks: Ranks, name: str) -> Placement:
    """Give each rank of a node a device, the least used first, and an equal share of the cores.

    Devices are told apart by their UUIDs, since a launcher may show each rank one device
    alone, as number 0. Sets torch's device and number of threads for this process.
    Collective, within ``ranks.together`` only.

    Parameters
    ----------
    ranks
    name
        As for ``pick_device``; a device named with its index is taken by every rank.

    Raises
    ------
    ValueError
        When torch has no such device.
    """
    device = pick_device(name)
    node = _survey(ranks, _identities(device))
    size = sharers = len(node.visible)
    if device.type != "cpu":
        choices = assign_devices(node.visible)
        taken = [visible[k] for visible, k in zip(node.visible, choices, strict=True)]
        sharers = taken.count(taken[node.rank])
        first = device.index or 0  # of those that this rank may take
        device = torch.device(device.type, first + choices[node.rank])
        torch.accelerator.set_device_index(device)
    torch.set_num_threads(min(torch.get_num_threads(), max(1, node.cores // size)))
    return Placement(device, node.rank, size, sharers)


def assign_devices(visible: Sequence[Sequence[str]]) -> list[int]:
    """Choose a device for each rank of a node: of those it sees, the one that fewest have so far.

    Parameters
    ----------
    visible
        Identities of the devices that each rank sees, in its own numbering.

    Returns
    -------
    list of int
        The chosen one of each rank, in its own numbering.
    """
    taken: Counter[str] = Counter()
    choices = []
    for identities in visible:
        choice = min(range(len(identities)), key=lambda k: (taken[identities[k]], k))
        taken[identities[choice]] += 1
        choices.append(choice)
    return choices


def pick_device(name: str) -> torch.device:
    """The device that a user's word stands for.

    Parameters
    ----------
    name
        ``auto`` for an accelerator where there is one that computes in float64; ``cpu``; or
        what torch calls its accelerator, such as ``cuda`` (also AMD's) or ``xpu``, with an
        index if wanted.

    Raises
    ------
    ValueError
        When torch has no such device.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        usable = accelerator is not None and accelerator.type not in WITHOUT_FLOAT64
        return accelerator if accelerator is not None and usable else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device must be auto, cpu or cuda, found {name!r}") from None
    if device.type in WITHOUT_FLOAT64:
        raise ValueError(
            f"device must compute in float64, as energies and sums need, found {name}: use "
            "device cpu"
        )
    if device.type != "cpu" and (accelerator is None or device.type != accelerator.type):
        raise ValueError(f"device {name} is not available to torch here: use device cpu")
    if (device.index or 0) >= max(1, torch.accelerator.device_count()):
        raise ValueError(
            f"device {name} must be one of {torch.accelerator.device_count()}, counted from 0, "
            "found none of that number: name another, or none"
        )
    return device


def _identities(device: torch.device) -> list[str]:
    """UUIDs of the devices that this rank may take, or their numbers where there are none."""
    if device.type == "cpu":
        return []
    module = getattr(torch, device.type)
    indices = range(torch.accelerator.device_count()) if device.index is None else [device.index]
    return [str(getattr(module.get_device_properties(k), "uuid", k)) for k in indices]


def _survey(ranks: Ranks, mine: list[str]) -> _Node:
    """What the ranks of this rank's node have."""
    here = usable_cores(), mine
    node = ranks.node()
    ranks.agree()
    found = node.allgather(here)
    cores = len(set().union(*(cores for cores, _ in found)))
    return _Node(node.Get_rank(), cores, [visible for _, visible in found])


def usable_cores() -> set[int]:
    """Numbers of the cores (hardware threads) that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))
