# SPDX-License-Identifier: MIT
"""What an edge knows of itself: its invariants and its direction."""

import torch
from torch import nn

from uma_md.config import ModelConfig
from uma_md.nn.frame import EdgeFrame
from uma_md.nn.radial import Envelope, GaussianBasis, RadialNetwork


class EdgeGeometry(nn.Module):
    """Distances, frames, envelope and invariants of edges, from their vectors.

    The invariants are the distance in a Gaussian basis and an embedding of the
    sender's and of the receiver's element.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.frame = EdgeFrame(config.lmax, config.mmax)
        self.envelope = Envelope(config.cutoff)
        self.basis = GaussianBasis(config.cutoff, config.num_distance_basis)
        self.sender = nn.Embedding(config.max_num_elements, config.edge_channels)
        self.receiver = nn.Embedding(config.max_num_elements, config.edge_channels)

    def forward(
        self,
        vectors: torch.Tensor,
        sender_numbers: torch.Tensor,
        receiver_numbers: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Describe edges.

        Parameters
        ----------
        vectors : (edges, 3), angstrom
            From receiver to sender.
        sender_numbers, receiver_numbers : (edges,)
            Atomic numbers.

        Returns
        -------
        rotations : (edges, kept orders, (lmax + 1)**2)
            See ``uma_md.nn.frame.EdgeFrame``.
        envelope : (edges, 1)
        invariants : (edges, num_distance_basis + 2 edge_channels)
        """
        distances = vectors.square().sum(dim=1).sqrt()
        rotations = self.frame(vectors / distances.unsqueeze(1))
        invariants = torch.cat(
            (self.basis(distances), self.sender(sender_numbers), self.receiver(receiver_numbers)),
            dim=1,
        )
        return rotations, self.envelope(distances).unsqueeze(1), invariants


class EdgeEmbedding(nn.Module):
    """First message of each edge: a radial network's m = 0 coefficients, rotated back."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.degrees = config.lmax + 1
        self.channels = config.channels
        # The published models divide by the root of a typical number of neighbors.
        self.rescale = 5.0
        self.radial = RadialNetwork(config, self.degrees * config.channels)

    def forward(
        self, rotations: torch.Tensor, envelope: torch.Tensor, invariants: torch.Tensor
    ) -> torch.Tensor:
        """Messages of edges, (edges, (lmax + 1)**2, channels)."""
        radial = self.radial(invariants) * (envelope / self.rescale)
        rows = radial.view(-1, self.degrees, self.channels)
        return torch.bmm(rotations[:, : self.degrees].transpose(1, 2), rows)
