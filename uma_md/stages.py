# SPDX-License-Identifier: MIT
"""The stages of a network, forward and in reverse, and who computes them.

Nearly all of an evaluation is here. ``PortableStages`` runs the network's own operators on runs of
edges and lets autograd find the reverse; ``KernelStages`` calls the hand-written kernels of
``uma_md/kernels``. Both give the same to rounding errors.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from uma_md.graph import Graph
from uma_md.kernel_stages import KernelStages
from uma_md.kernels import library
from uma_md.memory import Footprint, Plan
from uma_md.portable_stages import PortableStages


class Stages(Protocol):
    """The stages of a network, for one graph after another.

    Shapes: n owned nodes, r rows (owned and remote), K coefficients, C channels.
    """

    name: str

    @property
    def footprint(self) -> Footprint:
        """Memory that edges take."""

    def merge(self) -> None:
        """Take the weights anew, after the network was merged."""

    def start(self, graph: Graph, plan: Plan) -> None:
        """Take a graph; what was kept of the one before is dropped."""

    def embedding(self) -> torch.Tensor:
        """What edges add to their receivers' first features, (n, K, C)."""

    @property
    def inner_runs(self) -> int:
        """Runs of inner edges, between which rows can travel; one run of all others follows."""

    def messages(
        self, layer: int, h: torch.Tensor, run: int = 0, m: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Summed messages of a layer, (n, K, C), from normalized features h (r, K, C).

        Those of a run, added to the sums m of the runs before it. Inner runs read no remote row.
        """

    def reverse_messages(
        self,
        layer: int,
        h: torch.Tensor,
        g: torch.Tensor,
        run: int = 0,
        g_h: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Gradient with respect to h, from that with respect to the summed messages.

        That of a run, added to the sums g_h of the runs before it, of which the last of the
        forward sweep is the first. Inner runs leave remote rows alone.
        """

    def reverse_embedding(self, g: torch.Tensor) -> None:
        """The same for the first features; only vectors have gradients there."""

    def gradients(self) -> torch.Tensor:
        """Derivative of the energy with respect to each edge's vector, (edges, 3)."""

    def normalize(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        """Normalized features h that a layer sends, from node features x, (n, K, C)."""

    def reverse_normalize(self, layer: int, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Gradient with respect to x, from that with respect to h."""

    def update(self, layer: int, x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """Node features after a layer, from those before it and summed messages, (n, K, C)."""

    def reverse_update(
        self, layer: int, x: torch.Tensor, m: torch.Tensor, g: torch.Tensor
    ) -> torch.Tensor:
        """Gradient with respect to x, which is that with respect to m."""

    def readout(
        self, x: torch.Tensor, atomic_numbers: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies of atoms, eV, (n,) in float64, and the gradient of their sum."""


def make_stages(
    model: Any,
    engine: str,
    device: torch.device,
    bytes_per_edge: int,
    precision: str = "float32",
    graphs: str = "off",
) -> PortableStages | KernelStages:
    """The stages of a merged model by an engine.

    Parameters
    ----------
    model
    engine
        One of ``uma_md.options.ENGINES``; auto takes the kernels where they can be.
    device
    bytes_per_edge
        As for ``PortableStages``.
    precision, graphs
        As for ``KernelStages``.

    Raises
    ------
    ValueError
        When the kernels are asked for and cannot be.
    """
    missing = "" if engine == "portable" else _why_not(model, device)
    if engine == "kernels" and missing:
        raise ValueError(f"engine kernels must {missing}, or take engine portable")
    if engine == "portable" or missing:
        return PortableStages(model, bytes_per_edge)
    return KernelStages(model, precision=precision, graphs=graphs)


def _why_not(model: Any, device: torch.device) -> str:
    """What must hold for the kernels, and does not."""
    if not getattr(model, "has_weights", True):
        return "have a file exported by this uma-md, found an older one: export the model again"
    if not library.load():
        return "be compiled first, found no library: run 'uma-md build'"
    if not torch.ops.uma_md.supports(device):
        return f"run on a CPU or by CUDA, found {device}: take another device"
    return ""
