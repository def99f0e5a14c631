# SPDX-License-Identifier: MIT
"""Networks of the ranks of a node: one of them reads files and merges experts for all."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from uma_md.committee import AnyPotential, members_of
from uma_md.files.metadata import Metadata
from uma_md.memory import move_network
from uma_md.networks import Networks, OwnNetworks, without_experts
from uma_md.options import RunOptions
from uma_md.ranks.agreement import Ranks

Loaded = TypeVar("Loaded", bound=AnyPotential)

HOST = torch.device("cpu")
SHORTEST, LONGEST = 1e-4, 1e-2  # seconds between looks at whether the others are done


class NodeNetworks:
    """Networks that the first rank of a node loads and merges.

    The others have no experts. A rank that is given another file, task or precision than the first
    one reads for itself, so that it is told what is wrong with it. All methods are collective,
    within ``ranks.together`` only.

    Parameters
    ----------
    ranks
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._node = ranks.node()
        self._is_first = self._node.Get_rank() == 0
        self._own = OwnNetworks()

    def load(
        self, model: str | Path, task: str | None, options: RunOptions, device: torch.device
    ) -> tuple[Any, Metadata]:
        """Load the network of one task.

        Raises
        ------
        OSError, ValueError
            As ``uma_md.loading.load_model`` says.
        """
        asked = str(model), task, options.dtype, options.trust_code
        self._ranks.agree()
        asked_first = self._node.bcast(asked)
        own: list[tuple[Any, Metadata]] = []

        def read() -> bytes:
            own.append(self._own.load(model, task, options, HOST))
            with without_experts(own[0][0]):
                return pickle.dumps(own[0]) if self._is_first else b""

        shared = self._shared(read, self._is_first or asked != asked_first)
        network, metadata = own[0] if own else pickle.loads(shared)
        move_network(network, device)
        return network, metadata

    def merge(self, network: Any, counts: torch.Tensor, charge: int, spin: int) -> None:
        """Fit a network to a system: this sets its buffers, and nothing else."""

        def merged() -> bytes:
            network.merge(counts, charge, spin)
            return pickle.dumps([buffer.cpu().numpy() for buffer in _buffers(network)])

        shared = self._shared(merged, self._is_first)
        if not self._is_first:
            for buffer, values in zip(_buffers(network), pickle.loads(shared), strict=True):
                buffer.data = torch.from_numpy(values).to(buffer.device)

    def agree(self) -> None:
        """Return when all ranks have done what follows merging."""
        self._ranks.agree()

    def _shared(self, work: Callable[[], bytes], does: bool) -> bytes:
        """What the first rank's work gives; a rank that does none waits, without taking a core."""
        self._ranks.agree()
        try:
            found = work() if does else None
        finally:
            self._wait()
        self._ranks.agree()
        shared: bytes = self._node.bcast(found)
        return shared

    def _wait(self) -> None:
        """Wait for the node's other ranks."""
        request, rest = self._node.Ibarrier(), SHORTEST
        while not request.Test():
            time.sleep(rest)
            rest = min(1.1 * rest, LONGEST)


def _buffers(network: Any) -> list[torch.Tensor]:
    return [buffer for _, buffer in network.named_buffers(remove_duplicate=False)]


def load_together(ranks: Ranks, load: Callable[[Networks], Loaded]) -> Loaded:
    """Load a model on all ranks, and check that it is the same.

    Collective, within ``ranks.together`` only.

    Parameters
    ----------
    ranks
    load
        Makes a potential of the networks that it is given.

    Raises
    ------
    OSError, ValueError
        As ``load`` says, or when ranks were given different models.
    """
    loaded = load(NodeNetworks(ranks))
    ranks.agree()
    records = [member.metadata.to_json() for member in members_of(loaded)]
    record = {"model or task": "\n".join(records)}
    ranks.check_same("model", record, "give every rank the same file and task")
    return loaded
