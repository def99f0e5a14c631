# SPDX-License-Identifier: MIT
"""Where a potential's network comes from, and who merges its experts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from uma_md.files.metadata import Metadata
from uma_md.loading import load_model
from uma_md.options import RunOptions


class Networks(Protocol):
    """Loads networks and fits them to systems; its methods may be collective."""

    def load(
        self, model: str | Path, task: str | None, options: RunOptions, device: torch.device
    ) -> tuple[Any, Metadata]:
        """Load the network of one task, as ``uma_md.loading.load_model``."""

    def merge(self, network: Any, counts: torch.Tensor, charge: int, spin: int) -> None:
        """Fit a network that was loaded here to a system, as ``uma_md.model.UMA.merge``."""

    def agree(self) -> None:
        """Return when all have done what follows merging."""


class OwnNetworks:
    """Networks of this process alone."""

    def load(
        self, model: str | Path, task: str | None, options: RunOptions, device: torch.device
    ) -> tuple[Any, Metadata]:
        """Load the network of one task.

        Raises
        ------
        OSError, ValueError
            As ``uma_md.loading.load_model`` says.
        """
        return load_model(model, task, options.dtype, device, trust_code=options.trust_code)

    def merge(self, network: Any, counts: torch.Tensor, charge: int, spin: int) -> None:
        """Fit a network to a system."""
        network.merge(counts, charge, spin)

    def agree(self) -> None:
        """There are no others."""


@contextmanager
def without_experts(network: Any) -> Iterator[Any]:
    """A block in which a network has no experts, which only ``merge`` reads.

    Parameters
    ----------
    network
        A ``uma_md.model.UMA`` or an exported file's module.
    """
    experts = {
        parameter: parameter.data
        for name, parameter in network.named_parameters()
        if name.endswith(".experts")
    }
    try:
        for parameter in experts:
            parameter.data = parameter.data.new_empty(0)
        yield network
    finally:
        for parameter, data in experts.items():
            parameter.data = data
