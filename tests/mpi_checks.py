# SPDX-License-Identifier: MIT
"""What ranks compute together for ``test_mpi.py``."""

import socket
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from mpi4py import MPI
from mpi_cases import (
    atoms_of,
    bead_atoms,
    cases,
    few_cases,
    model,
    node_cases,
    properties,
    run_md,
)

from uma_md import UMACalculator
from uma_md.export import export
from uma_md.options import RunOptions
from uma_md.potential import Potential
from uma_md.ranks.agreement import Ranks
from uma_md.ranks.halo_exchange import MPIExchange, plan_halo
from uma_md.ranks.node_networks import load_together
from uma_md.ranks.placement import place
from uma_md.ranks.spatial import SpatialEvaluator
from uma_md.system import System

WORLD = MPI.COMM_WORLD


def same_everywhere(array: np.ndarray) -> bool:
    return len(set(WORLD.allgather(np.ascontiguousarray(array).tobytes()))) == 1


def results():
    """Every case, and whether all ranks got the same bits."""
    return results_of(cases())


def few_results():
    """As ``results`` of some cases."""
    return results_of(few_cases())


def node_results():
    """As ``results`` of those for two nodes."""
    return results_of(node_cases())


def results_of(cases):
    found, calculators, same = {}, {}, True
    for variant, dtype, spec in cases:
        if (variant, dtype) not in calculators:
            calculators[variant, dtype] = UMACalculator(
                model(variant), "omol", device="cpu", dtype=dtype, comm=WORLD
            )
        atoms = atoms_of(spec)
        atoms.calc = calculators[variant, dtype]
        found[variant, dtype, spec] = properties(atoms)
        same = same and all(map(same_everywhere, found[variant, dtype, spec].values()))
    return found, same


def differences():
    """Forces and stress, analytic and from finite differences of energies."""
    step, pairs = 1e-4, []
    calculator = UMACalculator(
        model("tiny-1p2p1"), "omol", dtype="float64", comm=WORLD, device="cpu"
    )
    atoms = atoms_of("water:8")
    atoms.calc = calculator
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)

    def energy(change, sign):
        moved = atoms.copy()
        change(moved, sign * step)
        return calculator.get_potential_energy(moved)

    def slope(change):
        return (energy(change, 1) - energy(change, -1)) / (2 * step)

    for atom, axis in ((0, 0), (7, 1), (12, 2), (23, 1)):

        def shift(moved, by, atom=atom, axis=axis):
            moved.positions[atom, axis] += by

        pairs.append((forces[atom, axis], -slope(shift)))
    for first, second in ((0, 0), (1, 2)):

        def strain(moved, by, first=first, second=second):
            epsilon = np.zeros((3, 3))
            epsilon[first, second] += by / 2
            epsilon[second, first] += by / 2
            moved.set_cell(moved.cell @ (np.eye(3) + epsilon), scale_atoms=True)

        pairs.append((stress[first, second], slope(strain) / atoms.get_volume()))
    return pairs


def dynamics():
    atoms = atoms_of("water:8")
    atoms.calc = UMACalculator(model("tiny-1p1"), "omol", dtype="float64", comm=WORLD, device="cpu")
    path = run_md(atoms)
    return path, same_everywhere(path)


def subgroups():
    """One group fails while the other computes; their sizes differ."""
    color = int(WORLD.rank > 0)
    comm = WORLD.Split(color)
    assert isinstance(comm, MPI.Intracomm)
    calculator = UMACalculator(
        model(("tiny-1p1", "tiny-m")[color]), "omol", dtype="float64", comm=comm, device="cpu"
    )
    atoms = atoms_of(("water:8", "shear")[color])
    atoms.calc = calculator
    if color == 0:
        Atoms("H2", calculator=calculator)  # two atoms at the same position
        failure = outcome(lambda: calculator.get_forces(Atoms("H2")))
    else:
        failure = None
    return WORLD.gather((color, failure, properties(atoms)))


def beads():
    """Three beads of different cells side by side: fresh, and moved within a skin."""
    ranks = Ranks(WORLD)
    with ranks.together():
        where = place(ranks, "cpu")
        options = RunOptions(dtype="float64")
        given = model("tiny-1p2p1"), "omol", options, where.device, where.sharers
        potential = load_together(ranks, lambda networks: Potential(*given, networks))
    systems = [System(a.positions, a.cell.array, a.pbc, a.numbers) for a in bead_atoms()]
    potential.merge(systems[0].atomic_numbers, 0, 1)
    spatial = SpatialEvaluator(ranks, potential)
    division = spatial.divide(systems, skin=1.0)
    moved = bead_atoms(moved=True)
    cells = np.stack([atoms.cell.array for atoms in moved])
    positions = np.concatenate([atoms.positions for atoms in moved])
    return spatial(systems), spatial.evaluate(division, positions, cells)


def exported_file(folder: Path):
    """An exported file, written by one rank; with fewer atoms than ranks, too."""
    path = folder / "exported.pt"
    ranks = Ranks(WORLD)
    with ranks.together():
        if WORLD.rank == 0:
            export(model("tiny-1p2p1"), path, "omol", dtype="float64")
    calculator = UMACalculator(path, device="cpu", comm=WORLD)
    found = {}
    for spec in ("water:8", "mol:OH@-1,1"):
        atoms = atoms_of(spec)
        atoms.calc = calculator
        found[spec] = properties(atoms)
    return found


def communicators():
    """More of them than an MPI library has, and what is none."""
    for _ in range(2200):  # MPICH has 2048
        Ranks(WORLD)
        comm = WORLD.Dup()
        Ranks(comm)
        comm.Free()
    return [outcome(lambda comm=comm: Ranks(comm)) for comm in (3, WORLD.Split(MPI.UNDEFINED))]


def outcome(work) -> tuple[str, str]:
    """Kind and text of the error that a call ends with."""
    try:
        work()
    except (Exception, KeyboardInterrupt) as failure:
        return type(failure).__name__, str(failure)
    return "none", ""


def placements():
    """Threads and memory shares of ranks that all run here."""
    torch.set_num_threads(64)
    ranks = Ranks(WORLD)
    with ranks.together():
        where = place(ranks, "auto")
    return WORLD.gather((where, torch.get_num_threads()))


def hosts():
    """Name of each rank's machine, how many ranks share its memory, and its number among them."""
    node = WORLD.Split_type(MPI.COMM_TYPE_SHARED)
    found = socket.gethostname(), node.size, node.rank
    node.Free()
    return WORLD.gather(found)


def quiet_exchanges():
    """What needs no message gives its argument; others leave it as it was."""
    none = np.zeros(0, dtype=np.int64)
    cpu = torch.device("cpu")
    rows, values = torch.rand(3, 4), torch.rand(1, 2)
    alone = Ranks(MPI.COMM_SELF)
    with alone.together():
        exchange = MPIExchange(alone, plan_halo(alone, 3, none, none), cpu)
        same = [exchange.start_forward(rows).wait() is rows, exchange.sum(values) is values]
        same.append(exchange.reverse(rows).data_ptr() == rows.data_ptr())
    ranks = Ranks(WORLD)
    with ranks.together():
        # Rank 0 needs a row of the last rank, and nobody one of rank 0.
        given = (np.array([WORLD.size - 1]), np.array([2])) if WORLD.rank == 0 else (none, none)
        exchange = MPIExchange(ranks, plan_halo(ranks, 3, *given), cpu)
        kept = rows.clone()
        out = exchange.start_forward(rows).wait()
        same.append((out is rows) == (WORLD.rank > 0))
        back = exchange.reverse(torch.ones_like(out))
        same.append(torch.equal(rows, kept) and back.shape == rows.shape)
        last = WORLD.rank == WORLD.size - 1
        same.append(back.sum(dim=1).tolist() == [4.0, 4.0, 8.0 if last else 4.0])
    return [all(parts) for parts in zip(*WORLD.allgather(same), strict=True)]
