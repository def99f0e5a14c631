# SPDX-License-Identifier: MIT
"""The stages that work on edges, forward and in reverse: by the network's operators, or by kernels.

Nearly all of an evaluation is here. ``PortableStages`` runs the network's own operators on runs of
edges and lets autograd find the reverse; ``KernelStages`` calls the hand-written kernels of
``uma_md/kernels``. Both give the same to rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch

from uma_md.graph import Graph
from uma_md.kernels import library
from uma_md.memory import Footprint, Keep, Plan
from uma_md.options import GRAPHS


class EdgeStages(Protocol):
    """Edge stages of a network, for one graph after another.

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
    """Edge stages by the network's own operators, in runs of edges, differentiated by autograd.

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


class KernelStages:
    """Edge stages by the hand-written kernels.

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
        make = torch.classes.uma_md.EdgeStages
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


def make_stages(
    model: Any,
    engine: str,
    device: torch.device,
    bytes_per_edge: int,
    precision: str = "float32",
    graphs: str = "off",
) -> PortableStages | KernelStages:
    """Edge stages of a merged model by an engine.

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
