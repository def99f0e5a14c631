# SPDX-License-Identifier: MIT
"""The kernels for GPUs where there is none: compiled for several, and executed on the host.

What runs them there is ``gpu_stand_in``, in place of CUDA's driver and compiler: the same sources,
the same launches, the same order of sums. ``test_gpu.py`` has what needs a GPU.
"""

import ctypes
import re
import shlex
import subprocess
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from test_kernels import (
    ODD,
    assert_same,
    axes,
    cluster,
    evaluate_portably,
    make_graph,
    make_model,
)

from uma_md.build import find_compiler
from uma_md.config import ModelConfig
from uma_md.evaluator import Evaluation, Evaluator
from uma_md.exchange import Arrived, Exchange, LocalExchange, Transfer
from uma_md.graph import Graph
from uma_md.kernel_stages import KernelStages
from uma_md.kernels import library
from uma_md.memory import Keep, Plan
from uma_md.model import UMA

SOURCES = Path(library.__file__).parent
STAND_IN = Path(__file__).parent / "gpu_stand_in"
PLAIN: dict[str, Any] = {"charge_channels": (0, 0), "spin_channels": (0, 0)}
needs_library = pytest.mark.skipif(not library.load(), reason="the kernels are not compiled")


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> str:
    """The stand-in, compiled."""
    target = tmp_path_factory.mktemp("stand-in") / "driver.so"
    compiler = find_compiler()
    words = {
        "STAND_IN_COMPILER": shlex.join(compiler),
        "STAND_IN_FOLDER": STAND_IN,
        "STAND_IN_OUTPUT": target.parent,
    }
    command = [*compiler, "-O1", "-std=c++20", "-shared", "-fPIC", "-Wall", "-Werror"]
    command += [f'-D{name}="{word}"' for name, word in words.items()]
    subprocess.run([*command, STAND_IN / "driver.cpp", "-o", target, "-ldl"], check=True)
    return str(target)


class OnStandIn:
    """A model's evaluations by the kernels for GPUs."""

    def __init__(
        self, model: UMA, driver: str, precision: str = "float32", graphs: str = "off"
    ) -> None:
        self.edges = KernelStages(model, driver, precision, graphs)
        self.edges.merge()
        self.exchange: Exchange = LocalExchange()
        self._evaluator = Evaluator(model, self.edges)

    def __call__(self, graph: Graph, keep: Keep = Keep.ALL, chunk: int = 10**6) -> Evaluation:
        return self._evaluator(graph, self.exchange, Plan(keep, chunk))


@needs_library
@pytest.mark.parametrize(
    ("lmax", "mmax", "widths"),
    [
        (2, 2, (7, 5, 6)),  # half a warp for an edge
        (4, 2, (18, 40, 33)),
        (3, 0, (17, 16, 32)),
        (1, 1, (130, 3, 9)),  # more channels than a block has threads
        (6, 6, (2, 3, 4)),
    ],
)
def test_kernels_for_gpus_are_the_operators_and_their_derivatives(lmax, mmax, widths, driver):
    channels, hidden, edge = widths
    sizes: dict[str, Any] = {"channels": channels, "hidden_channels": hidden, "edge_channels": edge}
    model = make_model(replace(ODD, lmax=lmax, mmax=mmax, **sizes, **PLAIN))
    graph = cluster()
    expected = evaluate_portably(model, graph)
    evaluate = OnStandIn(model, driver)
    kept = evaluate.edges.footprint.kept
    assert kept[Keep.NOTHING] < kept[Keep.FIRST] < kept[Keep.BOTH] < kept[Keep.ALL]
    plans = [(Keep.ALL, 10**6), (Keep.ALL, 50), (Keep.BOTH, 10**6), (Keep.FIRST, 50)]
    for keep, chunk in (*plans, (Keep.NOTHING, 7)):
        assert_same(evaluate(graph, keep, chunk), expected)


@needs_library
def test_on_gpus_too_edges_come_in_any_order_or_not_at_all(driver):
    model = make_model(ODD)
    evaluate = OnStandIn(model, driver)
    graph = cluster()
    order = torch.randperm(len(graph.senders), generator=torch.Generator().manual_seed(1))
    shuffled = graph._replace(
        vectors=graph.vectors[order],
        senders=graph.senders[order],
        receivers=graph.receivers[order],
    )
    assert_same(evaluate(shuffled), evaluate_portably(model, shuffled))
    none = torch.zeros(0, dtype=torch.int64)
    empty = make_graph(torch.zeros(0, 3, dtype=torch.float64), none, none)
    assert_same(evaluate(empty), evaluate_portably(model, empty))
    poles = axes()
    senders = torch.arange(1, len(poles) + 1)
    star = make_graph(poles, senders, torch.zeros_like(senders))
    assert_same(evaluate(star), evaluate_portably(model, star))


@needs_library
def test_on_gpus_too_each_run_gives_the_same_bits_in_both_precisions(driver):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        model, graph = make_model(ODD, dtype), cluster(12, dtype)
        evaluate = OnStandIn(model, driver)
        first, second = evaluate(graph), evaluate(graph)
        assert torch.equal(first.gradients, second.gradients)
        assert torch.equal(first.energies, second.energies)
        assert_same(first, evaluate_portably(model, graph), tolerance)


class Moving(LocalExchange):
    """Puts rows elsewhere, as an exchange between ranks does."""

    def start_forward(self, owned: torch.Tensor) -> Transfer:
        return Arrived(owned.clone())

    def start_reverse(self, rows: torch.Tensor) -> Transfer:
        return Arrived(rows.clone())


def shortened(graph: Graph, edges: int) -> Graph:
    """A graph that has lost its last edges."""
    lost = {name: getattr(graph, name)[:edges] for name in ("vectors", "senders", "receivers")}
    return graph._replace(**lost)


STAGES = 2 + 6 * ODD.num_layers  # both of the embedding, and three of each layer with their reverse


@needs_library
@pytest.mark.parametrize("exchange", [LocalExchange(), Moving()])
def test_recorded_stages_give_what_others_give(exchange, driver):
    model, graph = make_model(ODD), cluster()
    assert model.num_balanced > 0
    plain = OnStandIn(model, driver)
    recorded = OnStandIn(model, driver, graphs="on")
    recorded.exchange = exchange
    before = []
    for step, edges in enumerate((0, -1, -30, -2, -15)):
        moved = graph._replace(vectors=graph.vectors * (1 + 0.01 * step))
        structure = shortened(moved, len(graph.senders) + edges)
        found = recorded(structure)
        assert_same(found, plain(structure))
        assert recorded.edges.recordings == (0 if step == 0 else STAGES)
        before.append((found, [tensor.clone() for tensor in found]))
    for found, copies in before:  # no later step has touched them
        assert all(map(torch.equal, found, copies))


@needs_library
def test_recordings_end_with_the_sizes_that_they_were_made_for(driver):
    model, graph = make_model(ODD), cluster()
    plain = OnStandIn(model, driver)
    recorded = OnStandIn(model, driver, graphs="on")

    def evaluate(structure: Graph, *plan: Any) -> int:
        assert_same(recorded(structure, *plan), plain(structure, *plan))
        return recorded.edges.recordings

    for structure in (graph, cluster(30), graph):
        assert [evaluate(structure) for _ in range(2)] == [0, STAGES]
    assert [evaluate(shortened(graph, number)) for number in (63, 64, 63)] == 3 * [STAGES]
    for plan in ((Keep.BOTH,), (Keep.FIRST,), (Keep.NOTHING, 50), (Keep.ALL,)):
        assert [evaluate(graph, *plan) for _ in range(3)][-1] == STAGES
    assert evaluate(shortened(graph, 0)) == 0


@needs_library
def test_recorded_stages_are_called_in_any_order(driver):
    """A result that comes from elsewhere does not overwrite one that is still needed."""
    model, graph = make_model(ODD), cluster()
    plain, recorded = (OnStandIn(model, driver, graphs=word).edges for word in ("off", "on"))
    x = torch.randn(len(graph.systems), 9, ODD.channels, dtype=torch.float64)
    for edges in (plain, recorded):
        edges.start(graph, Plan(Keep.ALL, 10**6))
    expected = [plain.messages(0, plain.normalize(0, x)), plain.messages(0, x)]
    for _ in range(3):
        h = recorded.normalize(0, x)
        first = recorded.messages(0, h).clone()
        second = recorded.messages(0, x).clone()
        torch.testing.assert_close(h, plain.normalize(0, x), rtol=0, atol=1e-12)
        for found, exact in zip((first, second), expected, strict=True):
            torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)


def wide_model() -> UMA:
    """A network whose factors are wide enough to be split into halves, some of odd width."""
    sizes: dict[str, Any] = {"channels": 48, "hidden_channels": 47, "edge_channels": 9}
    return make_model(replace(ODD, mmax=1, **sizes, **PLAIN), torch.float32)


@needs_library
def test_products_of_halves_are_about_as_precise_as_float32(driver):
    model, graph = wide_model(), cluster(12, torch.float32)
    exact = evaluate_portably(
        deepcopy(model).double(), graph._replace(vectors=graph.vectors.double())
    )
    errors, bits = {}, {}
    for precision in ("float32", "fp16x3"):
        evaluate = OnStandIn(model, driver, precision)
        bits[precision] = evaluate(graph).gradients
        errors[precision] = (bits[precision] - exact.gradients).abs().max()
        for keep, chunk in ((Keep.FIRST, 50), (Keep.NOTHING, 7)):
            assert_same(evaluate(graph, keep, chunk), evaluate(graph), 1e-5)
    assert not torch.equal(*bits.values())
    assert errors["fp16x3"] <= 3 * errors["float32"]


@needs_library
def test_factors_beyond_the_range_of_halves_give_no_finite_number(driver):
    model, graph = wide_model(), cluster(12, torch.float32)
    for precision, is_finite in (("float32", True), ("fp16x3", False)):
        edges = OnStandIn(model, driver, precision).edges
        edges.start(graph, Plan(Keep.ALL, 10**6))
        for sign in (1, -1):
            h = torch.full((12, 9, 48), 1.0)
            h[3, :, 5] = sign * 1e7
            messages = edges.messages(0, h)
            rows = graph.receivers[(graph.senders == 3) | (graph.receivers == 3)].unique()
            found = messages[rows].isfinite()
            assert found.all() if is_finite else not found.any()


@needs_library
def test_weights_beyond_the_range_of_halves_are_refused(driver):
    for value in (7e4, float("nan")):
        model = wide_model()
        model.message_weights(1)[-1][0, 0] = value
        OnStandIn(model, driver)
        with pytest.raises(RuntimeError, match="weights up to 65504 with precision fp16x3: use"):
            OnStandIn(model, driver, "fp16x3")


@needs_library
def test_halves_take_memory_that_is_said(driver):
    model, graph = wide_model(), cluster(12, torch.float32)
    plain, halves = (OnStandIn(model, driver, word) for word in ("float32", "fp16x3"))
    for evaluate in (plain, halves):
        evaluate(graph)
    more = [
        getattr(halves.edges.footprint, name) - getattr(plain.edges.footprint, name)
        for name in ("at_work", "held")
    ]
    widest = 5 * 2 * 48  # what the radial network gives: for both ends each degree and |m|
    assert more == [4 * widest, 4 * widest * len(graph.senders)]


@needs_library
def test_what_a_gpus_compiler_refuses_is_said(tmp_path):
    with pytest.raises(RuntimeError, match="kernels for GPUs: .*none.so"):
        OnStandIn(make_model(ODD), str(tmp_path / "none.so"))


class RunTimeCompiler:
    """CUDA's, of PyPI, which compiles without a GPU."""

    def __init__(self) -> None:
        spec = find_spec("nvidia.cu13")
        assert spec is not None
        assert spec.submodule_search_locations
        folder = Path(next(iter(spec.submodule_search_locations))) / "lib"
        self._library = ctypes.CDLL(str(folder / "libnvrtc.so.13"))

    def __call__(self, options: list[str]) -> str:
        """Compile the kernels; gives what the compiler says of registers and memory."""
        headers = sorted(SOURCES.glob("*.h"))
        program = ctypes.c_void_p()
        texts = (ctypes.c_char_p * len(headers))(*[path.read_bytes() for path in headers])
        names = (ctypes.c_char_p * len(headers))(*[path.name.encode() for path in headers])
        source = (SOURCES / "gpu_kernels.cu").read_bytes()
        create = self._library.nvrtcCreateProgram
        assert create(ctypes.byref(program), source, b"", len(headers), texts, names) == 0
        words = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        result = self._library.nvrtcCompileProgram(program, len(options), words)
        size = ctypes.c_size_t()
        assert self._library.nvrtcGetProgramLogSize(program, ctypes.byref(size)) == 0
        log = ctypes.create_string_buffer(size.value)
        assert self._library.nvrtcGetProgramLog(program, log) == 0
        assert self._library.nvrtcDestroyProgram(ctypes.byref(program)) == 0
        text = log.value.decode()
        assert result == 0, text
        return text


def definitions(config: ModelConfig, real: str) -> list[str]:
    """What the kernels are compiled for."""
    numbers = {
        "LMAX": config.lmax,
        "MMAX": config.mmax,
        "CHANNELS_OF_NODES": config.channels,
        "HIDDEN_CHANNELS": config.hidden_channels,
        "EDGE_CHANNELS": config.edge_channels,
        "NUM_BASIS": config.num_distance_basis,
        "GROUP": 32,
    }
    return [f"-DUMA_REAL={real}", *(f"-DUMA_{name}={value}" for name, value in numbers.items())]


@pytest.mark.skipif(find_spec("nvidia") is None, reason="nvidia-cuda-nvrtc is not installed")
@pytest.mark.parametrize(
    ("lmax", "real", "architecture"),
    [
        (2, "float", "sm_80"),
        (2, "float", "sm_90"),
        (2, "float", "sm_100"),
        (2, "double", "sm_90"),
        (4, "float", "sm_90"),
        pytest.param(2, "double", "sm_80", marks=pytest.mark.extended),
        pytest.param(2, "double", "sm_100", marks=pytest.mark.extended),
        pytest.param(4, "float", "sm_80", marks=pytest.mark.extended),
        pytest.param(4, "float", "sm_100", marks=pytest.mark.extended),
    ],
)
def test_kernels_compile_for_gpus_and_stay_in_registers(architecture, lmax, real):
    sizes: dict[str, Any] = {"channels": 128, "hidden_channels": 128, "edge_channels": 128}
    config = replace(ODD, lmax=lmax, mmax=2, num_distance_basis=64, **sizes, **PLAIN)
    options = [f"--gpu-architecture={architecture}", "--std=c++17", "-default-device"]
    log = RunTimeCompiler()([*options, "--ptxas-options=-v", *definitions(config, real)])
    kernels = set(
        re.findall(r"UMA_KERNEL\((\w+), \w+\)\n", (SOURCES / "gpu_kernels.cu").read_text())
    )
    found = re.findall(
        r"entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers", log, re.S
    )
    assert {name for name, _, _ in found} == kernels
    for name, spilled, registers in found:
        assert int(spilled) == 0, name
        assert int(registers) <= 168, name  # three blocks of 128 threads on a multiprocessor
