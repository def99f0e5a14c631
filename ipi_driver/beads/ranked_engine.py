# SPDX-License-Identifier: MIT
"""An engine of many MPI ranks: beads over ranks, atoms over ranks, or both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from mpi4py import MPI

from ipi_driver.beads.engine import LocalEngine
from ipi_driver.beads.spatial_team import SpatialTeam
from ipi_driver.options import Options
from uma_md.committee import AnyPotential, Committee, Models, load_potential
from uma_md.files.metadata import Metadata
from uma_md.properties import Properties, from_rows, in_rows
from uma_md.ranks.agreement import Ranks, wait_for
from uma_md.ranks.node_networks import load_together
from uma_md.ranks.placement import place
from uma_md.ranks.spatial import SpatialEvaluator

WAKE = 1  # tag


class RankedEngine:
    """Evaluates on all ranks what rank 0 is asked for.

    Rank 0 calls the methods of an engine; the others are in ``follow`` until ``finish``. An
    error on one rank is raised on all. Ranks form teams of equal size; each team takes its
    share of the structures of a batch, and its ranks share the atoms of each.

    Parameters
    ----------
    comm
    model
        As for ``uma_md.loading.load_model``, or a list of models: a committee.
    template
        On rank 0.
    options
    ranks_per_bead
        Size of a team; 0 for as many teams as a batch has structures for.

    Raises
    ------
    ValueError
        When ranks cannot form such teams, or have no such device.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        model: Models,
        template: Atoms | None,
        options: Options,
        ranks_per_bead: int = 0,
    ) -> None:
        self._world = Ranks(comm)
        with self._world.together():
            atoms = self._world.broadcast(template)
            if ranks_per_bead < 0 or (ranks_per_bead and self._world.size % ranks_per_bead):
                raise ValueError(
                    f"ranks per bead must divide the number of ranks, found {ranks_per_bead} and "
                    f"{self._world.size} ranks"
                )
            placement = place(self._world, options.device)

            def loader(task: str | None) -> AnyPotential:
                chosen = model, task, options, placement.device, placement.sharers
                return load_together(self._world, lambda nets: load_potential(*chosen, nets))

        assert atoms is not None
        self._numbers, self._pbc = atoms.numbers, atoms.pbc
        self._device = placement.device
        self._ranks_per_bead = ranks_per_bead
        self._local = LocalEngine(loader, atoms.numbers, atoms.pbc, self._device, options.skin)
        self._groups: dict[int, Ranks] = {}  # by size
        self._teams: dict[int, SpatialTeam] = {}
        self._tasks: dict[str, Callable[..., Any]] = {
            "load": self._load,
            "merge": self._local.merge,
            "evaluate": self._evaluate,
            "finish": lambda: None,
        }

    @property
    def rank(self) -> int:
        """Number of this rank."""
        return self._world.rank

    @property
    def metadata(self) -> Metadata:
        """What the model says of itself."""
        return self._local.metadata

    @property
    def records(self) -> tuple[Metadata, ...]:
        """What each member of a committee says of itself, or the one model."""
        return self._local.records

    @property
    def hardware(self) -> str:
        """Ranks and kind of device."""
        return f"{self._world.size} ranks with {self._device.type}"

    @property
    def engine(self) -> str:
        """What computes messages, ``kernels`` or ``portable``."""
        return self._local.engine

    @property
    def precision(self) -> str:
        """What products of matrices are computed in, as the option says, or ``float64``."""
        return self._local.precision

    @property
    def built(self) -> int:
        """Neighbor lists that this rank took part in making."""
        return self._local.built + sum(team.built for team in self._teams.values())

    def load(self, task: str | None) -> None:
        """Load the network of a task on all ranks."""
        self._on_all("load", task)

    def merge(self, charge: int, spin: int) -> None:
        """Merge the experts on all ranks."""
        self._on_all("merge", charge, spin)

    def evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Properties:
        """Evaluate a batch on all ranks."""
        prediction: Properties = self._on_all("evaluate", cells, positions)
        return prediction

    def finish(self) -> None:
        """Let the other ranks return from ``follow``."""
        self._on_all("finish")

    def follow(self) -> None:
        """Do as rank 0 says, until it finishes."""
        name = ""
        while name != "finish":
            wait_for(self._world.comm, 0)
            self._world.comm.Recv(np.empty(0), 0, WAKE)
            command: tuple[Any, ...] | None = None
            with self._world.together():
                command = self._world.broadcast(command)
                assert command is not None
                name = command[0]
                self._tasks[name](*command[1:])

    def _on_all(self, *command: Any) -> Any:
        for rank in range(1, self._world.size):
            self._world.comm.Send(np.empty(0), rank, WAKE)
        with self._world.together():
            return self._tasks[command[0]](*self._world.broadcast(command)[1:])

    def _load(self, task: str | None) -> None:
        self._local.load(task)
        self._teams = {}

    def _evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Properties:
        size = self._ranks_per_bead or _team_size(self._world.size, len(positions))
        teams = self._world.size // size
        shares = np.array_split(np.arange(len(positions)), teams)
        mine = shares[self._world.rank // size]
        evaluate = self._local.evaluate if size == 1 else self._team(size).evaluate
        natoms = positions.shape[1]
        rows = np.empty((0, self._columns(natoms)))
        if len(mine):
            found = evaluate(cells[mine], positions[mine])
            if self._world.rank % size == 0:  # one rank of a team speaks for it
                rows = in_rows(found, len(mine))
        counts = np.zeros(self._world.size, dtype=np.int64)
        counts[::size] = [len(share) for share in shares]
        return from_rows(self._world.gather_rows(rows, counts), natoms)

    def _columns(self, natoms: int) -> int:
        """Numbers of a structure, those of a committee's members beside their mean."""
        potential = self._local.potential
        members = len(potential.members) if isinstance(potential, Committee) else 0
        return (members + 1) * (4 * natoms + 9)

    def _team(self, size: int) -> SpatialTeam:
        """The team of this rank among teams of a size; all ranks make theirs together."""
        if size not in self._groups:
            self._world.agree()
            comm = self._world.comm.Split(self._world.rank // size)
            assert isinstance(comm, MPI.Intracomm)
            self._groups[size] = Ranks(comm)
        if size not in self._teams:
            group, reach = self._groups[size], self._local.reach
            evaluator = SpatialEvaluator(group, self._local.potential)
            self._teams[size] = SpatialTeam(group, evaluator, self._numbers, self._pbc, reach)
        return self._teams[size]


def _team_size(ranks: int, structures: int) -> int:
    """The smallest team that leaves no more teams than structures."""
    sizes = (size for size in range(1, ranks + 1) if ranks % size == 0)
    return next(size for size in sizes if ranks // size <= structures)
