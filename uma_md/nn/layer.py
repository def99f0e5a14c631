# SPDX-License-Identifier: MIT
"""One layer of message passing."""

import torch
from torch import nn

from uma_md.nn.frame import turn_back, turn_in
from uma_md.nn.gate import EdgeGate, NodeGate
from uma_md.nn.norm import RMSNorm
from uma_md.nn.radial import RadialNetwork
from uma_md.nn.so2 import SO2Convolution
from uma_md.nn.so3 import SO3Linear


class Messages(nn.Module):
    """The message that each edge carries from sender and receiver to the receiver.

    Both ends' features are turned into the edge's frame, scaled by a radial network,
    convolved, gated, convolved again, weighted by the envelope and turned back.
    """

    def __init__(
        self,
        num_experts: int,
        lmax: int,
        mmax: int,
        channels: int,
        hidden_channels: int,
        edge_features: int,
        edge_channels: int,
    ) -> None:
        super().__init__()
        self.lmax = lmax
        self.mmax = mmax
        self.channels = channels
        self.widths = [(lmax + 1 - m) * 2 * channels for m in range(mmax + 1)]
        self.radial = RadialNetwork(edge_features, edge_channels, sum(self.widths))
        self.first = SO2Convolution(
            num_experts, lmax, mmax, 2 * channels, hidden_channels, lmax * hidden_channels
        )
        self.gate = EdgeGate(lmax, hidden_channels)
        self.second = SO2Convolution(num_experts, lmax, mmax, hidden_channels, channels, 0)

    def merge(self, routing: torch.Tensor) -> None:
        """Merge the experts of both convolutions."""
        self.first.merge(routing)
        self.second.merge(routing)

    def forward(
        self,
        senders: torch.Tensor,
        receivers: torch.Tensor,
        rotations: torch.Tensor,
        envelope: torch.Tensor,
        invariants: torch.Tensor,
    ) -> torch.Tensor:
        """Messages from both ends' features, all (edges, (lmax + 1)**2, channels)."""
        ends = torch.cat((senders, receivers), dim=2)
        blocks = turn_in(rotations, ends, self.lmax, self.mmax)
        scales = self.radial(invariants).split(self.widths, dim=1)
        scaled = [blocks[0] * scales[0]]
        for m in range(1, len(blocks)):
            scale = scales[m].unsqueeze(1)
            scaled.append((blocks[m].view(scale.shape[0], 2, scale.shape[2]) * scale).flatten(1))
        blocks = self.second(self.gate(self.first(scaled)))
        return turn_back(rotations * envelope.unsqueeze(2), blocks, self.channels)


class NodeUpdate(nn.Module):
    """What a node does with its features alone: a gated two-layer network."""

    def __init__(self, lmax: int, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.gates = nn.Linear(channels, lmax * hidden_channels)
        self.first = SO3Linear(channels, hidden_channels, lmax)
        self.gate = NodeGate(lmax, hidden_channels)
        self.second = SO3Linear(hidden_channels, channels, lmax)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (nodes, (lmax + 1)**2, channels) to the same shape."""
        gates = nn.functional.silu(self.gates(x[:, 0]))
        return self.second(self.gate(gates, self.first(x)))


class Layer(nn.Module):
    """Norm, messages, norm, node update: the parts that the stages of a layer use."""

    def __init__(
        self,
        num_experts: int,
        lmax: int,
        mmax: int,
        channels: int,
        hidden_channels: int,
        edge_features: int,
        edge_channels: int,
    ) -> None:
        super().__init__()
        self.message_norm = RMSNorm(channels, lmax)
        self.messages = Messages(
            num_experts, lmax, mmax, channels, hidden_channels, edge_features, edge_channels
        )
        self.node_norm = RMSNorm(channels, lmax)
        self.node_update = NodeUpdate(lmax, channels, hidden_channels)
