# SPDX-License-Identifier: MIT
"""Gated nonlinearity: scalars pass a SiLU and switch the coefficients of higher degree."""

import torch
from torch import nn

from uma_md.config import ModelConfig


class EdgeGate(nn.Module):
    """The gate for edge features kept by order (see ``uma_md.nn.so2``).

    The m = 0 block carries ``lmax * channels`` gate values in front; the gate of a degree
    multiplies its coefficients of every order.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.lmax = config.lmax
        self.channels = config.hidden_channels

    def forward(self, blocks: list[torch.Tensor]) -> list[torch.Tensor]:
        """Apply the gates and drop them from the m = 0 block."""
        width = self.lmax * self.channels
        values, scalars, vectors = blocks[0].split([width, self.channels, width], dim=1)
        gates = torch.sigmoid(values)
        out = [torch.cat((nn.functional.silu(scalars), vectors * gates), dim=1)]
        for m in range(1, len(blocks)):
            gate = gates if m == 1 else gates[:, (m - 1) * self.channels :]
            gate = gate.unsqueeze(1)
            out.append((blocks[m].view(gate.shape[0], 2, gate.shape[2]) * gate).flatten(1))
        return out


class NodeGate(nn.Module):
    """The gate for node features: one gate value per degree above 0 and channel."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.lmax = config.lmax
        self.channels = config.hidden_channels
        self.sizes = [2 * degree + 1 for degree in range(config.lmax + 1)]
        self.ones = [1] * config.lmax

    def forward(self, gates: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Gate (rows, (lmax + 1)**2, channels) by gates (rows, lmax * channels)."""
        values = torch.sigmoid(gates).view(-1, self.lmax, self.channels).split(self.ones, dim=1)
        parts = x.split(self.sizes, dim=1)
        out = [nn.functional.silu(parts[0])]
        for degree in range(1, len(parts)):
            # Sums by broadcasting have one order; on a GPU, those by an index do not.
            out.append(parts[degree] * values[degree - 1])  # noqa: PERF401  TorchScript
        return torch.cat(out, dim=1)
