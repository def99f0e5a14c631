# SPDX-License-Identifier: MIT
"""One layer of message passing."""

import torch
from torch import nn

from uma_md.config import ModelConfig
from uma_md.nn.frame import rotate_back, rotate_in
from uma_md.nn.gate import EdgeGate, NodeGate
from uma_md.nn.norm import RMSNorm
from uma_md.nn.radial import RadialNetwork
from uma_md.nn.so2 import SO2Convolution
from uma_md.nn.so3 import SO3Linear


class Messages(nn.Module):
    """The message that each edge carries from sender and receiver to the receiver.

    Both ends' features are rotated into the edge's frame, scaled by a radial network,
    convolved, gated, convolved again, weighted by the envelope and rotated back.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.lmax = config.lmax
        self.mmax = config.mmax
        self.channels = config.channels
        self.widths = [(self.lmax + 1 - m) * 2 * self.channels for m in range(self.mmax + 1)]
        self.radial = RadialNetwork(config, sum(self.widths))
        self.first = SO2Convolution(config, 2 * self.channels, hidden, self.lmax * hidden)
        self.gate = EdgeGate(config)
        self.second = SO2Convolution(config, hidden, self.channels, 0)

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
        blocks = rotate_in(rotations, ends, self.lmax, self.mmax)
        scales = self.radial(invariants).split(self.widths, dim=1)
        scaled = [blocks[0] * scales[0]]
        for m in range(1, len(blocks)):
            scale = scales[m].unsqueeze(1)
            scaled.append((blocks[m].view(scale.shape[0], 2, scale.shape[2]) * scale).flatten(1))
        blocks = self.second(self.gate(self.first(scaled)))
        return rotate_back(rotations * envelope.unsqueeze(2), blocks, self.channels)


class NodeUpdate(nn.Module):
    """What a node does with its features alone: a gated two-layer network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        lmax, channels, hidden = config.lmax, config.channels, config.hidden_channels
        self.gates = nn.Linear(channels, lmax * hidden)
        self.first = SO3Linear(channels, hidden, lmax)
        self.gate = NodeGate(config)
        self.second = SO3Linear(hidden, channels, lmax)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (nodes, (lmax + 1)**2, channels) to the same shape."""
        gates = nn.functional.silu(self.gates(x[:, 0]))
        return self.second(self.gate(gates, self.first(x)))


class Layer(nn.Module):
    """Norm, messages, norm, node update: the parts that the stages of a layer use."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.message_norm = RMSNorm(config)
        self.messages = Messages(config)
        self.node_norm = RMSNorm(config)
        self.node_update = NodeUpdate(config)

    def node_weights(self) -> list[torch.Tensor]:
        """Both norms, then gates and both maps of the node update, for ``uma_md/kernels``."""
        update = self.node_update
        return [
            self.message_norm.weight,
            self.message_norm.bias,
            self.node_norm.weight,
            self.node_norm.bias,
            update.gates.weight,
            update.gates.bias,
            update.first.weight,
            update.first.bias,
            update.second.weight,
            update.second.bias,
        ]
