# SPDX-License-Identifier: MIT
"""Which device a rank takes, from made-up UUIDs and layouts of nodes; memory plans."""

import pytest
import torch

from uma_md import memory
from uma_md.memory import Footprint, Keep, MemoryPlanner, Plan, available_memory, with_room
from uma_md.ranks.placement import assign_devices, pick_device

A, B, C, D = ("GPU-a", "GPU-b", "GPU-c", "GPU-d")

LAYOUTS = {
    "all ranks see all devices": ([[A, B]] * 4, [0, 1, 0, 1]),
    "more ranks than devices": ([[A, B, C]] * 5, [0, 1, 2, 0, 1]),
    "one device per rank": ([[A], [B], [C], [D]], [0, 0, 0, 0]),
    "one device shown to pairs of ranks": ([[A], [A], [B], [B]], [0, 0, 0, 0]),
    "each rank numbers them in its own order": ([[A, B], [B, A], [A, B], [B, A]], [0, 0, 0, 0]),
    "some see all, some one": ([[A, B], [A], [A, B], [B]], [0, 0, 1, 0]),
    "one rank": ([[A, B]], [0]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_rank_takes_the_least_used_device_that_it_sees(layout):
    visible, expected = LAYOUTS[layout]
    assert assign_devices(visible) == expected


@pytest.mark.parametrize("ranks", [1, 2, 7, 8])
@pytest.mark.parametrize("devices", [1, 3, 4])
def test_ranks_are_spread_evenly(ranks, devices):
    names = [f"GPU-{k}" for k in range(devices)]
    chosen = assign_devices([names] * ranks)
    counts = [chosen.count(k) for k in range(devices)]
    assert max(counts) - min(counts) <= 1
    assert chosen == [rank % devices for rank in range(ranks)]


class Accelerator:
    """What torch would say on a machine with an accelerator."""

    def __init__(self, monkeypatch, kind: str, count: int = 2):
        monkeypatch.setattr(
            torch.accelerator, "current_accelerator", lambda **_: torch.device(kind)
        )
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


def test_auto_takes_an_accelerator_that_computes_in_float64(monkeypatch):
    Accelerator(monkeypatch, "cuda")
    assert pick_device("auto").type == "cuda"
    Accelerator(monkeypatch, "xpu")
    assert pick_device("auto").type == "xpu"
    assert pick_device("xpu:1") == torch.device("xpu:1")
    with pytest.raises(ValueError, match="device cuda is not available to torch here"):
        pick_device("cuda")


def test_apples_devices_are_not_taken(monkeypatch):
    Accelerator(monkeypatch, "mps", 1)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match="device must compute in float64, .* found mps"):
        pick_device("mps")


def test_devices_that_are_not_there_are_refused(monkeypatch):
    Accelerator(monkeypatch, "cuda", 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="device cuda:2 must be one of 2, counted from 0"):
        pick_device("cuda:2")


@pytest.fixture
def gigabytes(monkeypatch):
    """Memory of a made-up accelerator: free, and kept by torch in its cache."""
    given = {"free": 10, "reserved": 0, "allocated": 0}
    monkeypatch.setattr(
        torch.accelerator, "get_memory_info", lambda _: (given["free"] * 10**9, 80 * 10**9)
    )
    for name in ("reserved", "allocated"):
        monkeypatch.setattr(
            torch.accelerator, f"memory_{name}", lambda _, name=name: given[name] * 10**9
        )
    return given


GPU = torch.device("cuda", 0)


def test_what_torch_caches_is_free(gigabytes):
    assert available_memory(GPU, 1) == pytest.approx(8e9)
    gigabytes.update(free=2, reserved=9, allocated=1)
    assert available_memory(GPU, 1) == pytest.approx(8e9)


def test_ranks_share_half_of_a_device(gigabytes):
    assert available_memory(GPU, 2) == pytest.approx(2.5e9)
    assert available_memory(GPU, 4) == pytest.approx(1.25e9)


# bytes per edge
KEPT = Footprint({Keep.ALL: 10**4, Keep.NOTHING: 0}, at_work=2 * 10**4)


def test_the_choice_stays_until_there_are_a_tenth_more_edges(gigabytes):
    plan = MemoryPlanner("auto", 1000, num_layers=4, device=GPU)
    assert plan(100_000, KEPT) == Plan(Keep.ALL, 1000)
    gigabytes["free"] = 1  # as after the first evaluation, or with a second process there
    for edges in (100_000, 90_000, 109_000, 100):
        assert plan(edges, KEPT).keep is Keep.ALL
    assert plan(111_000, KEPT).keep is Keep.NOTHING
    gigabytes["free"] = 70
    assert plan(100_000, KEPT).keep is Keep.NOTHING
    assert plan(200_000, KEPT).keep is Keep.ALL


def test_a_part_is_kept_where_memory_allows_no_more(gigabytes):
    kept = {Keep.NOTHING: 0, Keep.FIRST: 5000, Keep.BOTH: 10**4, Keep.ALL: 2 * 10**4}
    footprint = Footprint(kept, at_work=0)
    least, few, many = (  # the most edges whose memory, when it has grown, fits
        next(edges for edges in range(rows, 0, -1) if with_room(edges) <= rows)
        for rows in (100_000, 200_000, 400_000)
    )
    chosen = {
        edges: MemoryPlanner("auto", 1000, num_layers=4, device=GPU)(edges, footprint).keep
        for edges in (least, least + 1, few, few + 1, many, many + 1)
    }
    expected = [Keep.ALL, Keep.BOTH, Keep.BOTH, Keep.FIRST, Keep.FIRST, Keep.NOTHING]
    assert list(chosen.values()) == expected
    assert 160_000 < few < 180_000


@pytest.mark.parametrize(("recompute", "keep"), [("on", Keep.NOTHING), ("off", Keep.ALL)])
def test_recompute_is_as_told(recompute, keep, gigabytes):
    gigabytes["free"] = 0
    assert MemoryPlanner(recompute, 7, 4, GPU)(10**6, KEPT) == Plan(keep, 7)


def test_chunks_are_as_large_as_memory_allows_where_the_graph_is_kept(gigabytes):
    def plan(edges: int, recompute: str = "auto") -> Plan:
        return MemoryPlanner(recompute, None, num_layers=4, device=GPU)(edges, KEPT)

    assert plan(50_000) == Plan(Keep.ALL, 55_000)  # all edges, and room for a tenth more
    keep, chunk = plan(155_000)
    assert keep is Keep.ALL
    assert memory.LARGE_CHUNK <= chunk == (8e9 - with_room(155_000) * 4e4) // 2e4
    assert plan(160_000).keep is Keep.NOTHING  # for a chunk of these there would be no room
    assert plan(10**6) == Plan(Keep.NOTHING, memory.LARGE_CHUNK)
    assert plan(10**6, "off") == Plan(Keep.ALL, memory.LARGE_CHUNK)
    holding = KEPT._replace(held=10**9)
    again = MemoryPlanner("auto", None, num_layers=4, device=GPU)
    assert again(160_000, holding).keep is Keep.ALL  # what is held is used again
    cpu = MemoryPlanner("off", None, 4, torch.device("cpu"))
    assert cpu(10**6, KEPT) == Plan(Keep.ALL, memory.CHUNK_ON_CPU)


def test_batches_have_room_for_what_is_kept_of_them(gigabytes):
    kept = {Keep.NOTHING: 0, Keep.FIRST: 5000, Keep.BOTH: 10**4, Keep.ALL: 2 * 10**4}
    for recompute, keep in (("on", Keep.NOTHING), ("auto", Keep.BOTH), ("off", Keep.ALL)):
        limit = MemoryPlanner(recompute, None, 4, GPU).batch_limit(Footprint(kept, 1), 100)
        assert limit.per_edge == 4 * kept[keep] + memory.GRAPH_BYTES
