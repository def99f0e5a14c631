# SPDX-License-Identifier: MIT
"""How much memory evaluations need, how much there is, and what follows for them."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, NamedTuple

import psutil
import torch

LARGE_CHUNK = 32768  # edges that keep an accelerator busy
CHUNK_ON_CPU = 1024  # edges whose features stay in the caches
GRAPH_BYTES = 200  # of an edge: its ends and vector, and those of the pair that it is chosen from
LARGE_BATCH = 16 * LARGE_CHUNK  # edges beyond which an accelerator gains nothing
BATCH_ON_CPU = 8 * CHUNK_ON_CPU


def available_memory(device: torch.device, sharers: int) -> float:
    """Bytes that a rank may count on.

    Half of what is free on a host or on a shared accelerator, 0.8 of what is free on an
    accelerator of its own; what torch keeps in its cache is free.

    Parameters
    ----------
    device
    sharers
        Ranks that share the device's memory, this one included.
    """
    if device.type == "cpu":
        return psutil.virtual_memory().available / (2 * sharers)
    free, _ = torch.accelerator.get_memory_info(device)
    cached = torch.accelerator.memory_reserved(device) - torch.accelerator.memory_allocated(device)
    return (free + cached) * (0.8 if sharers == 1 else 0.5 / sharers)


class Keep(Enum):
    """What the forward sweep keeps of each edge for the reverse sweep."""

    NOTHING = 0  # everything is computed again
    FIRST = 1  # the first convolution's output
    BOTH = 2  # both convolutions' outputs
    ALL = 3  # what the layers' radial networks give, too; or autograd's graph


class Footprint(NamedTuple):
    """Memory that edges take.

    Attributes
    ----------
    kept
        Bytes that an edge keeps in each layer, by what is kept.
    at_work
        Bytes that an edge of a chunk takes while this is worked on.
    held
        Bytes that are held from one evaluation to the next, for both.
    """

    kept: dict[Keep, int]
    at_work: int
    held: int = 0


class Plan(NamedTuple):
    """How a graph is evaluated.

    Attributes
    ----------
    keep
        What is kept of messages for the reverse sweep.
    chunk
        Edges handled at a time.
    """

    keep: Keep
    chunk: int


class BatchLimit(NamedTuple):
    """How much may be evaluated at once.

    Attributes
    ----------
    edges
        Most edges that are worth it.
    available
        Bytes.
    per_edge, per_atom
        Bytes that each of them takes.
    """

    edges: int
    available: float
    per_edge: int
    per_atom: int

    def holds(self, edges: int, atoms: int) -> bool:
        """Whether so many are within it."""
        needed = edges * self.per_edge + atoms * self.per_atom
        return edges <= self.edges and needed <= self.available


class MemoryPlanner:
    """Plans evaluations by the memory at hand.

    What is chosen stays until there are a tenth more edges than it was chosen for, so that the
    steps of a run are alike.

    Parameters
    ----------
    recompute
        ``on`` recomputes messages, ``off`` keeps them, ``auto`` keeps as much as memory allows.
    chunk
        Edges handled at a time; by device and memory if None.
    num_layers
    device
    sharers
        Ranks that share the device's memory, this one included.
    """

    def __init__(
        self,
        recompute: str,
        chunk: int | None,
        num_layers: int,
        device: torch.device,
        sharers: int = 1,
    ) -> None:
        self._recompute = recompute
        self._chunk = chunk
        self._num_layers = num_layers
        self._device = device
        self._sharers = sharers
        self._planned_edges = -1
        self._plan = Plan(Keep.NOTHING, 1)

    def __call__(self, num_edges: int, footprint: Footprint) -> Plan:
        """The plan for a graph of so many edges."""
        if self._planned_edges < 0 or num_edges > 1.1 * self._planned_edges:
            self._plan = self._new_plan(num_edges, footprint)
            self._planned_edges = num_edges
        return self._plan

    def batch_limit(self, footprint: Footprint, features: int) -> BatchLimit:
        """The limit of batches, by the memory at hand.

        Parameters
        ----------
        footprint
        features
            Bytes of an atom's features.
        """
        everything = footprint.kept[Keep.ALL]
        # Where memory decides, batches are better large than kept as a whole.
        kept = {"on": 0, "off": everything}.get(
            self._recompute, footprint.kept.get(Keep.BOTH, everything)
        )
        on_cpu = self._device.type == "cpu"
        return BatchLimit(
            BATCH_ON_CPU if on_cpu else LARGE_BATCH,
            available_memory(self._device, self._sharers) + footprint.held,
            self._num_layers * kept + GRAPH_BYTES,
            (3 * self._num_layers + 6) * features,  # three arrays of a layer are kept
        )

    def _new_plan(self, num_edges: int, footprint: Footprint) -> Plan:
        rows = with_room(num_edges) * self._num_layers
        needed = {keep: rows * each for keep, each in footprint.kept.items()}
        available = 0.0
        if self._recompute == "auto" or self._chunk is None:
            available = available_memory(self._device, self._sharers) + footprint.held
        if self._device.type != "cpu":
            chunk = LARGE_CHUNK if self._chunk is None else self._chunk
            available -= min(chunk, num_edges) * footprint.at_work
        keep = self._choose(needed, available)
        if self._chunk is not None:
            return Plan(keep, self._chunk)
        if self._device.type == "cpu":
            return Plan(keep, CHUNK_ON_CPU)
        if keep is Keep.NOTHING:
            return Plan(keep, LARGE_CHUNK)
        more = (available - needed[keep]) // footprint.at_work
        return Plan(keep, int(max(LARGE_CHUNK, min(LARGE_CHUNK + more, 1.1 * num_edges))))

    def _choose(self, needed: dict[Keep, int], available: float) -> Keep:
        """The most that may be kept."""
        if self._recompute != "auto":
            return Keep.NOTHING if self._recompute == "on" else Keep.ALL
        fitting = (keep for keep, size in needed.items() if size <= available)
        return max(fitting, key=lambda keep: keep.value, default=Keep.NOTHING)


def with_room(edges: int) -> int:
    """Edges that memory is taken for when it has grown, as ``Buffer`` of the kernels says."""
    return edges + edges // 8 + int(16 * math.sqrt(edges))


def move_network(network: Any, device: torch.device) -> None:
    """Move a network to a device, but for its experts, which only merging reads.

    They would take twenty times the memory of the merged weights.

    Parameters
    ----------
    network
        A ``uma_md.model.UMA`` or an exported file's module, on the host.
    device
    """
    on_host = getattr(network, "experts_on_host", False)
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if not (on_host and name.endswith(".experts")):
            tensor.data = tensor.data.to(device)


def measure_bytes_per_edge(model: Any, dtype: torch.dtype) -> int:
    """Bytes that autograd keeps for one edge of one layer, measured; it merges the model."""
    edges, coefficients = 64, (model.lmax + 1) ** 2
    shape = (edges, coefficients, model.sphere_channels)
    senders = torch.ones(shape, dtype=dtype).requires_grad_()
    receivers = torch.ones(shape, dtype=dtype).requires_grad_()
    vectors = torch.ones(edges, 3, dtype=dtype).requires_grad_()
    numbers = torch.ones(edges, dtype=torch.int64)
    model.merge(torch.ones(model.max_num_elements, dtype=torch.int64), 0, 0)
    constants = (*model.parameters(), *model.buffers())
    known = {tensor.untyped_storage().data_ptr() for tensor in constants}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # what leads back to its own graph would never be freed

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        out = model.messages(0, senders, receivers, vectors, numbers, numbers)
    del out
    return sum(kept.values()) // edges
