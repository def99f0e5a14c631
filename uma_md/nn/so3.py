# SPDX-License-Identifier: MIT
"""Linear map of node features that commutes with all rotations."""

import torch
from torch import nn


class SO3Linear(nn.Module):
    """One weight per degree, shared by its orders; a bias on the scalars."""

    def __init__(self, in_channels: int, out_channels: int, lmax: int) -> None:
        super().__init__()
        self.sizes = [2 * degree + 1 for degree in range(lmax + 1)]
        self.weight = nn.Parameter(torch.empty(lmax + 1, out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (rows, (lmax + 1)**2, in_channels) to (..., out_channels)."""
        parts = x.split(self.sizes, dim=1)
        out = [nn.functional.linear(parts[0], self.weight[0], self.bias)]
        for degree in range(1, len(parts)):
            out.append(nn.functional.linear(parts[degree], self.weight[degree]))  # noqa: PERF401
        return torch.cat(out, dim=1)
