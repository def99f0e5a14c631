# SPDX-License-Identifier: MIT
"""Pairs of neighbors: those of a search by brute force, however far apart the atoms are."""

from itertools import product

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import fcc111, molecule

from uma_md.batching import build_graph
from uma_md.neighbors import Pairs, _grid, find_pairs
from uma_md.ranks.decomposition import Part, assign_owners
from uma_md.system import System

REACH = 5.0


def brute_force(positions, cell, pbc, reach) -> set[tuple[int, ...]]:
    """Receiver, sender and whole cells of all pairs, from all images that could be near."""
    repeats = np.asarray(cell, dtype=float)[pbc]
    heights = np.ones(3)
    wrapped, cells = np.array(positions, dtype=float), np.zeros((len(positions), 3))
    if pbc.any():
        inverse = np.linalg.pinv(repeats)
        heights[pbc] = 1 / np.linalg.norm(inverse, axis=0)
        cells[:, pbc] = np.floor(wrapped @ inverse)
        wrapped -= cells[:, pbc] @ repeats
    most = np.where(pbc, np.ceil(reach / heights) + 1, 0).astype(int)
    found = set()
    for shift in product(*(range(-n, n + 1) for n in most)):
        step = np.array(shift)[pbc] @ repeats
        distances = np.linalg.norm(wrapped[np.newaxis] + step - wrapped[:, np.newaxis], axis=2)
        for i, j in np.argwhere(distances < reach):
            if i != j or any(shift):
                found.add((i, j, *(np.array(shift) + cells[i] - cells[j]).astype(int)))
    return found


def listed(pairs: Pairs) -> set[tuple[int, ...]]:
    rows = np.column_stack((pairs.receivers, pairs.senders, pairs.shifts)).astype(int)
    found = set(map(tuple, rows.tolist()))
    assert len(found) == len(rows)
    assert (np.diff(pairs.receivers) >= 0).all()
    return found


def random_system(seed: int) -> System:
    """Clusters of atoms with images on top of others, in skewed cells of any size, some open."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(2.5), np.log(rng.choice([8, 60, 3000])), 3))
    cell = np.diag(sides) + rng.normal(scale=0.3, size=(3, 3)) * sides
    cell = rng.permutation(cell)
    pbc = rng.random(3) < rng.choice([0.3, 0.7])
    centers = rng.uniform(-3, 4, (rng.integers(1, 5), 3)) @ cell
    centers[0] *= rng.choice([1, 1, 1e4])
    natoms = rng.integers(1, 25)
    positions = centers[rng.integers(len(centers), size=natoms)]
    positions = positions + rng.normal(scale=rng.choice([0.5, 4.0]), size=(natoms, 3))
    return System(positions, cell, pbc, rng.integers(1, 20, natoms))


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_pairs_are_those_of_brute_force(first):
    for seed in range(first, first + 100):
        system = random_system(seed)
        geometry = system.positions, system.cell, system.pbc
        found = listed(find_pairs(*geometry, REACH))
        assert found == brute_force(*geometry, REACH), seed


def test_the_random_systems_have_what_is_hard():
    systems = [random_system(seed) for seed in range(400)]
    assert sum(0 < system.pbc.sum() < 3 for system in systems) > 100
    assert sum(np.ptp(system.positions, axis=0).max() > 1e5 for system in systems) > 20
    assert sum(np.linalg.det(system.cell) < 0 for system in systems) > 100


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_find_the_pairs_of_brute_force(ranks):
    """Their edges, seen from the atoms that each of them owns."""
    for seed in range(100):
        system = random_system(seed)
        owners = assign_owners(system, ranks, REACH)
        vectors = []
        for rank in range(ranks):
            part = Part([system], owners, rank, REACH, torch.device("cpu"))
            if len(part.owned):
                graph = part.graph(system.positions, system.cell[np.newaxis], REACH, 10**6)
                vectors.append(graph.vectors.numpy())
        geometry = system.positions, system.cell, system.pbc
        near = brute_force(*geometry, REACH)
        expected = [
            system.positions[j] - system.positions[i] + np.array(shift) @ system.cell
            for i, j, *shift in near
        ]
        found = np.linalg.norm(np.concatenate(vectors), axis=1)
        distances = np.linalg.norm(np.array(expected).reshape(-1, 3), axis=1)
        assert np.sort(found) == pytest.approx(np.sort(distances), abs=1e-6), seed


@pytest.mark.parametrize("vacuum", [10, 1e3, 1e4, 1e6])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, False, False)])
def test_vacuum_changes_nothing(vacuum, pbc):
    slab = fcc111("Cu", (3, 3, 4), vacuum=8.0, periodic=True)
    slab.pbc = pbc
    wide = slab.copy()
    wide.cell[2, 2] += vacuum
    assert listed(pairs_of(wide)) == listed(pairs_of(slab))


def pairs_of(atoms: Atoms) -> Pairs:
    return find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, 6.0)


@pytest.mark.parametrize("axes", [(0,), (0, 1), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("apart", [4.0, 5.5, 1e5])
def test_long_chains_and_thin_layers_are_searched(axes, apart):
    """Of boxes that are long and thin vesin 0.6 makes a grid without bins, and divides by zero."""
    positions = np.zeros((2000, 3))
    positions[:, axes] = apart / np.sqrt(len(axes)) * np.arange(2000)[:, np.newaxis]
    pairs = find_pairs(positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), REACH)
    assert len(pairs.senders) == (2 * 1999 if apart < REACH else 0)


def test_grids_without_bins_are_known():
    assert (_grid(np.array([1000.0, 1000.0, 1.0])) == 0).any()
    assert (_grid(np.array([1000.0, 1000.0, 1000.0])) > 40).all()
    assert _grid(np.array([0.5, 3.9, 7.0])).tolist() == [1, 3, 7]


def test_cell_vectors_along_open_directions_are_free():
    positions = np.random.default_rng(0).uniform(0, 9, (20, 3))
    pbc = np.array([True, True, False])
    expected = find_pairs(positions, np.diag([9.0, 8.0, 50.0]), pbc, REACH)
    for vector in ([0, 0, 0], [9.0, 0, 0], [1, 1, 1e-9]):
        cell = np.array([[9.0, 0, 0], [0, 8.0, 0], vector])
        assert listed(find_pairs(positions, cell, pbc, REACH)) == listed(expected)


@pytest.mark.parametrize("far", [600_000.0, 3e8])
def test_far_atoms_are_served_as_if_alone(far, calculators):
    calculator = calculators("tiny-1p2p1")
    atoms, others = molecule("H2O"), molecule("H2")
    both = atoms.copy()
    both.extend(others)
    both.positions[3:] += [0, 0, far]
    near = both.copy()
    near.positions[3:] -= [0, 0, far - 100]
    assert calculator.get_potential_energy(both) == pytest.approx(
        calculator.get_potential_energy(near), abs=1e-5
    )


@pytest.mark.parametrize("cells", [-(2**26), 3, 2**26])
def test_whole_cells_away_is_the_same_position(cells, calculators):
    calculator = calculators("tiny-1p2p1")
    atoms = molecule("H2O")
    atoms.cell, atoms.pbc = [8.0, 9.0, 7.0], (True, False, True)
    moved = atoms.copy()
    moved.positions[1] += cells * moved.cell[0]
    assert calculator.get_potential_energy(moved) == pytest.approx(
        calculator.get_potential_energy(atoms), abs=1e-4
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda a: a.positions.__setitem__((0, 0), 2.0**31 * 8), "positions"),
        (lambda a: a.positions.__setitem__((0, 1), -1e30), "positions"),
        (lambda a: a.set_cell([1e10, 9, 9]), "cell vectors"),
    ],
)
def test_what_float64_cannot_tell_apart_is_refused(change, what, calculators):
    atoms = molecule("H2O", cell=[8.0, 9.0, 7.0], pbc=True)
    change(atoms)
    with pytest.raises(ValueError, match=f"^{what} must be within 1e\\+09 angstrom.*, found"):
        calculators("tiny-1p2p1").get_potential_energy(atoms)


@pytest.mark.parametrize("side", [1e-12, 1e-3, 0.05])
@pytest.mark.parametrize("axes", [3, 2])
def test_atoms_without_room_are_refused_before_they_fill_the_memory(side, axes):
    cell = np.diag([side, side, side if axes == 3 else 9.0])
    system = System(np.zeros((1, 3)), cell, np.array([True, True, axes == 3]), np.array([1]))
    sentence = "atoms must have room, found more than 10000 neighbors of each, images included"
    with pytest.raises(ValueError, match=sentence):
        build_graph(*system, REACH, 300)
    with pytest.raises(ValueError, match=sentence):
        Part([system], np.zeros(1, dtype=int), 0, REACH, torch.device("cpu"))


def test_edges_of_a_graph_are_within_the_cutoff():
    system = random_system(3)
    graph = build_graph(*system, REACH, 10**6)
    geometry = system.positions, system.cell, system.pbc
    assert len(graph.senders) == len(brute_force(*geometry, REACH))
