# SPDX-License-Identifier: MIT
"""Linear map of node features that commutes with all rotations."""

import torch
from torch import nn


class SO3Linear(nn.Module):
    """One weight per degree, shared by its orders; a bias on the scalars."""

    def __init__(self, in_channels: int, out_channels: int, lmax: int) -> None:
        super().__init__()
        self.lmax = lmax
        self.weight = nn.Parameter(torch.empty(lmax + 1, out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (rows, (lmax + 1)**2, in_channels) to (..., out_channels)."""
        out = [nn.functional.linear(x[:, :1], self.weight[0], self.bias)]
        for degree in range(1, self.lmax + 1):
            part = x.narrow(1, degree * degree, 2 * degree + 1)
            out.append(nn.functional.linear(part, self.weight[degree]))
        return torch.cat(out, dim=1)
