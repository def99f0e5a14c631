# SPDX-License-Identifier: MIT
"""Normalization of node features that commutes with rotations."""

import torch
from torch import nn

from uma_md.config import ModelConfig


class RMSNorm(nn.Module):
    """Divide features by their root mean square over all degrees and channels.

    Every degree has the same share in the mean square, whatever its number of orders;
    scalars are centered first. Published UMA calls this ``rms_norm_sh``.
    """

    degree_weight: torch.Tensor
    degree: torch.Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        lmax, channels = config.lmax, config.channels
        self.epsilon = 1e-5
        self.others = (lmax + 1) ** 2 - 1  # coefficients that are no scalars
        self.weight = nn.Parameter(torch.empty(lmax + 1, channels))
        self.bias = nn.Parameter(torch.empty(channels))
        degree = torch.cat([torch.full((2 * ell + 1,), ell) for ell in range(lmax + 1)])
        share = 1 / ((2 * degree.double() + 1) * (lmax + 1) * channels)
        self.register_buffer("degree", degree, persistent=False)
        self.register_buffer("degree_weight", share.view(1, -1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize (rows, (lmax + 1)**2, channels)."""
        scalars, others = x.split([1, self.others], dim=1)
        centered = torch.cat((scalars - scalars.mean(dim=2, keepdim=True), others), dim=1)
        mean_square = (centered.square() * self.degree_weight).sum(dim=(1, 2), keepdim=True)
        weight = self.weight.index_select(0, self.degree)
        bias = nn.functional.pad(self.bias.unsqueeze(0), (0, 0, 0, self.others))
        return centered * torch.rsqrt(mean_square + self.epsilon) * weight + bias
