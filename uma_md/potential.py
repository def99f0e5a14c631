# SPDX-License-Identifier: MIT
"""A model set up for this process: where it computes, and for which system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.profiler import record_function

from uma_md.evaluator import Evaluation, Evaluator
from uma_md.exchange import Exchange, LocalExchange
from uma_md.graph import Graph
from uma_md.loading import DTYPES, counts_tensor
from uma_md.memory import BatchLimit, MemoryPlanner
from uma_md.networks import Networks, OwnNetworks
from uma_md.options import RunOptions
from uma_md.precision import check_precision, products
from uma_md.properties import Properties, atomic_forces, read, virials
from uma_md.stages import make_stages
from uma_md.streams import SideStream
from uma_md.system import check_finite_results, count_elements


class Potential:
    """One task of a model, its experts merged for one system.

    Parameters
    ----------
    model
        Path or name of a checkpoint or an exported file.
    task
        Needed for a checkpoint of several tasks.
    options
    device
        Where it computes.
    sharers
        Ranks that share the device's memory, this one included.
    networks
        What loads and merges; this process alone if not given.

    Attributes
    ----------
    metadata
        What the model says of itself.
    network
        The stages, as ``uma_md.model.UMA``.
    engine
        What computes the stages of edges, ``kernels`` or ``portable``.

    Raises
    ------
    OSError, ValueError
        As ``uma_md.loading.load_model`` says.
    """

    def __init__(
        self,
        model: str | Path,
        task: str | None,
        options: RunOptions,
        device: torch.device,
        sharers: int = 1,
        networks: Networks | None = None,
    ) -> None:
        self.device = device
        self._networks = networks or OwnNetworks()
        self.network, self.metadata = self._networks.load(model, task, options, device)
        where = device, self.metadata.bytes_per_edge
        stages = make_stages(
            self.network, options.engine, *where, options.precision, options.graphs
        )
        self.engine = stages.name
        self._stream = SideStream(device, self.engine == "kernels" and options.graphs != "off")
        self._products = options.precision
        check_precision(self._products, self.metadata.dtype, device, self.engine)
        self._evaluator = Evaluator(self.network, stages)
        self._plan = MemoryPlanner(
            options.recompute,
            options.chunk,
            self.metadata.num_layers,
            device,
            sharers,
        )
        self._merged_for: tuple[dict[str, int], int, int] | None = None

    @property
    def precision(self) -> str:
        """What products of matrices are computed in, one of ``PRECISIONS`` or ``float64``."""
        return self._products if self.metadata.dtype == "float32" else self.metadata.dtype

    def merge(self, atomic_numbers: Sequence[int] | np.ndarray, charge: int, spin: int) -> None:
        """Fit the network to a system, unless it is the one that it is fitted to.

        Collective where ``networks`` is.

        Raises
        ------
        ValueError
            When the model does not know an element, or is merged for another system.
        """
        if self.is_merged_for(atomic_numbers, charge, spin):
            return
        system = count_elements(atomic_numbers), charge, spin
        self.metadata.check_elements(atomic_numbers)
        self.metadata.check_system(*system)
        self._merged_for = None
        with torch.no_grad(), products("float32"):
            table = counts_tensor(system[0], self.network.max_num_elements)
            self._networks.merge(self.network, table, charge, spin)
            self._evaluator.stages.merge()
        self._networks.agree()
        self._merged_for = system

    def is_merged_for(
        self, atomic_numbers: Sequence[int] | np.ndarray, charge: int, spin: int
    ) -> bool:
        """Whether the network is fitted to a system."""
        return self._merged_for == (count_elements(atomic_numbers), charge, spin)

    def fit_of(self, atomic_numbers: np.ndarray, charge: int, spin: int) -> tuple[bytes, int, int]:
        """What the network is fitted to for a system: equal where one fit serves both systems.

        Experts are weighted by the shares of elements, and in some models by the number of atoms.

        Parameters
        ----------
        atomic_numbers : (atoms,)
        charge, spin
        """
        if getattr(self.network, "num_experts", 1) == 0:
            return b"", charge, spin
        counts = np.bincount(atomic_numbers)
        if not self.metadata.composition_exact:
            counts //= np.gcd.reduce(counts)
        return counts.tobytes(), charge, spin

    def batch_limit(self) -> BatchLimit:
        """How much may be evaluated at once, after ``merge``."""
        m = self.metadata
        features = (m.lmax + 1) ** 2 * m.sphere_channels * DTYPES[m.dtype].itemsize
        return self._plan.batch_limit(self._evaluator.stages.footprint, features)

    def __call__(self, graph: Graph, exchange: Exchange | None = None) -> Evaluation:
        """Evaluate a graph with vectors in float64; every rank of the exchange takes part.

        Raises
        ------
        ValueError
            When a system is an isolated atom, and the model does not describe these.
        """
        self._check_single_atoms(graph)
        graph = graph._replace(vectors=graph.vectors.to(DTYPES[self.metadata.dtype]))
        plan = self._plan(len(graph.senders), self._evaluator.stages.footprint)
        with products(self._products), self._stream.entered():
            return self._evaluator(graph, exchange or LocalExchange(), plan)

    def _check_single_atoms(self, graph: Graph) -> None:
        """Refuse systems of one atom without neighbors, on the process that owns it."""
        if self.metadata.supports_single_atoms:
            return
        alone = graph.natoms.index_select(0, graph.systems) == 1
        if bool(alone.any()):
            neighbors = torch.bincount(graph.receivers, minlength=len(graph.systems))
            self.metadata.check_single_atom(1, int(neighbors[alone].min()))

    def properties(self, graph: Graph) -> Properties:
        """Evaluate a graph all of whose atoms this process owns.

        Raises
        ------
        ValueError
            When the model gives NaN or infinity.
        """
        energies, gradients = self(graph)
        with record_function("forces"):
            found = read(energies, atomic_forces(graph, gradients), virials(graph, gradients))
        check_finite_results(*found[:3])
        return found
