# SPDX-License-Identifier: MIT
"""Energies and their gradients: the stages of a model driven forward and in reverse.

What lives in memory is a few node tensors per layer and one chunk of edges. The reverse
sweep walks the stages backwards; it recomputes each chunk of messages with gradients on
or, where memory allows, uses the graph that the forward sweep kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.profiler import record_function

from uma_md.exchange import Exchange
from uma_md.graph import Graph
from uma_md.memory import Plan


class Evaluation(NamedTuple):
    """What one evaluation gives.

    Attributes
    ----------
    energies : (owned,), eV, float64
        One per owned atom, element references included.
    gradients : (edges, 3), eV/angstrom
        Derivative of the whole energy with respect to each edge's vector.
    """

    energies: torch.Tensor
    gradients: torch.Tensor


@dataclass
class _LayerTrace:
    """What the forward sweep leaves of a layer for the reverse sweep."""

    x: torch.Tensor
    h: torch.Tensor
    m: torch.Tensor
    kept: list[tuple[torch.Tensor, list[torch.Tensor]]] = field(default_factory=list)
    updated: torch.Tensor | None = None
    sums: torch.Tensor | None = None


class Evaluator:
    """Drives a model's stages over graphs.

    Parameters
    ----------
    model
        A ``uma_md.model.UMA`` or an exported file's module, already merged.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, graph: Graph, exchange: Exchange, plan: Plan) -> Evaluation:
        """Evaluate a graph whose vectors have the model's dtype.

        Parameters
        ----------
        graph
        exchange
            How rows reach other ranks.
        plan
            Whether messages are kept, and how many edges are handled at a time.
        """
        with torch.no_grad():
            chunks = _chunks(graph, plan.chunk)
            traces, x = self._forward(graph, chunks, exchange, plan.keep)
            with record_function("readout"):
                numbers = graph.atomic_numbers[: len(graph.systems)]
                energies, leaves = _trace(lambda x: self.model.readout(x, numbers), (x,))
                (g,) = torch.autograd.grad(energies, leaves, torch.ones_like(energies))
            gradients = self._reverse(graph, chunks, exchange, traces, g)
            return Evaluation(energies.detach(), gradients)

    def _forward(
        self, graph: Graph, chunks: list[_Chunk], exchange: Exchange, keep: bool
    ) -> tuple[list[_LayerTrace], torch.Tensor]:
        with record_function("embed"):
            x = self.model.embed(graph.atomic_numbers[: len(graph.systems)])
            for chunk in chunks:
                x.index_add_(0, chunk.receivers, self.model.edge_embedding(*chunk.geometry))
        traces = []
        for layer in range(self.model.num_layers):
            h = exchange.forward(self.model.normalize(layer, x))
            trace = _LayerTrace(x, h, torch.zeros_like(x))
            with record_function("messages"):
                self._gather_messages(chunks, layer, trace, keep)
            with record_function("update"):
                x = self.model.update(layer, x, trace.m)
                if self.model.num_balanced:
                    trace.updated = x
                    sums = self.model.channel_sums(x, graph.systems, len(graph.natoms))
                    trace.sums = exchange.sum(sums)
                    x = self.model.balance(x, trace.sums, graph.systems, graph.natoms)
            traces.append(trace)
        return traces, x

    def _gather_messages(
        self, chunks: list[_Chunk], layer: int, trace: _LayerTrace, keep: bool
    ) -> None:
        for chunk in chunks:
            if keep:
                messages, leaves = self._traced_messages(layer, trace.h, chunk)
                trace.kept.append((messages, leaves))
            else:
                ends = chunk.ends(trace.h)
                messages = self.model.messages(layer, *ends, *chunk.geometry)
            trace.m.index_add_(0, chunk.receivers, messages.detach())

    def _traced_messages(
        self, layer: int, h: torch.Tensor, chunk: _Chunk
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        vectors, *numbers = chunk.geometry
        return _trace(
            lambda *ends: self.model.messages(layer, *ends, *numbers),
            (*chunk.ends(h), vectors),
        )

    def _reverse(
        self,
        graph: Graph,
        chunks: list[_Chunk],
        exchange: Exchange,
        traces: list[_LayerTrace],
        g: torch.Tensor,
    ) -> torch.Tensor:
        gradients = torch.zeros_like(graph.vectors)
        for layer in reversed(range(len(traces))):
            trace = traces.pop()
            with record_function("update"):
                if self.model.num_balanced:
                    g = self._reverse_balance(graph, exchange, trace, g)
                inputs = trace.x, trace.m
                g, g_m = _pull_back(lambda *a, n=layer: self.model.update(n, *a), inputs, g)
            with record_function("messages"):
                g_h = self._reverse_messages(chunks, layer, trace, g_m, gradients)
            g_h = exchange.reverse(g_h)
            (g_x,) = _pull_back(lambda x, n=layer: self.model.normalize(n, x), (trace.x,), g_h)
            g = g + g_x
        with record_function("embed"):
            for chunk in chunks:
                vectors, *numbers = chunk.geometry
                (g_v,) = _pull_back(
                    lambda v, z=numbers: self.model.edge_embedding(v, *z),
                    (vectors,),
                    g.index_select(0, chunk.receivers),
                )
                gradients[chunk.edges] += g_v
        return gradients

    def _reverse_balance(
        self, graph: Graph, exchange: Exchange, trace: _LayerTrace, g: torch.Tensor
    ) -> torch.Tensor:
        systems, natoms = graph.systems, graph.natoms
        g_x, g_sums = _pull_back(
            lambda x, sums: self.model.balance(x, sums, systems, natoms),
            (trace.updated, trace.sums),
            g,
        )
        (g_channels,) = _pull_back(
            lambda x: self.model.channel_sums(x, systems, len(natoms)),
            (trace.updated,),
            exchange.sum(g_sums),
        )
        return g_x + g_channels

    def _reverse_messages(
        self,
        chunks: list[_Chunk],
        layer: int,
        trace: _LayerTrace,
        g_m: torch.Tensor,
        gradients: torch.Tensor,
    ) -> torch.Tensor:
        """Gradient with respect to h; adds to ``gradients`` that with respect to vectors."""
        g_h = torch.zeros_like(trace.h)
        for chunk in chunks:
            if trace.kept:
                messages, leaves = trace.kept.pop(0)
            else:
                messages, leaves = self._traced_messages(layer, trace.h, chunk)
            parts = torch.autograd.grad(messages, leaves, g_m.index_select(0, chunk.receivers))
            # Sums of rows that are not contiguous are an order of magnitude slower.
            g_h.index_add_(0, chunk.senders, parts[0].contiguous())
            g_h.index_add_(0, chunk.receivers, parts[1].contiguous())
            gradients[chunk.edges] += parts[2]
        return g_h


class _Chunk(NamedTuple):
    """A run of edges, and what every edge stage takes of them."""

    edges: slice
    senders: torch.Tensor
    receivers: torch.Tensor
    geometry: tuple[torch.Tensor, torch.Tensor, torch.Tensor]

    def ends(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of h at the edges' senders and receivers; on CPUs faster than by brackets."""
        return h.index_select(0, self.senders), h.index_select(0, self.receivers)


def _chunks(graph: Graph, size: int) -> list[_Chunk]:
    """The edges of a graph in runs of a size."""
    chunks = []
    for start in range(0, len(graph.senders), size):
        edges = slice(start, start + size)
        senders, receivers = graph.senders[edges], graph.receivers[edges]
        numbers = (
            graph.atomic_numbers.index_select(0, senders),
            graph.atomic_numbers.index_select(0, receivers),
        )
        chunks.append(_Chunk(edges, senders, receivers, (graph.vectors[edges], *numbers)))
    return chunks


def _trace(
    function: Callable[..., torch.Tensor], inputs: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Call a function with gradients on; returns its value and the leaves it was given."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        return function(*leaves), leaves


def _pull_back(
    function: Callable[..., torch.Tensor], inputs: tuple[Any, ...], gradient: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Gradients with respect to the inputs, from the gradient with respect to the value."""
    value, leaves = _trace(function, inputs)
    return torch.autograd.grad(value, leaves, gradient)
