# SPDX-License-Identifier: MIT
"""The stages by the network's own operators: see ``uma_md.stages.Stages``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from uma_md.graph import Graph
from uma_md.memory import Footprint, Keep, Plan


class _Chunk(NamedTuple):
    """A run of edges, and what every edge stage takes of them."""

    edges: slice
    senders: torch.Tensor
    receivers: torch.Tensor
    geometry: tuple[torch.Tensor, torch.Tensor, torch.Tensor]

    def ends(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of h at the edges' senders and receivers; on CPUs faster than by brackets."""
        return h.index_select(0, self.senders), h.index_select(0, self.receivers)


class PortableStages:
    """The stages by the network's own operators, in runs of edges, differentiated by autograd.

    Parameters
    ----------
    model
        A ``uma_md.model.UMA`` or an exported file's module.
    bytes_per_edge
        What autograd keeps of an edge in each layer.
    """

    name = "portable"

    def __init__(self, model: Any, bytes_per_edge: int) -> None:
        self.model = model
        # The gradients of what is kept take about as much again.
        self.footprint = Footprint({Keep.ALL: bytes_per_edge, Keep.NOTHING: 0}, 2 * bytes_per_edge)

    def merge(self) -> None:
        """The network's weights are used where they are."""

    def start(self, graph: Graph, plan: Plan) -> None:
        """Cut the edges into runs."""
        self._graph = graph
        self._keep = plan.keep is Keep.ALL
        inner, edges = max(graph.num_inner, 0), len(graph.senders)
        self._chunks = _chunks(graph, range(inner), plan.chunk)
        self.inner_runs = len(self._chunks)
        self._chunks += _chunks(graph, range(inner, edges), plan.chunk)
        self._kept: dict[tuple[int, int], tuple[torch.Tensor, list[torch.Tensor]]] = {}
        self._gradients = torch.zeros_like(graph.vectors)

    def embedding(self) -> torch.Tensor:
        """What edges add to their receivers' first features, (n, K, C)."""
        size = (self.model.lmax + 1) ** 2
        vectors, nodes = self._graph.vectors, len(self._graph.systems)
        x = vectors.new_zeros((nodes, size, self.model.sphere_channels))
        for chunk in self._chunks:
            x.index_add_(0, chunk.receivers, self.model.edge_embedding(*chunk.geometry))
        return x

    def messages(
        self, layer: int, h: torch.Tensor, run: int = 0, m: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Summed messages of a layer, (n, K, C), from normalized features h (r, K, C)."""
        if m is None:
            m = h.new_zeros((len(self._graph.systems), *h.shape[1:]))
        for number in self._chunks_of(run):
            chunk = self._chunks[number]
            if self._keep:
                messages, leaves = self._traced_messages(layer, h, chunk)
                self._kept[layer, number] = messages, leaves
            else:
                messages = self.model.messages(layer, *chunk.ends(h), *chunk.geometry)
            m.index_add_(0, chunk.receivers, messages.detach())
        return m

    def reverse_messages(
        self,
        layer: int,
        h: torch.Tensor,
        g: torch.Tensor,
        run: int = 0,
        g_h: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Gradient with respect to h; what the forward sweep kept is used up."""
        g_h = torch.zeros_like(h) if g_h is None else g_h
        for number in self._chunks_of(run):
            chunk = self._chunks[number]
            kept = self._kept.pop((layer, number), None)
            messages, leaves = kept or self._traced_messages(layer, h, chunk)
            parts = torch.autograd.grad(messages, leaves, g.index_select(0, chunk.receivers))
            # Sums of rows that are not contiguous are an order of magnitude slower.
            g_h.index_add_(0, chunk.senders, parts[0].contiguous())
            g_h.index_add_(0, chunk.receivers, parts[1].contiguous())
            self._gradients[chunk.edges] += parts[2]
        return g_h

    def _chunks_of(self, run: int) -> range:
        """Numbers of a run's chunks: one of inner edges, or all others."""
        return range(run, run + 1 if run < self.inner_runs else len(self._chunks))

    def reverse_embedding(self, g: torch.Tensor) -> None:
        """Add the first messages' part to the gradients."""
        for chunk in self._chunks:
            vectors, *numbers = chunk.geometry
            (g_v,) = pull_back(
                lambda v, z=numbers: self.model.edge_embedding(v, *z),
                (vectors,),
                g.index_select(0, chunk.receivers),
            )
            self._gradients[chunk.edges] += g_v

    def gradients(self) -> torch.Tensor:
        """Derivative of the energy with respect to each edge's vector, (edges, 3)."""
        return self._gradients

    def normalize(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        """Normalized features h that a layer sends, from node features x, (n, K, C)."""
        return self.model.normalize(layer, x)

    def reverse_normalize(self, layer: int, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Gradient with respect to x, from that with respect to h."""
        return pull_back(lambda x: self.model.normalize(layer, x), (x,), g)[0]

    def update(self, layer: int, x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """Node features after a layer, from those before it and summed messages, (n, K, C)."""
        return self.model.update(layer, x, m)

    def reverse_update(
        self, layer: int, x: torch.Tensor, m: torch.Tensor, g: torch.Tensor
    ) -> torch.Tensor:
        """Gradient with respect to x, which is that with respect to m: only x + m matters."""
        return pull_back(lambda x: self.model.update(layer, x, m), (x,), g)[0]

    def readout(
        self, x: torch.Tensor, atomic_numbers: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies of atoms, eV, (n,) in float64, and the gradient of their sum."""
        energies, leaves = trace(lambda x: self.model.readout(x, atomic_numbers), (x,))
        (g,) = torch.autograd.grad(energies, leaves, torch.ones_like(energies))
        return energies.detach(), g

    def _traced_messages(
        self, layer: int, h: torch.Tensor, chunk: _Chunk
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        vectors, *numbers = chunk.geometry
        return trace(
            lambda *ends: self.model.messages(layer, *ends, *numbers),
            (*chunk.ends(h), vectors),
        )


def _chunks(graph: Graph, which: range, size: int) -> list[_Chunk]:
    """Edges of a graph, by their numbers, in runs of a size."""
    chunks = []
    for start in which[::size]:
        edges = slice(start, min(start + size, which.stop))
        senders, receivers = graph.senders[edges], graph.receivers[edges]
        numbers = (
            graph.atomic_numbers.index_select(0, senders),
            graph.atomic_numbers.index_select(0, receivers),
        )
        chunks.append(_Chunk(edges, senders, receivers, (graph.vectors[edges], *numbers)))
    return chunks


def trace(
    function: Callable[..., torch.Tensor], inputs: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Call a function with gradients on; returns its value and the leaves it was given."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        return function(*leaves), leaves


def pull_back(
    function: Callable[..., torch.Tensor], inputs: tuple[Any, ...], gradient: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Gradients with respect to the inputs, from the gradient with respect to the value."""
    value, leaves = trace(function, inputs)
    return torch.autograd.grad(value, leaves, gradient)
