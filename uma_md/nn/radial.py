# SPDX-License-Identifier: MIT
"""Functions of the distance: basis, envelope and the radial network."""

import torch
from torch import nn

from uma_md.config import ModelConfig


class GaussianBasis(nn.Module):
    """Gaussians on an even grid from 0 to the cutoff, twice as wide as the grid's step."""

    centers: torch.Tensor

    def __init__(self, cutoff: float, size: int) -> None:
        super().__init__()
        centers = torch.linspace(0.0, cutoff, size, dtype=torch.float64)
        self.coefficient = -0.5 / (2 * cutoff / (size - 1)) ** 2
        self.register_buffer("centers", centers, persistent=False)

    def forward(self, distances: torch.Tensor) -> torch.Tensor:
        """Expand (edges,), angstrom, to (edges, size)."""
        return torch.exp(self.coefficient * (distances.unsqueeze(1) - self.centers).square())


class Envelope(nn.Module):
    """Polynomial that falls from 1 to 0 at the cutoff, with two zero derivatives there.

    1 - 21 u^5 + 35 u^6 - 15 u^7 for u = distance / cutoff: Gasteiger et al., DimeNet,
    arXiv:2003.03123, equation 8, with p = 5.
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, distances: torch.Tensor) -> torch.Tensor:
        """Weight of each edge, (edges,)."""
        u = distances / self.cutoff
        value = 1 + u.pow(5) * (-21 + u * (35 - 15 * u))
        return torch.where(u < 1, value, torch.zeros_like(u))


class RadialNetwork(nn.Module):
    """Perceptron on the invariants of an edge: two hidden layers, each normalized, SiLU."""

    def __init__(self, config: ModelConfig, out_features: int) -> None:
        super().__init__()
        hidden = config.edge_channels
        self.net = nn.Sequential(
            nn.Linear(config.edge_features, hidden),
            nn.LayerNorm(hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.SiLU(),
            nn.Linear(hidden, out_features),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (edges, edge_features) to (edges, out_features)."""
        return self.net(x)

    def weights(self) -> list[torch.Tensor]:
        """Weight and bias of each map and norm, in their order, for ``uma_md/kernels``."""
        return [
            self.net[0].weight,
            self.net[0].bias,
            self.net[1].weight,
            self.net[1].bias,
            self.net[3].weight,
            self.net[3].bias,
            self.net[4].weight,
            self.net[4].bias,
            self.net[6].weight,
            self.net[6].bias,
        ]
