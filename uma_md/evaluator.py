# SPDX-License-Identifier: MIT
"""Energies and their gradients: the stages of a model driven forward and in reverse.

What lives in memory is a few node tensors per layer and one chunk of edges. The reverse
sweep walks the stages backwards; it recomputes each chunk of messages with gradients on
or, where memory allows, uses the graph that the forward sweep kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from uma_md.exchange import Exchange, LocalExchange
from uma_md.graph import Graph
from uma_md.memory import available_memory


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


class Properties(NamedTuple):
    """What the model says of whole systems, atoms counted through all of them.

    Attributes
    ----------
    energies : (atoms,), eV
    forces : (atoms, 3), eV/angstrom
    virials : (systems, 3, 3), eV
        -dE/dstrain.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray


def check_finite(energies: torch.Tensor, gradients: torch.Tensor) -> None:
    """Refuse what a broken model or a broken device gives."""
    if not (torch.isfinite(energies).all() and torch.isfinite(gradients).all()):
        raise ValueError(
            "energy and forces must be finite, the model gave NaN or infinity: "
            "is the structure sound?"
        )


def atomic_forces(graph: Graph, gradients: torch.Tensor) -> torch.Tensor:
    """Forces on all rows of a graph, (rows, 3), eV/angstrom, float64.

    An edge's gradient g = dE/dv pulls its receiver by g and its sender by -g. Rows
    of remote atoms hold what is to be added to their owners' forces.
    """
    pull = gradients.double()
    forces = torch.zeros((len(graph.atomic_numbers), 3), dtype=pull.dtype, device=pull.device)
    return forces.index_add_(0, graph.receivers, pull).index_add_(0, graph.senders, -pull)


def virials(graph: Graph, gradients: torch.Tensor) -> torch.Tensor:
    """Virial of each system, -dE/dstrain, (systems, 3, 3), eV, float64."""
    products = -graph.vectors.double().unsqueeze(2) * gradients.double().unsqueeze(1)
    sums = torch.zeros((len(graph.natoms), 3, 3), dtype=products.dtype, device=products.device)
    return sums.index_add_(0, graph.systems[graph.receivers], products)


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
    """Drives a model's stages over a graph.

    Parameters
    ----------
    model
        A ``uma_md.model.UMA`` or an exported file's module, already merged.
    bytes_per_edge
        What one edge of one layer keeps when its graph is kept.
    exchange
        How rows reach other ranks.
    chunk
        Edges handled at a time.
    recompute
        ``on`` recomputes messages in the reverse sweep, ``off`` keeps their graph, ``auto``
        keeps it where that takes no more than half of the available memory.
    sharers
        Ranks that share this rank's memory, itself included.
    """

    def __init__(
        self,
        model: Any,
        bytes_per_edge: int,
        exchange: Exchange | None = None,
        chunk: int = 1024,
        recompute: str = "auto",
        sharers: int = 1,
    ) -> None:
        if chunk < 1:
            raise ValueError(f"chunk must be 1 or more edges, found {chunk}")
        if recompute not in ("auto", "on", "off"):
            raise ValueError(f"recompute must be auto, on or off, found {recompute!r}")
        self.model = model
        self.bytes_per_edge = bytes_per_edge
        self.exchange: Exchange = exchange or LocalExchange()
        self.chunk = chunk
        self.recompute = recompute
        self.sharers = sharers

    def __call__(self, graph: Graph) -> Evaluation:
        """Evaluate a graph whose vectors have the model's dtype."""
        with torch.no_grad():
            keep = self._keeps_graph(graph)
            traces, x = self._forward(graph, keep)
            numbers = graph.atomic_numbers[: len(graph.systems)]
            energies = self.model.readout(x, numbers)
            (g,) = _pull_back(
                lambda x: self.model.readout(x, numbers), (x,), torch.ones_like(energies)
            )
            return Evaluation(energies, self._reverse(graph, traces, g))

    def _keeps_graph(self, graph: Graph) -> bool:
        if self.recompute == "auto":
            need = len(graph.senders) * self.model.num_layers * self.bytes_per_edge
            return need <= available_memory(graph.vectors.device) / (2 * self.sharers)
        return self.recompute == "off"

    def _forward(self, graph: Graph, keep: bool) -> tuple[list[_LayerTrace], torch.Tensor]:
        x = self.model.embed(graph.atomic_numbers[: len(graph.systems)])
        for chunk in self._chunks(graph):
            x.index_add_(0, chunk.receivers, self.model.edge_embedding(*chunk.geometry))
        traces = []
        for layer in range(self.model.num_layers):
            h = self.exchange.forward(self.model.normalize(layer, x))
            trace = _LayerTrace(x, h, torch.zeros_like(x))
            self._gather_messages(graph, layer, trace, keep)
            x = self.model.update(layer, x, trace.m)
            if self.model.num_balanced:
                trace.updated = x
                sums = self.model.channel_sums(x, graph.systems, len(graph.natoms))
                trace.sums = self.exchange.sum(sums)
                x = self.model.balance(x, trace.sums, graph.systems, graph.natoms)
            traces.append(trace)
        return traces, x

    def _gather_messages(self, graph: Graph, layer: int, trace: _LayerTrace, keep: bool) -> None:
        for chunk in self._chunks(graph):
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

    def _reverse(self, graph: Graph, traces: list[_LayerTrace], g: torch.Tensor) -> torch.Tensor:
        gradients = torch.zeros_like(graph.vectors)
        for layer in reversed(range(len(traces))):
            trace = traces.pop()
            if self.model.num_balanced:
                g = self._reverse_balance(graph, trace, g)
            g, g_m = _pull_back(lambda *a, n=layer: self.model.update(n, *a), (trace.x, trace.m), g)
            g_h = self.exchange.reverse(self._reverse_messages(graph, layer, trace, g_m, gradients))
            (g_x,) = _pull_back(lambda x, n=layer: self.model.normalize(n, x), (trace.x,), g_h)
            g = g + g_x
        for chunk in self._chunks(graph):
            vectors, *numbers = chunk.geometry
            (g_v,) = _pull_back(
                lambda v, z=numbers: self.model.edge_embedding(v, *z),
                (vectors,),
                g.index_select(0, chunk.receivers),
            )
            gradients[chunk.edges] += g_v
        return gradients

    def _reverse_balance(self, graph: Graph, trace: _LayerTrace, g: torch.Tensor) -> torch.Tensor:
        systems, natoms = graph.systems, graph.natoms
        g_x, g_sums = _pull_back(
            lambda x, sums: self.model.balance(x, sums, systems, natoms),
            (trace.updated, trace.sums),
            g,
        )
        (g_channels,) = _pull_back(
            lambda x: self.model.channel_sums(x, systems, len(natoms)),
            (trace.updated,),
            self.exchange.sum(g_sums),
        )
        return g_x + g_channels

    def _reverse_messages(
        self,
        graph: Graph,
        layer: int,
        trace: _LayerTrace,
        g_m: torch.Tensor,
        gradients: torch.Tensor,
    ) -> torch.Tensor:
        """Gradient with respect to h; adds to ``gradients`` that with respect to vectors."""
        g_h = torch.zeros_like(trace.h)
        for chunk in self._chunks(graph):
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

    def _chunks(self, graph: Graph) -> Iterator[_Chunk]:
        for start in range(0, len(graph.senders), self.chunk):
            edges = slice(start, start + self.chunk)
            senders, receivers = graph.senders[edges], graph.receivers[edges]
            numbers = (graph.atomic_numbers[senders], graph.atomic_numbers[receivers])
            yield _Chunk(edges, senders, receivers, (graph.vectors[edges], *numbers))


class _Chunk(NamedTuple):
    """A run of edges, and what every edge stage takes of them."""

    edges: slice
    senders: torch.Tensor
    receivers: torch.Tensor
    geometry: tuple[torch.Tensor, torch.Tensor, torch.Tensor]

    def ends(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of h at the edges' senders and receivers; on CPUs faster than by brackets."""
        return h.index_select(0, self.senders), h.index_select(0, self.receivers)


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
