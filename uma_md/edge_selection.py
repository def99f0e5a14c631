# SPDX-License-Identifier: MIT
"""Which of the candidate pairs are edges: those within the cutoff."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch

from uma_md.candidates import Candidates
from uma_md.graph import Edges, Limits, check_edges
from uma_md.kernels import library

PASS = 1 << 21  # pairs that are looked at together, at 40 bytes each


class Selected(NamedTuple):
    """Edges, and what tells whether the model was made for them.

    Attributes
    ----------
    edges
    nearest : (parts,), angstrom**2
        Squared distances, the least of all edges among them.
    neighbors : (owned,) int64
        Edges of each receiver.
    """

    edges: Edges
    nearest: torch.Tensor
    neighbors: torch.Tensor


class EdgeSelector:
    """Selects the candidates within the cutoff: by the kernels on CPUs, else by torch.

    Both keep memory between calls, since new memory takes longer than the selection. Torch looks at
    many pairs in passes, so that it holds nothing of all of them but their points. It handles
    coordinates one axis after the other: on CPUs rows of three numbers take several times as long.
    """

    def __init__(self) -> None:
        self._memory = torch.empty((5, 0), dtype=torch.float64)
        self._kernels: Any = None

    def __call__(
        self,
        candidates: Candidates,
        positions: torch.Tensor,
        cells: torch.Tensor,
        atoms: torch.Tensor,
        limits: Limits,
        shells: int = -1,
    ) -> Edges:
        """Select the edges; waits for the device twice, and once more for each further pass.

        Parameters
        ----------
        candidates
        positions : (rows, 3), angstrom, float64
        cells : (systems, 3, 3), angstrom, float64
        atoms : (owned,)
            Number of each owned row's atom in its structure, for messages.
        limits
        shells
            How many of the candidates' shells may hold edges; all of them if negative.

        Raises
        ------
        ValueError
            When two atoms are at the same position, or an atom has too many neighbors.
        """
        points = candidates.points(positions, cells)
        if _has_kernels(points.device):
            selected = self._by_kernels(candidates, points, len(atoms), limits.cutoff, shells)
        else:
            selected = self._by_torch(candidates, points, len(atoms), limits.cutoff)
        if len(selected.edges.senders):
            check_edges(*selected, atoms, limits)
        return selected.edges

    def _by_kernels(
        self, candidates: Candidates, points: torch.Tensor, owned: int, cutoff: float, shells: int
    ) -> Selected:
        if self._kernels is None:
            self._kernels = torch.classes.uma_md.EdgeSelection()
        vectors, senders, receivers, *rest = self._kernels.select(
            candidates.receivers,
            candidates.senders,
            points,
            candidates.rows(),
            candidates.ranges(shells),
            owned,
            cutoff,
        )
        return Selected(Edges(vectors, senders, receivers), *rest)

    def _by_torch(
        self, candidates: Candidates, points: torch.Tensor, owned: int, cutoff: float
    ) -> Selected:
        axes = points.t().contiguous()
        found = [
            self._within(candidates, axes, slice(first, first + PASS), cutoff**2)
            for first in range(0, max(len(candidates.senders), 1), PASS)
        ]
        vectors, senders, receivers, nearest = (
            _joined(parts) for parts in zip(*found, strict=True)
        )
        if len(candidates.image_rows):
            senders = candidates.rows().index_select(0, senders)
        if points.device.type != "cpu":  # sums over atoms take 64-bit indices there
            senders, receivers = senders.long(), receivers.long()
        edges = Edges(vectors, senders, receivers)
        one = torch.ones(1, dtype=torch.int64, device=points.device)
        neighbors = torch.zeros(owned, dtype=torch.int64, device=points.device)
        neighbors.index_add_(0, edges.receivers, one.expand(len(edges.receivers)))
        return Selected(edges, nearest, neighbors)

    def _within(
        self, candidates: Candidates, axes: torch.Tensor, part: slice, square: float
    ) -> tuple[torch.Tensor, ...]:
        """Of some pairs those within a squared distance: vectors and both points; and the least."""
        senders, receivers = candidates.senders[part], candidates.receivers[part]
        *vectors, squares, other = self._room(len(senders), axes.device)
        squares.zero_()
        for along, coordinates in zip(vectors, axes, strict=True):
            torch.index_select(coordinates, 0, senders, out=along)
            torch.index_select(coordinates, 0, receivers, out=other)
            squares.addcmul_(along.sub_(other), along)
        near = _where(squares < square)
        near_vectors = torch.empty((len(near), 3), dtype=squares.dtype, device=squares.device)
        for axis, along in enumerate(vectors):
            near_vectors[:, axis] = along.index_select(0, near)
        nearest = squares.min().unsqueeze(0) if len(squares) else squares
        return near_vectors, senders.index_select(0, near), receivers.index_select(0, near), nearest

    def _room(self, pairs: int, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Five arrays of so many numbers."""
        if self._memory.shape[1] < pairs or self._memory.device != device:
            more = min(self._memory.shape[1] // 8, PASS)  # what grew once will grow again
            self._memory = torch.empty((5, 0))  # first free, then allocate
            self._memory = torch.empty((5, pairs + more), dtype=torch.float64, device=device)
        return self._memory[:, :pairs].unbind(0)


def _has_kernels(device: torch.device) -> bool:
    with suppress(OSError):  # what cannot be loaded ends those who ask for the kernels
        return device.type == "cpu" and library.load()
    return False


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def _where(mask: torch.Tensor) -> torch.Tensor:
    """Numbers of the true ones; NumPy finds them ten times as fast."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(1)
