# SPDX-License-Identifier: MIT
"""Where a rank computes: its device, its threads, the memory it may fill."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from uma_md.ranks.agreement import Ranks


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


def place(ranks: Ranks, name: str) -> Placement:
    """Give the ranks of a node its devices in turn, and each an equal share of its cores.

    Sets torch's device and number of threads for this process. Collective, within
    ``ranks.together`` only.

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
    node_rank, size, cores = _survey(ranks)
    device, sharers = pick_device(name), size
    if device.type != "cpu":
        if device.index is None:
            count = torch.accelerator.device_count()
            device = torch.device(device.type, node_rank % count)
            sharers = -(-size // count)
        torch.accelerator.set_device_index(device.index)
    torch.set_num_threads(min(torch.get_num_threads(), max(1, cores // size)))
    return Placement(device, node_rank, size, sharers)


def pick_device(name: str) -> torch.device:
    """The device that a user's word stands for.

    Raises
    ------
    ValueError
        When torch has no such device.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device must be auto, cpu or cuda, found {name!r}") from None
    if device.type != "cpu" and (accelerator is None or device.type != accelerator.type):
        raise ValueError(f"device {name} is not available to torch here: use device cpu")
    return device


def _survey(ranks: Ranks) -> tuple[int, int, int]:
    """Number of this rank on its node, the ranks there, and the cores that these may use."""
    from mpi4py import MPI

    mine = _cores()
    ranks.agree()
    node = ranks.comm.Split_type(MPI.COMM_TYPE_SHARED)
    found = node.Get_rank(), node.Get_size(), len(set().union(*node.allgather(mine)))
    node.Free()
    return found


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))
