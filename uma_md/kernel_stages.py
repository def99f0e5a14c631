# SPDX-License-Identifier: MIT
"""The stages by the hand-written kernels: see ``uma_md.stages.Stages``."""

from __future__ import annotations

from typing import Any

import torch

from uma_md.graph import Graph
from uma_md.memory import Footprint, Keep, Plan
from uma_md.options import GRAPHS


class KernelStages:
    """The stages by the hand-written kernels.

    Parameters
    ----------
    model
        A ``uma_md.model.UMA``, or an exported file's module, that hands out its weights; ``merge``
        comes first.
    driver
        A library in place of a GPU's driver and compiler, for tests.
    precision
        One of ``uma_md.options.PRECISIONS``.
    graphs
        One of ``uma_md.options.GRAPHS``. What a stage gives is overwritten when it is called again,
        where its work is recorded.
    """

    name = "kernels"

    def __init__(
        self, model: Any, driver: str = "", precision: str = "float32", graphs: str = "off"
    ) -> None:
        self.model = model
        self._precision = precision
        self._graphs = GRAPHS.index(graphs)
        self._driver = driver
        self._kept: dict[Keep, int] = {}

    def merge(self) -> None:
        """Hand the merged weights to the kernels."""
        layers = range(self.model.num_layers)
        make = torch.classes.uma_md.Stages
        self._stages = make(
            int(self.model.lmax),
            float(self.model.cutoff),
            self.model.edge_weights(),
            [self.model.message_weights(layer) for layer in layers],
            [self.model.node_weights(layer) for layer in layers],
            self.model.readout_weights(),
            self._driver,
            self._precision,
            self._graphs,
        )
        self._kept = {keep: self._stages.bytes_per_edge(keep.value) for keep in Keep}

    @property
    def recordings(self) -> int:
        """Stages whose work on a GPU is recorded."""
        return self._stages.recordings()

    @property
    def footprint(self) -> Footprint:
        """Memory that edges take, and that is held for them."""
        return Footprint(self._kept, self._stages.bytes_at_work(), self._stages.bytes_held())

    def start(self, graph: Graph, plan: Plan) -> None:
        """Compute lengths and frames of the edges."""
        self._keep = plan.keep
        self._stages.set_edges(
            graph.vectors,
            graph.senders,
            graph.receivers,
            graph.atomic_numbers,
            len(graph.systems),
            graph.num_inner,
            plan.chunk,
        )

    def embedding(self) -> torch.Tensor:
        """What edges add to their receivers' first features, (n, K, C)."""
        return self._stages.embedding()

    @property
    def inner_runs(self) -> int:
        """Runs of inner edges, between which rows can travel; one run of all others follows."""
        return self._stages.inner_runs()

    def messages(
        self, layer: int, h: torch.Tensor, run: int = 0, m: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Summed messages of a layer, (n, K, C), from normalized features h (r, K, C)."""
        return self._stages.messages(layer, h, self._keep.value, run, m)

    def reverse_messages(
        self,
        layer: int,
        h: torch.Tensor,
        g: torch.Tensor,
        run: int = 0,
        g_h: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Gradient with respect to h, from that with respect to the summed messages."""
        return self._stages.reverse_messages(layer, h, g, run, g_h)

    def reverse_embedding(self, g: torch.Tensor) -> None:
        """Add the first messages' part to the gradients."""
        self._stages.reverse_embedding(g)

    def gradients(self) -> torch.Tensor:
        """Derivative of the energy with respect to each edge's vector, (edges, 3)."""
        return self._stages.gradients()

    def normalize(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        """Normalized features h that a layer sends, from node features x, (n, K, C)."""
        return self._stages.normalize(layer, x)

    def reverse_normalize(self, layer: int, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Gradient with respect to x, from that with respect to h."""
        return self._stages.reverse_normalize(layer, x, g)

    def update(self, layer: int, x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """Node features after a layer, from those before it and summed messages, (n, K, C)."""
        return self._stages.update(layer, x, m)

    def reverse_update(
        self, layer: int, x: torch.Tensor, m: torch.Tensor, g: torch.Tensor
    ) -> torch.Tensor:
        """Gradient with respect to x, which is that with respect to m."""
        return self._stages.reverse_update(layer, x, m, g)

    def readout(
        self, x: torch.Tensor, atomic_numbers: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies of atoms, eV, (n,) in float64, and the gradient of their sum."""
        return self._stages.readout(x, atomic_numbers)
