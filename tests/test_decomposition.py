# SPDX-License-Identifier: MIT
"""Splitting atoms over ranks: all parts together are the whole graph, and each is small.

No MPI is needed: the part of any rank of any number of ranks can be made anywhere.
"""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from structures import structure, water_box

from uma_md.batching import build_graph
from uma_md.frame import Frame
from uma_md.ranks.decomposition import Part, assign_owners, bisect
from uma_md.ranks.neighbor_estimate import estimate_neighbors
from uma_md.system import System

CUTOFF, MOST = 6.0, 100_000
CPU = torch.device("cpu")


def as_system(atoms: Atoms) -> System:
    return System(atoms.positions, atoms.cell.complete().array, atoms.pbc, atoms.numbers)


def random_system(seed: int, atoms: int) -> System:
    """Atoms in and outside a tilted cell, smaller or larger than the cutoff."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3.0, 14.0, 3)) + rng.normal(scale=0.7, size=(3, 3))
    positions = rng.uniform(-2, 3, (atoms, 3)) @ cell
    return System(positions, cell, rng.random(3) < 0.6, rng.integers(1, 20, atoms))


def table(receivers, senders, vectors) -> np.ndarray:
    """Edges as sorted rows of receiver, sender and vector."""
    rows = np.column_stack((receivers, senders, vectors))
    return rows[np.lexsort(np.round(rows, 6).T[::-1])]


def edges_of_the_whole(system: System, first: int = 0) -> np.ndarray:
    graph = build_graph(*system, CUTOFF, MOST)
    return table(graph.receivers.numpy() + first, graph.senders.numpy() + first, graph.vectors)


def parts_of(systems: list[System], ranks: int, skin: float = 0.0) -> list[Part]:
    owners = np.concatenate([assign_owners(system, ranks, CUTOFF) for system in systems])
    return [Part(systems, owners, rank, CUTOFF + skin, CPU) for rank in range(ranks)]


def edges_of_parts(parts: list[Part], positions, cells) -> np.ndarray:
    found = []
    for part in parts:
        graph = part.graph(positions, cells, CUTOFF, MOST)
        atoms = np.concatenate((part.owned, part.remote))
        assert (graph.receivers < len(part.owned)).all()
        found.append(table(atoms[graph.receivers], atoms[graph.senders], graph.vectors))
    rows = np.concatenate(found)
    return table(rows[:, 0], rows[:, 1], rows[:, 2:])


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("seed", range(12))
def test_edges_of_all_ranks_are_those_of_the_whole(seed, ranks):
    system = random_system(seed, atoms=(1, 2, 7, 30)[seed % 4])
    parts = parts_of([system], ranks)
    found = edges_of_parts(parts, system.positions, system.cell[np.newaxis])
    assert found == pytest.approx(edges_of_the_whole(system), abs=1e-9)


@pytest.mark.parametrize("ranks", [2, 3, 7])
@pytest.mark.parametrize("spec", ["water:8", "slab", "shear", "far", "mol:CH3CH2OH@-1,2"])
def test_edges_of_all_ranks_are_those_of_the_whole_structure(spec, ranks):
    system = as_system(structure(spec))
    found = edges_of_parts(parts_of([system], ranks), system.positions, system.cell[np.newaxis])
    assert found == pytest.approx(edges_of_the_whole(system), abs=1e-9)


def test_open_directions_need_no_valid_cell_vectors():
    """Their vectors are free, and may even lie along those that repeat."""
    chain = random_system(3, 20)._replace(pbc=np.array([False, True, False]))
    straight = chain._replace(cell=np.diag([40.0, 0.0, 40.0]) + np.outer([0, 1, 0], chain.cell[1]))
    degenerate = chain._replace(cell=np.tile(chain.cell[1], (3, 1)))
    found = edges_of_parts(parts_of([degenerate], 3), chain.positions, degenerate.cell[np.newaxis])
    assert found == pytest.approx(edges_of_the_whole(straight), abs=1e-9)


def test_every_remote_row_is_found_at_its_owner_and_once():
    systems = [random_system(seed, 30) for seed in (3, 7)]
    parts = parts_of(systems, 4)
    assert sum(len(part.remote) for part in parts) > 30
    for rank, part in enumerate(parts):
        assert (np.diff(part.remote_ranks) >= 0).all()
        assert len(np.unique(part.remote)) == len(part.remote)
        for atom, owner, row in zip(part.remote, part.remote_ranks, part.remote_rows, strict=True):
            assert owner != rank
            assert parts[owner].owned[row] == atom


def test_several_systems_lie_side_by_side():
    systems = [random_system(seed, 30) for seed in (3, 7, 11)]
    positions = np.concatenate([system.positions for system in systems])
    cells = np.stack([system.cell for system in systems])
    parts = parts_of(systems, 4)
    edges = [edges_of_the_whole(system, 30 * n) for n, system in enumerate(systems)]
    whole = np.concatenate(edges)
    whole = table(whole[:, 0], whole[:, 1], whole[:, 2:])
    assert edges_of_parts(parts, positions, cells) == pytest.approx(whole, abs=1e-9)
    for part in parts:
        graph = part.graph(positions, cells, CUTOFF, MOST)
        atoms = np.concatenate((part.owned, part.remote))
        numbers = np.concatenate([system.atomic_numbers for system in systems])
        assert (graph.atomic_numbers.numpy() == numbers[atoms]).all()
        assert (graph.systems.numpy() == part.owned // 30).all()
        assert graph.natoms.tolist() == [30, 30, 30]


def test_with_a_skin_a_part_serves_moved_atoms_and_a_strained_cell():
    system = random_system(7, 30)
    parts = parts_of([system], 3, skin=1.5)
    rng = np.random.default_rng(0)
    strain = np.eye(3) + rng.normal(scale=0.003, size=(3, 3))
    moved = system._replace(
        positions=system.positions @ strain + rng.uniform(-0.2, 0.2, system.positions.shape),
        cell=system.cell @ strain,
    )
    found = edges_of_parts(parts, moved.positions, moved.cell[np.newaxis])
    assert found == pytest.approx(edges_of_the_whole(moved), abs=1e-9)
    assert found.shape != edges_of_the_whole(system).shape


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 16, 61, 100])
def test_no_rank_is_without_atoms_where_there_are_enough(ranks):
    for seed, spread in ((7, 1.0), (8, 1.0), (9, 30.0)):
        system = random_system(seed, 60)
        system = system._replace(positions=system.positions * spread)
        counts = np.bincount(assign_owners(system, ranks, CUTOFF), minlength=ranks)
        assert counts.sum() == 60
        assert ranks > 60 or counts.min() > 0


def crystal_in_vacuum(name: str) -> Atoms:
    """Structures whose surfaces have fewer edges than their inside."""
    if name == "slab":
        return fcc111("Cu", (16, 16, 5), vacuum=12.0, periodic=True)
    if name == "nanoparticle":
        block = bulk("Cu", cubic=True) * (12, 12, 12)
        away = block.positions - block.positions.mean(axis=0)
        particle = block[np.linalg.norm(away, axis=1) < 21.0]
        particle.pbc = False
        return particle
    both = fcc111("Cu", (14, 14, 6), vacuum=11.0, periodic=True)  # dense below, dilute above
    gas = water_box(64)
    both.extend(Atoms(gas.numbers, gas.positions + [0, 0, both.positions[:, 2].max() + 3]))
    both.cell[2, 2] += 12.0
    return both


@pytest.mark.parametrize("ranks", [2, 4, 6, 8])
@pytest.mark.parametrize("name", ["slab", "nanoparticle", "interface"])
def test_ranks_own_as_many_edges_as_each_other(name, ranks):
    """Within 10% of even; as many atoms each would be further off where densities differ."""
    system = as_system(crystal_in_vacuum(name))
    edges = np.bincount(edges_of_the_whole(system)[:, 0].astype(int))
    owners = assign_owners(system, ranks, CUTOFF)
    assert off_even(edges, owners, ranks) < 0.1
    if name == "interface":
        frame = Frame(system.cell, system.pbc)
        points = frame.wrap(system.positions)[0] * frame.heights
        by_atoms = bisect(points, np.ones(len(points), dtype=np.int64), ranks)
        assert off_even(edges, by_atoms, ranks) > off_even(edges, owners, ranks)


def off_even(edges: np.ndarray, owners: np.ndarray, ranks: int) -> float:
    """How far the rank that is farthest off has more or less than the mean, as a part of it."""
    sums = np.bincount(owners, weights=edges, minlength=ranks)
    return float(np.abs(sums / sums.mean() - 1).max())


@pytest.mark.parametrize("spec", ["water:32", "cu:3", "slab", "shear", "mol:CH3CH2OH@-1,2"])
def test_estimated_neighbors_are_about_those_that_are_there(spec):
    system = as_system(structure(spec))
    frame = Frame(system.cell, system.pbc)
    estimated = estimate_neighbors(frame.wrap(system.positions)[0], frame, CUTOFF)
    there = np.bincount(edges_of_the_whole(system)[:, 0].astype(int), minlength=len(estimated))
    assert estimated.sum() == pytest.approx(there.sum(), rel=0.25)
    assert np.sqrt(np.mean((estimated - there) ** 2)) < 0.25 * max(there.mean(), 8)


def test_estimates_of_a_repeated_cell_are_those_of_the_cell():
    """As many bins in each half: the decomposition of a half is a half of the decomposition."""
    atoms = structure("water:32")
    once, twice = (as_system(atoms * (n, 1, 1)) for n in (2, 4))
    found = []
    for system in (once, twice):
        frame = Frame(system.cell, system.pbc)
        found.append(estimate_neighbors(frame.wrap(system.positions)[0], frame, CUTOFF))
    assert (found[1] == np.tile(found[0], 2)).all()


def test_cuts_are_across_the_longest_side():
    bar = as_system(bulk("Cu", cubic=True) * (16, 2, 2))
    owners = assign_owners(bar, 4, CUTOFF)
    x = bar.positions[:, 0]
    assert all(np.ptp(x[owners == rank]) <= 3.61 * 4 for rank in range(4))


def test_what_a_rank_holds_grows_with_its_own_atoms_only():
    """Twice the bar and twice the ranks: as many rows and edges per rank."""
    sizes = []
    for ranks, length in ((8, 32), (16, 64)):
        bar = as_system(bulk("Cu", cubic=True) * (length, 2, 2))
        part = Part([bar], assign_owners(bar, ranks, CUTOFF), 3, CUTOFF, CPU)
        graph = part.graph(bar.positions, bar.cell[np.newaxis], CUTOFF, MOST)
        sizes.append((len(part.owned), len(part.remote), len(graph.senders)))
    assert sizes[0] == sizes[1]
    assert sizes[0][1] <= 2 * 4 * 16  # two cutoffs, as unit cells of 16 atoms, at both ends


def test_atoms_at_the_same_position_and_too_many_neighbors_are_named():
    systems = [random_system(seed, 30) for seed in (3, 7)]
    systems[1].positions[11] = systems[1].positions[4]
    positions = np.concatenate([system.positions for system in systems])
    cells = np.stack([system.cell for system in systems])
    owners = np.concatenate([assign_owners(system, 3, CUTOFF) for system in systems])
    part = parts_of(systems, 3)[owners[30 + 4]]
    with pytest.raises(ValueError, match=r"found two at the same position: atom (4|11)$"):
        part.graph(positions, cells, CUTOFF, MOST)
    with pytest.raises(ValueError, match=r"at most 2 neighbors within 6.0 angstrom.*, found \d+"):
        parts_of(systems[:1], 1)[0].graph(positions[:30], cells[:1], CUTOFF, 2)
