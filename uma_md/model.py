# SPDX-License-Identifier: MIT
"""The network of UMA and eSEN as stages that an evaluator drives forward and in reverse."""

from itertools import pairwise

import torch
from torch import nn

from uma_md.config import CHARGE_RANGE, SPIN_RANGE, ModelConfig, num_integers
from uma_md.nn.embedding import EdgeEmbedding, EdgeGeometry
from uma_md.nn.experts import MixedLinear
from uma_md.nn.layer import Layer
from uma_md.nn.norm import RMSNorm
from uma_md.nn.so2 import ComplexLinear


class UMA(nn.Module):
    """One task of a UMA model (eSCN-MD with a mixture of linear experts), or of eSEN without them.

    ``merge`` comes first, and again whenever the system's composition, charge or spin
    changes. The stages act on the rows that they are given and never ask where those
    live, so that atoms may be spread over ranks and edges be cut into chunks. Shapes:
    n nodes, e edges, K = (lmax + 1)**2 coefficients, C channels, B balanced channels.

    Parameters
    ----------
    config
        Sizes and conventions.
    rmsd
        Scale of the network's energy, eV.
    """

    def __init__(self, config: ModelConfig, rmsd: float) -> None:
        super().__init__()
        c = config
        self.num_layers = c.num_layers
        self.lmax = c.lmax
        self.sphere_channels = c.channels
        self.cutoff = c.cutoff
        self.max_num_elements = c.max_num_elements
        self.num_experts = c.num_experts
        self.experts_on_host = True  # 'merge' takes them from another device; older files' does not
        self.composition_counts_itself = c.composition_counts_itself
        self.rmsd = rmsd
        self.charge_start, self.charge_stop = c.charge_channels
        self.spin_start, self.spin_stop = c.spin_channels
        num_charge = self.charge_stop - self.charge_start
        num_spin = self.spin_stop - self.spin_start
        self.num_balanced = num_charge + num_spin
        balanced = [*range(*c.charge_channels), *range(*c.spin_channels)]
        self.register_buffer("balanced", torch.tensor(balanced, dtype=torch.long), persistent=False)
        self.register_buffer("targets", torch.zeros(self.num_balanced), persistent=False)
        self.register_buffer("system_embedding", torch.zeros(c.channels), persistent=False)
        self._add_routing(c)
        self.atom_embedding = nn.Embedding(c.max_num_elements, c.channels)
        self.geometry = EdgeGeometry(c)
        self.first_message = EdgeEmbedding(c)
        self.layers = nn.ModuleList([Layer(c) for _ in range(c.num_layers)])
        self.norm = RMSNorm(c)
        self.head = nn.Sequential(
            nn.Linear(c.channels, c.hidden_channels),
            nn.SiLU(),
            nn.Linear(c.hidden_channels, c.hidden_channels),
            nn.SiLU(),
            nn.Linear(c.hidden_channels, 1),
        )
        references = torch.zeros(c.max_num_elements, dtype=torch.float64)
        self.register_buffer("references", references)

    balanced: torch.Tensor
    targets: torch.Tensor
    system_embedding: torch.Tensor
    references: torch.Tensor

    def _add_routing(self, c: ModelConfig) -> None:
        """Embeddings of the whole system, and the network that weights the experts."""
        routed = c.num_experts > 0
        self.composition_embedding = nn.Embedding(c.max_num_elements if routed else 0, c.channels)
        self.lowest_charge, self.lowest_spin = CHARGE_RANGE[0], SPIN_RANGE[0]
        self.charge_embedding = nn.Embedding(num_integers(CHARGE_RANGE), c.channels)
        self.spin_embedding = nn.Embedding(num_integers(SPIN_RANGE), c.channels)
        tasks = int(c.task_embedding)
        self.task_embedding = nn.Embedding(tasks, c.channels)
        self.system_mixing = nn.Linear((2 + tasks) * c.channels, c.channels)
        sizes = [2 * c.channels, 2 * c.num_experts, 2 * c.num_experts, c.num_experts]
        sizes = sizes if routed else []
        self.routing = nn.ModuleList([nn.Linear(size, after) for size, after in pairwise(sizes)])

    @torch.jit.export
    def merge(self, counts: torch.Tensor, charge: int, spin: int) -> None:
        """Fit the network to a system: mix the experts, set the charge to be shared out.

        Parameters
        ----------
        counts : (max_num_elements,) int64
            Atoms of the whole system per atomic number.
        charge, spin
            Total charge (e) and spin multiplicity of the system.
        """
        embedding = self._embed_system(charge, spin)
        self.system_embedding = embedding.to(self.atom_embedding.weight.dtype)
        routing = embedding
        if self.num_experts > 0:
            routing = self._route(counts.to(embedding.device), embedding)
        for layer in self.layers:
            layer.messages.merge(routing)
        targets = torch.full_like(self.balanced, spin - 1)
        targets[: self.charge_stop - self.charge_start] = charge
        self.targets = targets.double()

    def _embed_system(self, charge: int, spin: int) -> torch.Tensor:
        """Embedding of charge, spin and, where told apart, task, (C,), in float64."""
        parts = (
            self.charge_embedding.weight[charge - self.lowest_charge],
            self.spin_embedding.weight[spin - self.lowest_spin],
            self.task_embedding.weight.flatten(),  # empty where tasks are not told apart
        )
        weight, bias = self.system_mixing.weight.double(), self.system_mixing.bias.double()
        return nn.functional.silu(nn.functional.linear(torch.cat(parts).double(), weight, bias))

    def _route(self, counts: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Weights of the experts, (experts,), in float64 so that no rank differs by rounding."""
        atoms = counts.sum() + int(self.composition_counts_itself)
        composition = counts.double() @ self.composition_embedding.weight.double() / atoms
        x = torch.cat((composition, embedding))
        for module in self.routing:
            linear = nn.functional.linear(x, module.weight.double(), module.bias.double())
            x = nn.functional.silu(linear)
        return torch.softmax(x, dim=0) + 0.005

    @torch.jit.ignore
    def keep_merged_only(self) -> None:
        """Drop the experts after ``merge``; call ``merge`` again before any stage.

        The network then serves the composition, charge and spin of the first call alone.
        """
        self.num_experts = 0
        for module in self.modules():
            if isinstance(module, MixedLinear):
                module.experts = nn.Parameter(module.experts[:0].clone(), requires_grad=False)
            if isinstance(module, ComplexLinear):
                module.matrix = module.matrix[:0].clone()

    @torch.jit.export
    def edge_weights(self) -> list[torch.Tensor]:
        """What the kernels take of all edges: embeddings, Gaussians, the first message's network.

        The radial network's tensors are those of ``uma_md.nn.radial.RadialNetwork.weights``.
        """
        geometry = self.geometry
        embeddings = [geometry.sender.weight, geometry.receiver.weight, geometry.basis.centers]
        return embeddings + self.first_message.radial.weights()

    @torch.jit.export
    def message_weights(self, layer: int) -> list[torch.Tensor]:
        """What the kernels take for a layer's messages, after ``merge``.

        The radial network, then both convolutions; see their ``weights``.
        """
        out: list[torch.Tensor] = []
        for index, module in enumerate(self.layers):
            if index == layer:
                m = module.messages
                out = m.radial.weights() + m.first.weights() + m.second.weights()
        return out

    @torch.jit.export
    def node_weights(self, layer: int) -> list[torch.Tensor]:
        """What the kernels take for the norms and the update of a layer's nodes, after ``merge``.

        The tensors are those of ``uma_md.nn.layer.Layer.node_weights``; the first norm's bias holds
        the system's embedding.
        """
        out: list[torch.Tensor] = []
        for index, module in enumerate(self.layers):
            if index == layer:
                out = module.node_weights()
        out[1] = out[1] + self.system_embedding
        return out

    @torch.jit.export
    def readout_weights(self) -> list[torch.Tensor]:
        """What the kernels take for the readout: norm, maps in units of energy, references."""
        return [
            self.norm.weight,
            self.norm.bias,
            self.head[0].weight,
            self.head[0].bias,
            self.head[2].weight,
            self.head[2].bias,
            self.head[4].weight * self.rmsd,
            self.head[4].bias * self.rmsd,
            self.references,
        ]

    @torch.jit.export
    def embed(self, atomic_numbers: torch.Tensor) -> torch.Tensor:
        """First node features x (n, K, C), scalars only, from atomic numbers (n,)."""
        return self._as_scalars(self.atom_embedding(atomic_numbers) + self.system_embedding)

    def _as_scalars(self, channels: torch.Tensor) -> torch.Tensor:
        """Features (n, K, C) with these scalars (n, C), and zeros."""
        size = (self.lmax + 1) * (self.lmax + 1)
        return nn.functional.pad(channels.unsqueeze(1), (0, 0, 0, size - 1))

    @torch.jit.export
    def edge_embedding(
        self, vectors: torch.Tensor, sender_numbers: torch.Tensor, receiver_numbers: torch.Tensor
    ) -> torch.Tensor:
        """What each edge adds to its receiver's first features, (e, K, C).

        ``vectors`` (e, 3) in angstrom lead from receiver to sender; both arrays of
        atomic numbers are (e,).
        """
        rotations, envelope, invariants = self.geometry(vectors, sender_numbers, receiver_numbers)
        return self.first_message(rotations, envelope, invariants)

    @torch.jit.export
    def normalize(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        """Features h (n, K, C) that a layer sends, from node features x (n, K, C)."""
        h = x
        for index, module in enumerate(self.layers):
            if index == layer:
                h = module.message_norm(x)
        return h + self._as_scalars(self.system_embedding.unsqueeze(0))

    @torch.jit.export
    def messages(
        self,
        layer: int,
        h_senders: torch.Tensor,
        h_receivers: torch.Tensor,
        vectors: torch.Tensor,
        sender_numbers: torch.Tensor,
        receiver_numbers: torch.Tensor,
    ) -> torch.Tensor:
        """What each edge adds to its receiver in a layer, (e, K, C).

        ``h_senders`` and ``h_receivers`` (e, K, C) are the normalized features at both
        ends; the other arguments are those of ``edge_embedding``.
        """
        rotations, envelope, invariants = self.geometry(vectors, sender_numbers, receiver_numbers)
        out = h_senders
        for index, module in enumerate(self.layers):
            if index == layer:
                out = module.messages(h_senders, h_receivers, rotations, envelope, invariants)
        return out

    @torch.jit.export
    def update(self, layer: int, x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """Node features after a layer, from x before it and summed messages m, all (n, K, C)."""
        x = x + m
        out = x
        for index, module in enumerate(self.layers):
            if index == layer:
                out = x + module.node_update(module.node_norm(x))
        return out

    @torch.jit.export
    def channel_sums(
        self, x: torch.Tensor, systems: torch.Tensor, num_systems: int
    ) -> torch.Tensor:
        """Sums of the balanced channels over the given nodes, (systems, B), float64.

        ``systems`` (n,) says which system each node of x (n, K, C) belongs to.
        """
        channels = x[:, 0].index_select(1, self.balanced).double()
        if num_systems == 1:
            return channels.sum(dim=0, keepdim=True)
        sums = torch.zeros(
            (num_systems, self.num_balanced), dtype=channels.dtype, device=channels.device
        )
        return sums.index_add(0, systems, channels)

    @torch.jit.export
    def balance(
        self, x: torch.Tensor, sums: torch.Tensor, systems: torch.Tensor, natoms: torch.Tensor
    ) -> torch.Tensor:
        """Shift the balanced channels so that they sum to charge and spin, x (n, K, C).

        ``sums`` (systems, B) are totals over the whole systems of ``natoms`` (systems,) atoms.
        """
        excess = (sums - self.targets) / natoms.unsqueeze(1)
        shift = torch.zeros(
            (excess.shape[0], self.sphere_channels), dtype=x.dtype, device=x.device
        ).index_copy(1, self.balanced, excess.to(x.dtype))
        if shift.shape[0] > 1:
            shift = shift.index_select(0, systems)
        return x - self._as_scalars(shift)

    @torch.jit.export
    def readout(self, x: torch.Tensor, atomic_numbers: torch.Tensor) -> torch.Tensor:
        """Energy of each atom, eV, (n,) in float64, element references included."""
        network = self.head(self.norm(x)[:, 0]).squeeze(1).double()
        return self.rmsd * network + self.references.index_select(0, atomic_numbers)
