# SPDX-License-Identifier: MIT
"""Pairs that are kept while atoms move give the edges of a search made anew."""

import numpy as np
import pytest
import torch
from ase.build import fcc111
from conftest import checkpoint
from structures import structure

from uma_md import UMACalculator, edge_selection, neighbors
from uma_md.batching import Batcher, Follower, build_graph
from uma_md.candidates import candidates_of, side_by_side
from uma_md.edge_selection import EdgeSelector
from uma_md.graph import Graph, Limits
from uma_md.kernels import library
from uma_md.neighbors import PairList, PairStore, Reach, find_once, find_pairs
from uma_md.system import System

CPU = torch.device("cpu")
LIMITS = Limits(4.0, 300)


def system_of(atoms) -> System:
    return System(atoms.positions.copy(), atoms.cell.array.copy(), atoms.pbc, atoms.numbers)


def listed(graph: Graph) -> list[tuple[float, ...]]:
    """Receiver, sender and vector of each edge, in an order of their own."""
    vectors = graph.vectors.numpy().round(9) + 0.0
    ends = np.column_stack((graph.receivers.numpy(), graph.senders.numpy()))
    return sorted(map(tuple, np.column_stack((ends, vectors)).tolist()))


@pytest.fixture(params=["kernels", "torch"], autouse=True)
def selecting(request, monkeypatch):
    """By what edges are selected."""
    if request.param == "torch":
        monkeypatch.setattr(edge_selection, "_has_kernels", lambda device: False)
    elif not library.load():
        pytest.skip("the kernels are not compiled")
    return request.param


@pytest.fixture
def searches(monkeypatch):
    """Counts the searches for pairs."""
    made: list[int] = []

    def search(*arguments):
        made.append(1)
        return find_once(*arguments)

    monkeypatch.setattr(neighbors, "find_once", search)
    return made


@pytest.mark.parametrize("name", ["water:8", "shear", "slab", "mol:CH3CH2OH", "lattice"])
def test_edges_are_those_of_a_new_search(name, searches):
    atoms = fcc111("Cu", (1, 1, 1), a=3.6, vacuum=4) if name == "lattice" else structure(name)
    follower, rng = Follower(LIMITS, CPU, skin=1.0), np.random.default_rng(0)
    first = None
    for step in range(12):
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        atoms.positions += rng.integers(-2, 3, (len(atoms), 3)) @ (
            atoms.cell.array * atoms.pbc[:, np.newaxis]
        )
        if step % 4 == 3:
            atoms.set_cell(atoms.cell.array * 1.002, scale_atoms=True)
        before = len(searches)
        found = follower.graph(system_of(atoms))
        first = len(searches) - before if first is None else first
        assert listed(found) == listed(build_graph(*system_of(atoms), *LIMITS))
        assert (found.receivers.diff() >= 0).all()
    assert first == 1
    assert len(searches) <= 12 + 4  # those of build_graph, and few of the follower


def test_pairs_serve_until_an_atom_has_moved_half_the_skin(searches):
    atoms = structure("water:8")
    follower = Follower(LIMITS, CPU, skin=1.0)
    moves = np.zeros((len(atoms), 3))
    moves[:2, 0] = 1, -1  # no drift: that is not counted
    for way, expected in ((0.0, 1), (0.3, 1), (0.49, 1), (0.51, 2), (0.6, 2)):
        moved = atoms.copy()
        moved.positions += way * moves
        follower.graph(system_of(moved))
        assert len(searches) == expected, way


@pytest.mark.parametrize("change", ["strain", "atoms", "pbc"])
def test_other_systems_are_searched_anew(change, searches):
    atoms = structure("water:8")
    follower = Follower(LIMITS, CPU, skin=1.0)
    follower.graph(system_of(atoms))
    if change == "strain":
        atoms.set_cell(atoms.cell.array * 0.79, scale_atoms=True)
    elif change == "atoms":
        atoms.numbers[0] = 7
    else:
        atoms.pbc = (True, True, False)
    found = follower.graph(system_of(atoms))
    assert len(searches) == 2
    assert listed(found) == listed(build_graph(*system_of(atoms), *LIMITS))


def test_the_calculator_searches_once_while_atoms_move_little(searches):
    atoms = structure("water:8")
    atoms.calc = UMACalculator(checkpoint("tiny-1p2p1"), "omol", device="cpu", dtype="float64")
    other = UMACalculator(checkpoint("tiny-1p2p1"), "omol", device="cpu", dtype="float64")
    for seed in range(5):
        atoms.rattle(0.02, seed=seed)
        forces = atoms.get_forces()
        assert len(searches) == 1
    anew = atoms.copy()
    anew.calc = other
    assert forces == pytest.approx(anew.get_forces(), abs=1e-11)
    assert atoms.get_potential_energy() == pytest.approx(anew.get_potential_energy(), abs=1e-11)


def test_few_structures_are_kept(searches):
    atoms = structure("mol:H2O")
    follower = Follower(LIMITS, CPU, skin=1.0)
    for _ in range(60):
        atoms.positions[1] += 0.8
        follower.graph(system_of(atoms))
    assert len(searches) == 60
    assert len(follower._batcher._store._lists) == 32


def test_structures_side_by_side_have_images_of_their_own():
    rng = np.random.default_rng(1)
    systems = []
    for seed in range(3):
        atoms = structure("water:8")
        atoms.rattle(0.05, seed=seed)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))))
        systems.append(system_of(atoms))
    store = PairStore(np.ones(3, dtype=bool), Reach(LIMITS.cutoff, 0.5), CPU)
    batcher = Batcher(systems[0].atomic_numbers, store, *LIMITS, CPU)
    cells, positions = (np.array([s[k] for s in systems]) for k in (1, 0))
    for _ in range(2):
        graph = batcher.graph(cells, positions)
        expected: list[tuple[float, ...]] = []
        for number, system in enumerate(systems):
            first = number * len(system.positions)
            edges = listed(build_graph(*system, *LIMITS))
            expected += [(i + first, j + first, *vector) for i, j, *vector in edges]
        assert listed(graph) == sorted(expected)
        positions = positions + rng.normal(scale=0.02, size=positions.shape)
        systems = [s._replace(positions=x) for s, x in zip(systems, positions, strict=True)]


def test_an_image_is_one_point_however_many_pairs_it_is_in():
    system = system_of(structure("water:8"))
    pairs = find_pairs(*system[:3], 5.0)
    kept = candidates_of(len(system.positions), *pairs, None, CPU)
    images = set(map(tuple, np.column_stack((pairs.senders, pairs.shifts))[pairs.shifts.any(1)]))
    assert len(kept.image_rows) == len(images) < len(pairs.senders) / 2
    assert kept.senders.dtype == torch.int32
    both = side_by_side([kept, kept])
    assert len(both.image_rows) == 2 * len(images)
    assert int(both.senders.max()) < 2 * (len(system.positions) + len(images))


@pytest.mark.parametrize("skin", [0.0, 1.0])
def test_shells_hold_the_pairs_by_their_distance(skin):
    """Those beyond a reach are left out; without a skin none is."""
    system = system_of(structure("water:8"))
    pairs = PairList(*system[:3], Reach(4.0, skin), CPU)
    points = pairs.candidates.points(
        torch.from_numpy(system.positions), torch.from_numpy(system.cell[None])
    )
    receivers, senders = pairs.candidates.receivers.long(), pairs.candidates.senders.long()
    distances = torch.linalg.vector_norm(points[senders] - points[receivers], dim=1)
    assert (receivers.diff() >= 0).all()
    before = 0
    for reach in (4.0, 4.3, 4.6, 4.9):
        ranges = pairs.candidates.ranges(pairs.shells(reach))
        assert ranges is not None
        looked_at = torch.cat([torch.arange(first, end) for first, end in ranges.tolist()])
        assert (receivers[looked_at].diff() >= 0).all()
        within = torch.zeros_like(distances, dtype=torch.bool)
        within[looked_at] = True
        assert within[distances < reach].all()
        assert skin == 0 or not within[distances > reach + skin / 4].any()
        assert len(looked_at) > before or skin == 0
        before = len(looked_at)
    assert before == len(pairs)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("cutoff", [0.5, 1.2, 6.0])
@pytest.mark.parametrize("shells", [0, 2, 5])
@pytest.mark.parametrize("selecting", ["kernels"], indirect=True)
def test_kernels_select_what_torch_selects(threads, cutoff, shells, monkeypatch):
    """Threads share the pairs of a receiver; within the least cutoff there is no edge.

    Pairs are in 5 shells, or in none.
    """
    water = structure("water:216")
    geometry = water.positions, water.cell.array, water.pbc
    if shells:
        kept = PairList(*geometry, Reach(6.0, 1.0), CPU).candidates
    else:
        kept = candidates_of(len(water), *find_pairs(*geometry, 7.0), None, CPU)
    assert len(kept.senders) > 2 * 2**14  # pairs for two threads at least
    points, cells = torch.from_numpy(water.positions), torch.from_numpy(water.cell.array[None])
    atoms = torch.arange(len(water))
    before, select = torch.get_num_threads(), EdgeSelector()
    torch.set_num_threads(threads)
    try:
        for other in (1.2, 6.0, 1.2, cutoff):  # more and fewer edges than there is memory for
            ours = select(kept, points, cells, atoms, Limits(other, 300), shells or -1)
            wide = kept.points(points, cells), len(water), other
            raw = select._by_kernels(kept, *wide, shells or -1)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr(edge_selection, "_has_kernels", lambda device: False)
    reference = EdgeSelector()(kept, points, cells, atoms, Limits(cutoff, 300))
    assert torch.equal(raw.neighbors, EdgeSelector()._by_torch(kept, *wide).neighbors)
    squares = raw.edges.vectors.square().sum(1)
    assert not len(squares) or raw.nearest.min().item() == pytest.approx(squares.min().item())
    assert len(reference.senders) == {0.5: 0, 1.2: 864, 6.0: len(reference.senders)}[cutoff]
    assert torch.equal(ours.senders, reference.senders)
    assert torch.equal(ours.receivers, reference.receivers)
    assert torch.equal(ours.vectors, reference.vectors)


@pytest.mark.parametrize("selecting", ["kernels"], indirect=True)
def test_memory_of_edges_serves_again_when_nobody_holds_them():
    system = system_of(structure("water:64"))
    follower = Follower(LIMITS, CPU, skin=1.0)
    held = follower.graph(system)
    vectors, place = held.vectors.clone(), held.vectors.data_ptr()
    system.positions[0] += 0.01
    others: list[torch.Tensor] = []

    def place_of(name: str) -> int:
        graph = follower.graph(system)
        found = getattr(graph, name).data_ptr()
        size = getattr(graph, name).nbytes
        del graph
        others.extend(torch.empty(size, dtype=torch.uint8) for _ in range(3))  # takes what is free
        return found

    places = {place_of("vectors") for _ in range(5)}
    assert place not in places
    assert len(places) == 1
    assert torch.equal(held.vectors, vectors)
    ends = held.senders
    del held
    places = {place_of("senders") for _ in range(5)}
    assert ends.data_ptr() not in places
    assert len(places) == 1


@pytest.mark.parametrize("selecting", ["kernels"], indirect=True)
def test_memory_of_edges_serves_outside_of_inference_mode():
    system, follower = system_of(structure("water:8")), Follower(LIMITS, CPU, skin=1.0)
    with torch.inference_mode():
        follower.graph(system)
    assert not follower.graph(system).vectors.is_inference()


def test_atoms_have_as_many_neighbors_as_they_may():
    system = system_of(structure("water:64"))
    most = int(torch.bincount(build_graph(*system, *LIMITS).receivers).max())
    build_graph(*system, 4.0, most)
    with pytest.raises(ValueError, match=f"found {most}: check the density"):
        build_graph(*system, 4.0, most - 1)


@pytest.mark.parametrize("size", [1, 1000, 10**9])
def test_passes_over_pairs_give_the_same_edges_in_the_same_order(size, monkeypatch):
    """Also where a pass has no edge, and where the closest pair is not in the last one."""
    system = system_of(structure("water:8"))
    whole = Follower(LIMITS, CPU, skin=1.0).graph(system)
    monkeypatch.setattr(edge_selection, "PASS", size)
    follower = Follower(LIMITS, CPU, skin=1.0)
    parts = follower.graph(system)
    assert len(whole.senders) > 200
    for name in ("vectors", "senders", "receivers"):
        assert torch.equal(getattr(parts, name), getattr(whole, name))
    system.positions[20] = system.positions[3]
    with pytest.raises(ValueError, match="found two at the same position: atom 3"):
        Follower(LIMITS, CPU, skin=1.0).graph(system)
