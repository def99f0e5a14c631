# SPDX-License-Identifier: MIT
"""Energies and their gradients: the stages of a model driven forward and in reverse.

What lives in memory is a few node tensors per layer, and what stages keep of each edge for the
reverse sweep, which walks the stages backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.profiler import record_function

from uma_md.exchange import Exchange, Transfer
from uma_md.graph import Graph
from uma_md.memory import Plan
from uma_md.stages import Stages


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


class Evaluator:
    """Drives a model's stages over graphs.

    Parameters
    ----------
    model
        A ``uma_md.model.UMA`` or an exported file's module, already merged.
    stages
        Its stages, by one engine.
    """

    def __init__(self, model: Any, stages: Stages) -> None:
        self.model = model
        self.stages = stages

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
            self.stages.start(graph, plan)
            traces, x = self._forward(graph, exchange)
            with record_function("readout"):
                energies, g = self.stages.readout(x, graph.atomic_numbers[: len(graph.systems)])
            self._reverse(graph, exchange, traces, g)
            return Evaluation(energies, self.stages.gradients())

    def _forward(self, graph: Graph, exchange: Exchange) -> tuple[list[_LayerTrace], torch.Tensor]:
        with record_function("embed"):
            x = self.stages.embedding()
            x.add_(self.model.embed(graph.atomic_numbers[: len(graph.systems)]))
        traces = []
        for layer in range(self.model.num_layers):
            transfer = exchange.start_forward(self.stages.normalize(layer, x))
            m = self._messages(layer, transfer)
            traces.append(_LayerTrace(x, transfer.rows, m))
            with record_function("update"):
                x = self.stages.update(layer, x, m)
                if self.model.num_balanced:
                    self._balance(graph, x, self._channel_sums(graph, exchange, x))
        return traces, x

    def _messages(self, layer: int, transfer: Transfer) -> torch.Tensor:
        """Along inner edges while remote rows travel; along the others when these are here."""
        stages, m = self.stages, None
        for run in range(stages.inner_runs):
            with record_function("messages"):
                m = stages.messages(layer, transfer.rows, run, m)
            transfer.test()
        h = transfer.wait()
        with record_function("messages"):
            return stages.messages(layer, h, stages.inner_runs, m)

    def _reverse(
        self, graph: Graph, exchange: Exchange, traces: list[_LayerTrace], g: torch.Tensor
    ) -> None:
        for layer in reversed(range(len(traces))):
            trace = traces.pop()
            with record_function("update"):
                if self.model.num_balanced:
                    self._reverse_balance(graph, exchange, g)
                g = self.stages.reverse_update(layer, trace.x, trace.m, g)
            g_h = self._reverse_messages(layer, exchange, trace.h, g)
            g = self.stages.reverse_normalize(layer, trace.x, g_h).add_(g)
        with record_function("embed"):
            self.stages.reverse_embedding(g)

    def _reverse_messages(
        self, layer: int, exchange: Exchange, h: torch.Tensor, g: torch.Tensor
    ) -> torch.Tensor:
        """Gradients of remote rows come first, and travel while the inner edges are computed."""
        stages = self.stages
        with record_function("messages"):
            g_rows = stages.reverse_messages(layer, h, g, stages.inner_runs)
        transfer = exchange.start_reverse(g_rows)
        for run in range(stages.inner_runs):
            with record_function("messages"):
                g_rows = stages.reverse_messages(layer, h, g, run, g_rows)
            transfer.test()
        return transfer.wait()

    def _channel_sums(self, graph: Graph, exchange: Exchange, x: torch.Tensor) -> torch.Tensor:
        return exchange.sum(self.model.channel_sums(x, graph.systems, len(graph.natoms)))

    def _balance(self, graph: Graph, x: torch.Tensor, sums: torch.Tensor) -> None:
        """In place: recorded stages find their arguments where they gave them."""
        x.copy_(self.model.balance(x, sums, graph.systems, graph.natoms))

    def _reverse_balance(self, graph: Graph, exchange: Exchange, g: torch.Tensor) -> None:
        """Balancing takes the mean off and adds a constant, and its reverse takes the mean off."""
        self._balance(graph, g, self._channel_sums(graph, exchange, g) + self.model.targets)
