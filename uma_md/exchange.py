# SPDX-License-Identifier: MIT
"""How node features reach the edges of other ranks, and gradients come back."""

from __future__ import annotations

from typing import Protocol

import torch


class Transfer(Protocol):
    """Rows on their way between ranks, while a rank does other work.

    Attributes
    ----------
    rows
        Owned rows, then remote ones, which may not be read or written until ``wait``.
    """

    rows: torch.Tensor

    def test(self) -> None:
        """Take the messages on, between pieces of other work."""

    def wait(self) -> torch.Tensor:
        """Wait for the messages, and give the exchange's result."""


class Exchange(Protocol):
    """Moves rows between the ranks that share a system.

    Every rank enters every call, with no rows too. There is one transfer at a time.
    """

    def start_forward(self, owned: torch.Tensor) -> Transfer:
        """Append the rows of remote atoms to the owned rows."""

    def start_reverse(self, rows: torch.Tensor) -> Transfer:
        """Return remote rows to their owners and add what others return: owned rows.

        Those of the argument are overwritten.
        """

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over ranks."""


class Arrived:
    """A transfer that had nothing to do.

    Parameters
    ----------
    rows
        Its result.
    """

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def test(self) -> None:
        """Nothing is on its way."""

    def wait(self) -> torch.Tensor:
        """Give the rows."""
        return self.rows


class LocalExchange:
    """The exchange of a single rank: all atoms are its own."""

    def start_forward(self, owned: torch.Tensor) -> Transfer:
        """Return the rows as they are."""
        return Arrived(owned)

    def start_reverse(self, rows: torch.Tensor) -> Transfer:
        """Return the rows as they are."""
        return Arrived(rows)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values as they are."""
        return values
