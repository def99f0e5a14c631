# SPDX-License-Identifier: MIT
"""Energies and their gradients: the stages of a model driven forward and in reverse.

What lives in memory is a few node tensors per layer, and what the edge stages keep of each edge
for the reverse sweep, which walks the stages backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.profiler import record_function

from uma_md.edge_stages import EdgeStages, pull_back, trace
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
    updated: torch.Tensor | None = None
    sums: torch.Tensor | None = None


class Evaluator:
    """Drives a model's stages over graphs.

    Parameters
    ----------
    model
        A ``uma_md.model.UMA`` or an exported file's module, already merged.
    edges
        Its stages that work on edges.
    """

    def __init__(self, model: Any, edges: EdgeStages) -> None:
        self.model = model
        self.edges = edges

    def __call__(self, graph: Graph, exchange: Exchange, plan: Plan) -> Evaluation:
        """Evaluate a graph whose vectors have the model's dtype.

        Parameters
        ----------
        graph
        exchange
            How rows reach other ranks.
        plan
            What is kept of messages, and how many edges are handled at a time.
        """
        with torch.no_grad():
            self.edges.start(graph, plan)
            traces, x = self._forward(graph, exchange)
            with record_function("readout"):
                numbers = graph.atomic_numbers[: len(graph.systems)]
                energies, leaves = trace(lambda x: self.model.readout(x, numbers), (x,))
                (g,) = torch.autograd.grad(energies, leaves, torch.ones_like(energies))
            self._reverse(graph, exchange, traces, g)
            return Evaluation(energies.detach(), self.edges.gradients())

    def _forward(self, graph: Graph, exchange: Exchange) -> tuple[list[_LayerTrace], torch.Tensor]:
        with record_function("embed"):
            x = self.model.embed(graph.atomic_numbers[: len(graph.systems)])
            x = x + self.edges.embedding()
        traces = []
        for layer in range(self.model.num_layers):
            h = exchange.forward(self.model.normalize(layer, x))
            with record_function("messages"):
                trace = _LayerTrace(x, h, self.edges.messages(layer, h))
            with record_function("update"):
                x = self.model.update(layer, x, trace.m)
                if self.model.num_balanced:
                    trace.updated = x
                    sums = self.model.channel_sums(x, graph.systems, len(graph.natoms))
                    trace.sums = exchange.sum(sums)
                    x = self.model.balance(x, trace.sums, graph.systems, graph.natoms)
            traces.append(trace)
        return traces, x

    def _reverse(
        self, graph: Graph, exchange: Exchange, traces: list[_LayerTrace], g: torch.Tensor
    ) -> None:
        for layer in reversed(range(len(traces))):
            trace = traces.pop()
            with record_function("update"):
                if self.model.num_balanced:
                    g = self._reverse_balance(graph, exchange, trace, g)
                inputs = trace.x, trace.m
                g, g_m = pull_back(lambda *a, n=layer: self.model.update(n, *a), inputs, g)
            with record_function("messages"):
                g_rows = self.edges.reverse_messages(layer, trace.h, g_m)
            g_h = exchange.reverse(g_rows)
            (g_x,) = pull_back(lambda x, n=layer: self.model.normalize(n, x), (trace.x,), g_h)
            g = g + g_x
        with record_function("embed"):
            self.edges.reverse_embedding(g)

    def _reverse_balance(
        self, graph: Graph, exchange: Exchange, trace: _LayerTrace, g: torch.Tensor
    ) -> torch.Tensor:
        systems, natoms = graph.systems, graph.natoms
        g_x, g_sums = pull_back(
            lambda x, sums: self.model.balance(x, sums, systems, natoms),
            (trace.updated, trace.sums),
            g,
        )
        (g_channels,) = pull_back(
            lambda x: self.model.channel_sums(x, systems, len(natoms)),
            (trace.updated,),
            exchange.sum(g_sums),
        )
        return g_x + g_channels
