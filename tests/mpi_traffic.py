# SPDX-License-Identifier: MIT
"""What ranks send each other, for ``test_traffic.py``: counted by the exchange and around MPI."""

import numpy as np
from ase import Atoms
from ase.build import fcc111
from mpi4py import MPI
from mpi_cases import atoms_of, model
from structures import water_box

from uma_md import UMACalculator
from uma_md.commands.scaling.rates import shape_of
from uma_md.committee import members_of
from uma_md.options import RunOptions
from uma_md.potential import Potential
from uma_md.ranks.agreement import Ranks
from uma_md.ranks.node_networks import load_together
from uma_md.ranks.placement import place
from uma_md.ranks.spatial import SpatialEvaluator
from uma_md.ranks.traffic import load_of
from uma_md.system import System

WORLD = MPI.COMM_WORLD
SKIN = 0.7


class CountingComm(MPI.Intracomm):
    """A communicator that notes what passes through it: call, partner, bytes, kind of numbers."""

    def Isend(self, buf, dest, tag=0):
        self.note("Isend", dest, buf)
        return super().Isend(buf, dest, tag)

    def Irecv(self, buf, source=MPI.ANY_SOURCE, tag=MPI.ANY_TAG):
        self.note("Irecv", source, buf)
        return super().Irecv(buf, source, tag)

    def Allreduce(self, sendbuf, recvbuf, op=MPI.SUM):
        self.note("Allreduce", None, recvbuf)
        return super().Allreduce(sendbuf, recvbuf, op)

    def Allgatherv(self, sendbuf, recvbuf):
        self.note("Allgatherv", None, sendbuf)
        return super().Allgatherv(sendbuf, recvbuf)

    def Allgather(self, sendbuf, recvbuf):
        self.note("Allgather", None, sendbuf)
        return super().Allgather(sendbuf, recvbuf)

    def Alltoall(self, sendbuf, recvbuf):
        self.note("Alltoall", None, sendbuf)
        return super().Alltoall(sendbuf, recvbuf)

    def bcast(self, obj, root=0):
        self.note("bcast", None, np.empty(0))
        return super().bcast(obj, root)

    def allgather(self, sendobj):
        self.note("allgather", None, np.empty(0))
        return super().allgather(sendobj)

    def Split_type(self, *arguments):
        self.note("Split_type", None, np.empty(0))
        return super().Split_type(*arguments)

    def note(self, call, partner, buffer):
        if not hasattr(self, "notes"):
            self.notes = []
        self.notes.append((call, partner, buffer.nbytes, str(buffer.dtype)))


def counted(ranks: Ranks) -> CountingComm:
    """Put a counting communicator in the place of the ranks' own."""
    ranks.comm = CountingComm(ranks.comm)
    ranks.comm.notes = []
    return ranks.comm


def cases() -> dict[str, Atoms]:
    """Structures in which ranks have many neighbors, few, none, or no atoms."""
    return {
        "water": water_box(48),
        "slab": fcc111("Cu", (9, 4, 2), vacuum=9.0, periodic=True),
        "interface": fcc111("Cu", (4, 4, 3), periodic=True) + water_box(24),
        "skewed": atoms_of("cutri:4"),
        "far": atoms_of("far"),
        "small": atoms_of("mol:OH@-1,1"),
    }


def loaded(ranks: Ranks, variant: str, dtype: str) -> Potential:
    """A model on all ranks."""
    with ranks.together():
        where = place(ranks, "cpu")
        what = model(variant), "omol", RunOptions(dtype=dtype), where.device, where.sharers
        return load_together(ranks, lambda networks: Potential(*what, networks))


def exchanges():
    """Counters of two evaluations of each structure, beside those foretold and those seen."""
    ranks, found = Ranks(WORLD), {}
    for variant, dtype in (("tiny-1p2p1", "float32"), ("tiny-1p1", "float64")):
        potential = loaded(ranks, variant, dtype)
        for name, atoms in cases().items():
            system = System(atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)
            potential.merge(atoms.numbers, 0, 1)
            evaluator = SpatialEvaluator(ranks, potential)
            division = evaluator.divide([system], SKIN)
            kept = ranks.comm
            comm = counted(ranks)
            for _ in range(2):
                evaluator.evaluate(division, system.positions, system.cell[np.newaxis])
            ranks.comm = kept
            load = load_of(system, division.owners, WORLD.rank, potential.metadata.cutoff, SKIN)
            one = load.traffic(shape_of(potential), WORLD.size)
            graph = division.part.graph(
                system.positions, system.cell[np.newaxis], potential.metadata.cutoff, 100_000
            )
            edges = (len(graph.senders), int((graph.senders < load.atoms).sum()))
            found[variant, name] = WORLD.allgather(
                (division.exchange.traffic, one + one, load, edges, comm.notes)
            )
    return found


def collectives():
    """What passes through the communicator when a calculator follows a trajectory."""
    found = {}
    for variant in ("tiny-1p1", "tiny-1p2p1"):
        calculator = UMACalculator(model(variant), "omol", comm=WORLD, device="cpu")
        atoms = atoms_of("water:32")
        atoms.calc = calculator
        assert calculator._ranks is not None
        comm = counted(calculator._ranks)
        steps = []
        for seed in range(3):
            comm.notes.clear()
            atoms.rattle(0.01, seed=seed)
            atoms.get_forces()
            steps.append([note for note in comm.notes if note[0] not in ("Isend", "Irecv")])
        layers = calculator.metadata.num_layers
        balanced = members_of(calculator._potential)[0].network.num_balanced
        assert calculator._spatial is not None
        assert calculator._spatial._kept is not None
        owned = len(calculator._spatial._kept[2].part.owned)
        found[variant] = WORLD.allgather((layers, balanced, owned, steps))
    return found
