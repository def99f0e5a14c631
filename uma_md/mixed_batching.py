# SPDX-License-Identifier: MIT
"""Structures of different atoms and cells side by side, as the graph of one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from uma_md.candidates import Candidates, side_by_side
from uma_md.edge_selection import EdgeSelector
from uma_md.graph import Graph, Limits
from uma_md.neighbors import PairStore, Reach
from uma_md.system import System

SKIN = 0.5  # angstrom: pairs are found once for structures that differ by less
LISTS = 2  # that are kept
MOST_COMPLETE = 32  # atoms of a molecule all of whose pairs are candidates

HOST = torch.device("cpu")


class Member(NamedTuple):
    """A structure with the pairs that may become its edges.

    Attributes
    ----------
    system
    candidates
        On the host.
    positions : (atoms, 3), angstrom
        Moved by whole cells so that the pairs hold.
    """

    system: System
    candidates: Candidates
    positions: np.ndarray

    @property
    def pairs(self) -> int:
        """Number of candidates."""
        return len(self.candidates.senders)


class MixedBatcher:
    """Makes graphs of structures whose atoms, cells and periodic directions differ.

    Parameters
    ----------
    limits
    device
        Where edges are computed.
    """

    def __init__(self, limits: Limits, device: torch.device) -> None:
        self._limits = limits
        self._device = device
        self._select = EdgeSelector()
        self._complete: dict[int, Candidates] = {}  # by number of atoms
        self._store_for: tuple[int, bytes] | None = None

    def member(self, system: System) -> Member:
        """Find the pairs of a structure.

        Raises
        ------
        ValueError
            When atoms are so dense that the pairs would fill the memory.
        """
        natoms = len(system.atomic_numbers)
        if natoms <= MOST_COMPLETE and not system.pbc.any():
            if natoms not in self._complete:
                self._complete[natoms] = _all_pairs(natoms)
            return Member(system, self._complete[natoms], system.positions)
        kind = natoms, system.pbc.tobytes()
        if self._store_for != kind:
            reach = Reach(self._limits.cutoff, SKIN)
            self._store = PairStore(system.pbc, reach, HOST, most_lists=LISTS)
            self._store_for = kind
        pairs, aligned = self._store.find(system.positions, system.cell)
        return Member(system, pairs.candidates, aligned.positions)

    def graph(self, members: Sequence[Member]) -> Graph:
        """The graph of a batch, vectors in float64.

        Raises
        ------
        ValueError
            When two atoms are at the same position, or an atom has too many neighbors.
        """
        natoms = np.array([len(member.positions) for member in members])
        candidates = side_by_side([member.candidates for member in members])
        first = np.cumsum(natoms) - natoms
        edges = self._select(
            candidates.to(self._device),
            self._tensor(np.concatenate([member.positions for member in members])),
            self._tensor(np.stack([member.system.cell for member in members])),
            self._tensor(np.arange(natoms.sum()) - np.repeat(first, natoms)),
            self._limits,
        )
        numbers = np.concatenate([member.system.atomic_numbers for member in members])
        return Graph(
            *edges,
            atomic_numbers=self._tensor(numbers.astype(np.int64)),
            systems=self._tensor(np.repeat(np.arange(len(members)), natoms)),
            natoms=self._tensor(natoms),
        )

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def _all_pairs(natoms: int) -> Candidates:
    """All directed pairs of different atoms of a molecule."""
    receivers, senders = np.nonzero(~np.eye(natoms, dtype=bool))
    none = torch.zeros(0, dtype=torch.int64)
    return Candidates(
        torch.from_numpy(receivers.astype(np.int32)),
        torch.from_numpy(senders.astype(np.int32)),
        natoms,
        none,
        torch.zeros((0, 3), dtype=torch.float64),
        none,
    )
