# SPDX-License-Identifier: MIT
"""How node features reach the edges of other ranks, and gradients come back."""

from __future__ import annotations

from typing import Protocol

import torch


class Exchange(Protocol):
    """Moves rows between the ranks that share a system.

    Every rank enters every call, with no rows too.
    """

    def forward(self, owned: torch.Tensor) -> torch.Tensor:
        """Append the rows of remote atoms to the owned rows."""

    def reverse(self, rows: torch.Tensor) -> torch.Tensor:
        """Return remote rows to their owners and add what others return: owned rows."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over ranks."""


class LocalExchange:
    """The exchange of a single rank: all atoms are its own."""

    def forward(self, owned: torch.Tensor) -> torch.Tensor:
        """Return the rows as they are."""
        return owned

    def reverse(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows as they are."""
        return rows

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values as they are."""
        return values
