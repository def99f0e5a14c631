# SPDX-License-Identifier: MIT
"""The hand-written kernels against the network's own operators, differentiated by autograd."""

import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from structures import structure

from uma_md import UMACalculator
from uma_md.build import find_compiler
from uma_md.config import ModelConfig
from uma_md.evaluator import Evaluation, Evaluator
from uma_md.exchange import LocalExchange
from uma_md.files import exported
from uma_md.graph import Graph
from uma_md.kernel_stages import KernelStages
from uma_md.kernels import library
from uma_md.memory import Keep, Plan, with_room
from uma_md.model import UMA
from uma_md.portable_stages import PortableStages
from uma_md.stages import make_stages

KERNELS = Path(library.__file__).parent
# As uma_md/kernels/CMakeLists.txt has it.
OPTIMIZED = ["-O3", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"]
pytestmark = pytest.mark.skipif(not library.load(), reason="the kernels are not compiled")

# No two widths are alike, and none is a multiple of what a vector instruction takes.
ODD = ModelConfig(
    model_id="odd",
    channels=7,
    hidden_channels=5,
    edge_channels=6,
    lmax=2,
    mmax=2,
    num_layers=2,
    num_experts=3,
    cutoff=4.0,
    num_distance_basis=9,
    max_num_elements=10,
    max_neighbors=300,
    charge_channels=(0, 2),
    spin_channels=(2, 3),
    composition_counts_itself=False,
    supports_single_atoms=True,
)
ORDERS = [(lmax, mmax) for lmax in range(1, 7) for mmax in range(lmax + 1)]


def make_model(config: ModelConfig, dtype: torch.dtype = torch.float64) -> UMA:
    """A network with random weights, merged."""
    generator = torch.Generator().manual_seed(3)
    model = UMA(config, 1.0).to(dtype).requires_grad_(False)
    for parameter in model.parameters():
        spread = 1 / max(1, parameter.shape[-1]) ** 0.5 if parameter.dim() > 1 else 0.3
        parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    model.references.zero_()
    model.merge(torch.ones(config.max_num_elements, dtype=torch.int64), 1, 2)
    return model


def make_graph(vectors: torch.Tensor, senders: torch.Tensor, receivers: torch.Tensor) -> Graph:
    """A graph of one system, whose elements go through the table."""
    count = 1 + int(torch.cat((senders, receivers, torch.zeros(1, dtype=torch.int64))).max())
    numbers = 1 + torch.arange(count) % 8
    systems = torch.zeros(count, dtype=torch.int64)
    return Graph(vectors, senders, receivers, numbers, systems, torch.tensor([count]))


def cluster(atoms: int = 10, dtype: torch.dtype = torch.float64, cutoff: float = 4.0) -> Graph:
    """All pairs within the cutoff of atoms at random."""
    generator = torch.Generator().manual_seed(atoms)
    positions = torch.rand(atoms, 3, generator=generator, dtype=torch.float64) * cutoff
    vectors = positions[None, :] - positions[:, None]
    lengths = vectors.norm(dim=2)
    receivers, senders = ((lengths > 0) & (lengths < cutoff)).nonzero().unbind(1)
    return make_graph(vectors[receivers, senders].to(dtype), senders, receivers)


def evaluate(
    model: UMA,
    graph: Graph,
    keep: Keep = Keep.ALL,
    chunk: int = 50,
    precision: str = "float32",
) -> Evaluation:
    edges = KernelStages(model, precision=precision)
    edges.merge()
    return Evaluator(model, edges)(graph, LocalExchange(), Plan(keep, chunk))


def evaluate_portably(model: UMA, graph: Graph) -> Evaluation:
    return Evaluator(model, PortableStages(model, 1))(graph, LocalExchange(), Plan(Keep.ALL, 50))


def assert_same(found: Evaluation, expected: Evaluation, tolerance: float = 1e-12) -> None:
    size = max([1.0, *expected.gradients.abs().flatten().tolist()])
    torch.testing.assert_close(found.energies, expected.energies, rtol=0, atol=tolerance)
    torch.testing.assert_close(found.gradients, expected.gradients, rtol=0, atol=tolerance * size)


@pytest.mark.parametrize(("lmax", "mmax"), ORDERS)
def test_kernels_are_the_operators_and_their_derivatives(lmax, mmax):
    model = make_model(replace(ODD, lmax=lmax, mmax=mmax))
    graph = cluster()
    expected = evaluate_portably(model, graph)
    assert float(expected.gradients.abs().max()) > 1e-3
    for keep in Keep:
        assert_same(evaluate(model, graph, keep), expected)


@pytest.mark.parametrize(
    "widths",
    [(1, 1, 1), (16, 16, 32), (33, 8, 17), (40, 64, 24), (9, 24, 64), (64, 5, 128)],
    ids=lambda widths: "-".join(map(str, widths)),
)
def test_any_number_of_channels(widths):
    channels, hidden, edge = widths
    config = replace(
        ODD,
        channels=channels,
        hidden_channels=hidden,
        edge_channels=edge,
        charge_channels=(0, 0),
        spin_channels=(0, 0),
    )
    model = make_model(config)
    assert_same(evaluate(model, cluster()), evaluate_portably(model, cluster()))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX2 is of x86-64")
def test_loops_over_channels_are_vector_instructions(tmp_path):
    """A compiler gives this up without a word, and rotations then take up to four times as long."""
    assembly = tmp_path / "loops.s"
    command = [*find_compiler(), "-S", "-std=c++20", "-mavx2", "-mfma", *OPTIMIZED]
    source = Path(__file__).with_name("vector_loops.cpp")
    command += [f"-I{KERNELS}", str(source), "-o", str(assembly)]
    subprocess.run(command, check=True)
    bodies = re.findall(
        r"^(\w+):[^\n]*\n(.*?)^\s*\.size\s+\1\b", assembly.read_text(), re.DOTALL | re.MULTILINE
    )
    packed = r"v(fn?madd\w+|div)ps\b.*%ymm"
    scalar = [name for name, body in bodies if not re.search(packed, body)]
    assert len(bodies) == 4 * 5 + 2 * 2 + 2  # rotations, gates, hidden layers
    assert not scalar


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in {"AVX2", "AVX512"}, reason="it has no others"
)
@pytest.mark.parametrize("instructions", ["default", "avx2"])
def test_processors_with_fewer_instructions(instructions):
    """Torch's own variable leaves out what they do not have."""
    names = "number_of_channels or single_precision or is_kept"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        names,
    ]
    environment = os.environ | {"ATEN_CPU_CAPABILITY": instructions}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout


def test_single_precision_is_as_exact_as_the_operators():
    model, graph = make_model(ODD), cluster(14)
    exact = evaluate(model, graph)
    single = model.to(torch.float32)
    graph = graph._replace(vectors=graph.vectors.float())
    size = float(exact.gradients.abs().max())
    errors = [
        float((found.gradients - exact.gradients).abs().max()) / size
        for found in (evaluate(single, graph), evaluate_portably(single, graph))
    ]
    assert errors[0] < max(2e-6, 2 * errors[1])


def axes() -> torch.Tensor:
    """Directions along the axes, at the poles, beside them, and on both sides of the seam."""
    directions = [[a, b, c] for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)]
    directions.remove([0, 0, 0])
    near = [[1e-9, s, -1e-9] for s in (-1, 1)] + [[1, s * 1e-12, 0.3] for s in (-1, 1)]
    vectors = torch.tensor(directions + near, dtype=torch.float64)
    return 1.7 * vectors / vectors.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("lmax", "mmax"), [(2, 2), (4, 2), (3, 1)])
def test_edges_along_every_axis_and_pole(lmax, mmax):
    model = make_model(replace(ODD, lmax=lmax, mmax=mmax))
    vectors = axes()
    senders = torch.arange(1, len(vectors) + 1)
    graph = make_graph(vectors, senders, torch.zeros_like(senders))
    assert_same(evaluate(model, graph), evaluate_portably(model, graph))


def test_gradients_are_differences_of_energies():
    model, graph = make_model(ODD), cluster(6)
    gradients = evaluate(model, graph).gradients
    step = 1e-4
    for edge in range(0, len(graph.senders), 7):
        for axis in range(3):
            shift = torch.zeros_like(graph.vectors)
            shift[edge, axis] = step
            ends = [
                float(evaluate(model, graph._replace(vectors=graph.vectors + s)).energies.sum())
                for s in (-shift, shift)
            ]
            assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(
                float(gradients[edge, axis]), abs=1e-7
            )


def test_edges_need_no_order():
    model, graph = make_model(ODD), cluster()
    expected = evaluate(model, graph)
    shuffled = torch.randperm(len(graph.senders), generator=torch.Generator().manual_seed(1))
    mixed = graph._replace(
        vectors=graph.vectors[shuffled],
        senders=graph.senders[shuffled],
        receivers=graph.receivers[shuffled],
    )
    found = evaluate(model, mixed)
    assert_same(found._replace(gradients=found.gradients[shuffled.argsort()]), expected)


def test_many_blocks_and_groups_of_edges():
    """More edges than are handled at once, and a receiver with more than a block holds."""
    model = make_model(replace(ODD, charge_channels=(0, 0), spin_channels=(0, 0)))
    crowd = cluster(900, cutoff=4.0)
    few = cluster(40)
    keep = (crowd.receivers < 3) | (crowd.senders < 5)
    graph = make_graph(crowd.vectors[keep], crowd.senders[keep], crowd.receivers[keep])
    assert int(torch.bincount(graph.receivers).max()) > 512
    for case in (graph, few):
        assert_same(evaluate(model, case), evaluate_portably(model, case), 1e-11)


WIDE = replace(
    ODD,
    channels=33,
    hidden_channels=17,
    edge_channels=32,
    charge_channels=(0, 0),
    spin_channels=(0, 0),
)


@pytest.mark.parametrize("config", [ODD, WIDE], ids=["narrow", "wide"])
def test_results_do_not_depend_on_the_run_the_threads_or_what_is_kept(config):
    model = make_model(config, torch.float32)
    graph = cluster(60, torch.float32)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 2, 3):
            torch.set_num_threads(count)
            found += [evaluate(model, graph, keep).gradients for keep in Keep]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradients, found[0]) for gradients in found)


def test_stages_serve_graphs_of_any_size_and_plan():
    """Memory that a plan does not need is given back, and grows for what needs it."""
    model = make_model(WIDE)
    edges = KernelStages(model)
    edges.merge()
    serve = Evaluator(model, edges)
    small, large, held = cluster(6), cluster(24), {}
    for graph in (small, large):
        for keep in (Keep.ALL, Keep.FIRST, Keep.BOTH, Keep.NOTHING, Keep.ALL):
            found = serve(graph, LocalExchange(), Plan(keep, 50))
            expected = evaluate(model, graph, keep)
            assert all(map(torch.equal, found, expected))
            held[keep] = edges.footprint.held
    for keep, each in edges.footprint.kept.items():
        rows = (held[keep] - held[Keep.NOTHING]) / max(each * model.num_layers, 1)
        assert each == 0 or len(large.senders) <= rows <= with_room(len(large.senders))


def test_no_edges_and_no_atoms():
    model = make_model(ODD)
    none = torch.zeros(0, dtype=torch.int64)
    graph = make_graph(torch.zeros(0, 3, dtype=torch.float64), none, none)
    assert_same(evaluate(model, graph), evaluate_portably(model, graph))
    assert evaluate(model, graph).gradients.shape == (0, 3)


def test_what_is_not_a_number_comes_out_as_such():
    model, graph = make_model(ODD), cluster()
    for value in (float("nan"), float("inf"), 0.0):
        vectors = graph.vectors.clone()
        vectors[3] = value
        assert not evaluate(model, graph._replace(vectors=vectors)).gradients.isfinite().all()


def test_an_edge_keeps_what_it_says():
    """The figures of the published sizes: 17.4, 10.2 and 5.6 kB for UMA-S."""
    config = replace(ODD, channels=128, hidden_channels=128, edge_channels=128, num_experts=1)
    edges = KernelStages(make_model(config, torch.float32))
    edges.merge()
    expected = {Keep.NOTHING: 0, Keep.FIRST: 5632, Keep.BOTH: 10240, Keep.ALL: 17416}
    assert edges.footprint.kept == expected


def test_the_engine_that_is_asked_for_runs():
    atoms = structure("mol:CH3CH2OH")
    forces = {}
    for engine in ("auto", "kernels", "portable"):
        calculator = UMACalculator("uma-nano", "omol", "cpu", "float64", engine=engine)
        assert calculator.engine == ("portable" if engine == "portable" else "kernels")
        forces[engine] = calculator.get_forces(atoms)
    assert np.array_equal(forces["auto"], forces["kernels"])
    np.testing.assert_allclose(forces["kernels"], forces["portable"], rtol=0, atol=1e-12)


def test_without_the_library_operators_run_and_kernels_are_refused(monkeypatch):
    monkeypatch.setattr(library, "load", lambda: False)
    model, cpu = make_model(ODD), torch.device("cpu")
    assert make_stages(model, "auto", cpu, 1).name == "portable"
    with pytest.raises(ValueError, match="must be compiled first, found no library: run 'uma-md b"):
        make_stages(model, "kernels", cpu, 1)


def test_devices_without_kernels_take_operators():
    model, other = make_model(ODD), torch.device("xpu", 0)
    assert make_stages(model, "auto", other, 1).name == "portable"
    with pytest.raises(ValueError, match="kernels must run on a CPU or by CUDA, found xpu:0"):
        make_stages(model, "kernels", other, 1)


def test_files_that_do_not_hand_out_weights_take_operators(tmp_path):
    """As files exported before there were kernels."""

    class Old:
        has_weights = False

    assert make_stages(Old(), "auto", torch.device("cpu"), 1).name == "portable"
    with pytest.raises(ValueError, match="must have a file exported by this uma-md"):
        make_stages(Old(), "kernels", torch.device("cpu"), 1)


def test_weights_that_are_not_a_networks_are_refused():
    model = make_model(ODD)
    make = torch.classes.uma_md.Stages
    edges, readout = model.edge_weights(), model.readout_weights()
    layers = [model.message_weights(layer) for layer in range(2)]
    nodes = [model.node_weights(layer) for layer in range(2)]
    make(2, 4.0, edges, layers, nodes, readout, "", "float32", 0)
    for wrong in (
        ([], layers, nodes, readout),
        (edges, [], nodes, readout),
        (edges[:5], layers, nodes, readout),
        (edges, layers, nodes[:1], readout),
        (edges, layers, [nodes[0], nodes[1][:3]], readout),
        (edges, layers, nodes, readout[:8]),
    ):
        with pytest.raises(RuntimeError, match="the kernels take"):
            make(2, 4.0, *wrong, "", "float32", 0)
    with pytest.raises(RuntimeError, match="float32 and float64"):
        make(2, 4.0, [w.half() for w in edges], layers, nodes, readout, "", "float32", 0)


def test_an_exported_file_gives_its_weights(tmp_path):
    import uma_md.export as export

    export.export("uma-nano", tmp_path / "nano.pt", "omol")
    module, _ = exported.load(tmp_path / "nano.pt", torch.device("cpu"))
    assert module.has_weights
    assert len(module.edge_weights()) == 13
