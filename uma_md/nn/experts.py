# SPDX-License-Identifier: MIT
"""Linear maps whose weight is a routed mixture of experts."""

import torch
from torch import nn


class MixedLinear(nn.Module):
    """A linear map whose weight is sum_k routing[k] * experts[k]; the bias is shared.

    UMA routes by system, not by atom, so that for given atoms, charge, spin and task
    the experts merge into one plain weight (Wood et al., UMA, arXiv:2506.23971, section 3).

    Parameters
    ----------
    num_experts
        0 for a plain map, whose weight is all there is.
    in_features, out_features
        Sizes of the map.
    bias
        Whether there is one.
    """

    weight: torch.Tensor

    def __init__(self, num_experts: int, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.experts = nn.Parameter(torch.empty(num_experts, out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        merged = torch.empty(0) if num_experts > 0 else torch.empty(out_features, in_features)
        self.register_buffer("weight", merged)

    def merge(self, routing: torch.Tensor) -> None:
        """Set the weight for one routing, (experts,); a plain map keeps its own.

        The experts may be on another device than the weight, which stays where it is.
        """
        if self.experts.shape[0] > 0:
            experts = self.experts
            flat = routing.to(experts.device, experts.dtype) @ experts.flatten(1)
            weight = flat.view(self.out_features, self.in_features)
            self.weight = weight.to(self.weight.device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (rows, in_features) to (rows, out_features)."""
        return nn.functional.linear(x, self.weight, self.bias)
