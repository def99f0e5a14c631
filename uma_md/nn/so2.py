# SPDX-License-Identifier: MIT
"""Convolution over edges that commutes with rotations about the edge's own axis.

In the frame of an edge the coefficients of order m and -m transform like the real and the
imaginary part of a complex number when the edge's surroundings rotate about it. Maps that
commute with that rotation act on each |m| alone, with complex weights, and mix degrees and
channels freely (Passaro and Zitnick, eSCN, arXiv:2302.03655).

Edge features in this form are a list with one array per |m|: (edges, (lmax + 1) * channels)
for m = 0, and (edges, 2 * (lmax + 1 - m) * channels), real part first, for the others.
"""

import torch
from torch import nn

from uma_md.config import ModelConfig
from uma_md.nn.experts import MixedLinear


class ComplexLinear(nn.Module):
    """The map of one order m > 0: a complex mixed linear map, applied as one real matrix."""

    matrix: torch.Tensor

    def __init__(self, num_experts: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = MixedLinear(num_experts, in_features, 2 * out_features, bias=False)
        self.register_buffer("matrix", torch.empty(0), persistent=False)

    def merge(self, routing: torch.Tensor) -> None:
        """Set the matrix [[Re, -Im], [Im, Re]] for one routing, (experts,)."""
        self.linear.merge(routing)
        real, imaginary = self.linear.weight.chunk(2, 0)
        top = torch.cat((real, -imaginary), dim=1)
        self.matrix = torch.cat((top, torch.cat((imaginary, real), dim=1)), dim=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (edges, 2 in_features) to (edges, 2 out_features)."""
        return nn.functional.linear(x, self.matrix)


class SO2Convolution(nn.Module):
    """One map per order |m| = 0..mmax.

    Parameters
    ----------
    config
        Its degrees, orders and number of experts.
    in_channels, out_channels
        Channels per coefficient.
    extra_scalars
        Scalars that the m = 0 map puts out in front of its coefficients.
    """

    def __init__(
        self, config: ModelConfig, in_channels: int, out_channels: int, extra_scalars: int
    ) -> None:
        super().__init__()
        degrees, experts = config.lmax + 1, config.num_experts
        self.zero = MixedLinear(
            experts, degrees * in_channels, degrees * out_channels + extra_scalars, bias=True
        )
        self.orders = nn.ModuleList(
            [
                ComplexLinear(experts, (degrees - m) * in_channels, (degrees - m) * out_channels)
                for m in range(1, config.mmax + 1)
            ]
        )

    def merge(self, routing: torch.Tensor) -> None:
        """Merge the experts of every map."""
        self.zero.merge(routing)
        for order in self.orders:
            order.merge(routing)

    def forward(self, blocks: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map features by order, as described above, to the same with out_channels."""
        out = [self.zero(blocks[0])]
        for m, order in enumerate(self.orders):
            out.append(order(blocks[m + 1]))
        return out

    def weights(self) -> list[torch.Tensor]:
        """Merged map and bias of m = 0, and the matrix of each other order."""
        out = [self.zero.weight, self.zero.bias]
        for order in self.orders:
            out.append(order.matrix)  # noqa: PERF401  TorchScript
        return out
