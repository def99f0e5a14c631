# SPDX-License-Identifier: MIT
"""What ranks send each other in real runs is what the decomposition says they will, to the byte."""

from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest
from mpi_launch import Checks

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py"),
]

RANKS = (1, 2, 4, pytest.param(8, marks=pytest.mark.extended))


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    """The ranks."""
    with Checks(4, tmp_path_factory.mktemp("found")) as ranks:
        yield ranks


@pytest.fixture(scope="module", params=RANKS)
def found(request, checks):
    """What the checks found on so many ranks."""
    found = (checks.found(check, request.param) for check in ("exchanges", "collectives"))
    return request.param, *found


def test_counters_of_a_run_are_those_foretold_from_the_geometry(found):
    ranks, exchanges, _ = found
    for (variant, name), of_ranks in exchanges.items():
        assert len(of_ranks) == ranks
        for counted, foretold, load, edges, _ in of_ranks:
            assert counted == foretold, (variant, name, load.rank)
            assert (load.edges, load.inner_edges) == edges, (variant, name, load.rank)
        sent = sum(counted.bytes_sent for counted, *_ in of_ranks)
        assert sent == sum(counted.bytes_received for counted, *_ in of_ranks)
        assert (sent > 0) == (ranks > 1)


def test_ranks_agree_on_who_sends_how_many_rows_to_whom(found):
    _, exchanges, _ = found
    for of_ranks in exchanges.values():
        loads = [load for _, _, load, _, _ in of_ranks]
        to, by = (
            {
                (load.rank, peer): rows
                for load in loads
                for peer, rows in zip(peers(load).tolist(), counts(load).tolist(), strict=True)
            }
            for peers, counts in (
                (lambda load: load.targets, lambda load: load.rows_to),
                (lambda load: load.sources, lambda load: load.rows_from),
            )
        )
        assert to == {(sender, receiver): rows for (receiver, sender), rows in by.items()}


def test_one_message_per_neighbor_and_exchange_in_the_precision_of_the_model(found):
    """Seen around MPI itself: no more messages than neighbors times exchanges, rows alone."""
    ranks, exchanges, _ = found
    for (variant, name), of_ranks in exchanges.items():
        dtype = {"tiny-1p2p1": "float32", "tiny-1p1": "float64"}[variant]
        for counted, _, load, _, notes in of_ranks:
            sent = [note for note in notes if note[0] == "Isend"]
            neighbors = {*load.sources.tolist(), *load.targets.tolist()}
            assert len(sent) == counted.messages_sent <= len(neighbors) * counted.exchanges
            assert sum(size for _, _, size, _ in sent) == counted.bytes_sent
            layers = (counted.exchanges // 2 - 1) // 2
            for peer in neighbors:
                kinds = Counter(kind for _, to, _, kind in sent if to == peer)
                most = {dtype: 4 * layers + (2 if dtype == "float64" else 0)}
                if dtype != "float64":
                    most["float64"] = 2  # forces
                assert all(number <= most[kind] for kind, number in kinds.items()), (name, kinds)
    if ranks > 1:
        loads = [load for _, _, load, _, _ in exchanges["tiny-1p1", "water"]]
        assert all(len(load.sources) == ranks - 1 for load in loads)
    if ranks == 8:
        loads = [load for _, _, load, _, _ in exchanges["tiny-1p1", "slab"]]
        assert any(len(load.sources) < ranks - 1 for load in loads)


def test_sums_over_all_ranks_are_few_and_small(found):
    """One in each layer and sweep where channels are balanced, two agreements, and the results.

    Only the first step, which divides the atoms, has more.
    """
    ranks, _, collectives = found
    for variant, of_ranks in collectives.items():
        for layers, balanced, owned, steps in of_ranks:
            assert (balanced > 0) == (variant == "tiny-1p2p1")
            assert Counter(call for call, *_ in steps[0])["bcast"] > 0
            for notes in steps[1:]:
                calls = Counter(call for call, *_ in notes)
                sums = 2 * layers if balanced and ranks > 1 else 0
                assert calls == {"Allreduce": 2 + sums, "Allgatherv": 1}
                sizes = Counter(size for call, _, size, _ in notes if call == "Allreduce")
                assert sizes[32] == 2
                assert max(sizes) <= 128
                (results,) = (size for call, _, size, _ in notes if call == "Allgatherv")
                assert results == 8 * (4 * owned + 9 + 1)


def test_some_ranks_have_no_rows_to_send(found):
    ranks, exchanges, _ = found
    if ranks == 8:
        loads = [load for _, _, load, _, _ in exchanges["tiny-1p1", "small"]]
        assert min(load.atoms for load in loads) == 0
        assert np.sum([load.atoms for load in loads]) == 2
