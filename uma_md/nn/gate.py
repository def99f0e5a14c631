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

    def forward(self, gates: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Gate (rows, (lmax + 1)**2, channels) by gates (rows, lmax * channels)."""
        values = torch.sigmoid(gates).view(-1, self.lmax, self.channels)
        # Sums of 'expand' are in the same order every time, those of an index on a GPU are not.
        gates_of = [
            values[:, degree - 1 : degree].expand(-1, 2 * degree + 1, -1)
            for degree in range(1, self.lmax + 1)
        ]
        scalars, others = x.split([1, x.shape[1] - 1], dim=1)
        return torch.cat((nn.functional.silu(scalars), others * torch.cat(gates_of, dim=1)), dim=1)
