# SPDX-License-Identifier: MIT
"""Products of numbers that are split into two or three of bfloat16, on CPUs.

Those of AMX are compiled against ``amx_stand_in`` and run on any processor; whole networks need a
processor that multiplies bfloat16.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lammps_runs import Block, launch, read_prediction, run, static_script
from lammps_session import ONE_THREAD
from structures import structure
from test_kernels import KERNELS, ODD, OPTIMIZED, cluster, evaluate, make_model

from uma_md import UMACalculator
from uma_md.build import find_compiler
from uma_md.config import ModelConfig
from uma_md.kernel_stages import KernelStages
from uma_md.kernels import library
from uma_md.memory import Keep

STAND_IN = Path(__file__).with_name("amx_stand_in")
HAS_LIBRARY = library.load()
needs_bf16 = pytest.mark.skipif(
    not HAS_LIBRARY or not torch.ops.uma_md.bf16_instructions(),
    reason="this processor does not multiply bfloat16, or the kernels are not compiled",
)
PARTS = {"bf16x3": 2, "bf16x6": 3}
# Of a product, by the largest number of its result.
ERRORS = {"bf16x3": 1e-5, "bf16x6": 1e-6}
# Of every product, more than one tile and less than a whole number of them.
WIDE = replace(
    ODD,
    channels=33,
    hidden_channels=24,
    edge_channels=72,
    num_distance_basis=65,
    charge_channels=(0, 0),
    spin_channels=(0, 0),
)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> ctypes.CDLL:
    """Products by the stand-in; they give what was wrong with the use of registers."""
    target = tmp_path_factory.mktemp("amx") / "products.so"
    words = ["UMA_AMX", "UMA_INSTRUCTIONS=amx", 'UMA_TILE_STAND_IN="tiles.h"']
    command = [*find_compiler(), "-std=c++20", "-shared", "-fPIC", "-Wall", "-Wno-psabi"]
    command += [*OPTIMIZED, f"-I{KERNELS}", f"-I{STAND_IN}", *(f"-D{word}" for word in words)]
    subprocess.run([*command, STAND_IN / "products.cpp", "-o", target], check=True)
    found = ctypes.CDLL(str(target))
    found.multiply.restype = found.multiply_complex.restype = ctypes.c_char_p
    return found


def split(matrix: torch.Tensor, parts: int) -> torch.Tensor:
    """Parts of weights (inner, columns), in the order of ``bf16.h``."""
    inner, columns = (-(-size // 32) * 32 for size in matrix.shape)
    rest = torch.zeros(inner, columns)
    rest[: matrix.shape[0], : matrix.shape[1]] = matrix
    rounded = []
    for _ in range(parts):
        rounded.append(rest.bfloat16())
        rest = rest - rounded[-1].float()
    return torch.stack(
        [
            part[k : k + 32, c : c + 16].reshape(16, 2, 16).transpose(1, 2)
            for panel in range(0, columns, 32)
            for k in range(0, inner, 32)
            for part in rounded
            for c in (panel, panel + 16)
        ]
    )


def surrounded(rows: int, columns: int, room: int = 3) -> torch.Tensor:
    """Rows of random numbers, with NaN behind each."""
    numbers = torch.full((rows, columns + room), torch.nan)
    numbers[:, :columns] = torch.randn(
        rows, columns, generator=torch.Generator().manual_seed(rows * columns)
    )
    return numbers


def pointer(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def call(
    product: Callable[..., bytes | None],
    precision: str,
    shape: tuple[int, int, int],
    x: torch.Tensor,
    *others: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """A product of the stand-in for rows, inner and columns; it must use registers well."""
    wrong = product(
        PARTS[precision],
        *shape,
        pointer(x),
        x.shape[1],
        *map(pointer, others),
        pointer(out),
        out.shape[1],
    )
    assert wrong is None, wrong.decode()


def error_of(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).abs().max() / exact.abs().max())


SHAPES = [
    (1, 64, 16),
    (16, 64, 32),
    (33, 65, 17),  # rows, inner and columns beyond whole tiles
    (31, 300, 50),  # several pieces of the inner dimension
    (530, 96, 40),  # more rows than are split at a time
]


@pytest.mark.parametrize("precision", PARTS)
@pytest.mark.parametrize(("rows", "inner", "columns"), SHAPES)
def test_products_by_tiles(rows, inner, columns, precision, tiles):
    x, weights = surrounded(rows, inner), surrounded(inner, columns)[:, :columns].contiguous()
    biases = torch.full((columns + 31,), torch.nan)
    biases[:columns] = torch.linspace(-9, 9, columns)
    packed = split(weights, PARTS[precision])
    for bias in (None, biases):
        out = torch.full((rows + 2, columns + 5), 7.0)
        call(tiles.multiply, precision, (rows, inner, columns), x, packed, bias, out=out)
        exact = x[:, :inner].double() @ weights.double()
        if bias is not None:
            exact += bias[:columns].double()
        assert error_of(out[:rows, :columns], exact) < ERRORS[precision]
        assert (out[:rows, columns:] == 7).all()
        assert (out[rows:] == 7).all()


@pytest.mark.parametrize("precision", PARTS)
@pytest.mark.parametrize(("rows", "inner", "columns"), SHAPES)
def test_complex_products_by_tiles(rows, inner, columns, precision, tiles):
    x = surrounded(rows, 2 * inner)
    real, imaginary = surrounded(2 * inner, columns)[:, :columns].split(inner)
    out = torch.full((rows + 2, 2 * columns + 5), 7.0)
    matrices = [split(m, PARTS[precision]) for m in (real, -(real + imaginary), imaginary - real)]
    call(tiles.multiply_complex, precision, (rows, inner, columns), x, *matrices, out=out)
    a, b = x[:, : 2 * inner].double().split(inner, dim=1)
    product = torch.complex(a, b) @ torch.complex(real.double(), imaginary.double())
    exact = torch.cat((product.real, product.imag), dim=1)
    assert error_of(out[:rows, : 2 * columns], exact) < 3 * ERRORS[precision]
    assert (out[:rows, 2 * columns :] == 7).all()
    assert (out[rows:] == 7).all()


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, 0x7FFF8000, -1, 0x7F800000])
def test_what_is_not_finite_gives_nan(bits, tiles):
    """Whatever the bits of NaN, and for infinity, too; other rows stay as they are."""
    x, weights = surrounded(18, 64, 0), surrounded(64, 32, 0)
    x.view(torch.int32)[3, 40] = bits
    out = torch.zeros(18, 32)
    for precision, parts in PARTS.items():
        packed = split(weights, parts)
        call(tiles.multiply, precision, (18, 64, 32), x, packed, None, out=out)
        assert out[3].isnan().all()
        assert int(out.isnan().sum()) == 32


@needs_bf16
@pytest.mark.parametrize("config", [WIDE, replace(WIDE, lmax=4)], ids=["lmax2", "lmax4"])
def test_networks_are_as_exact_as_their_products(config: ModelConfig):
    model, graph = make_model(config), cluster(14)
    exact = evaluate(model, graph)
    single = model.to(torch.float32)
    graph = graph._replace(vectors=graph.vectors.float())
    size = float(exact.gradients.abs().max())
    errors = {
        precision: float(
            (evaluate(single, graph, precision=precision).gradients - exact.gradients).abs().max()
        )
        / size
        for precision in ("float32", *PARTS)
    }
    assert errors["bf16x6"] < 2 * max(errors["float32"], 5e-7)
    assert errors["bf16x6"] < errors["bf16x3"] < 3e-5  # so products were split


@needs_bf16
@pytest.mark.parametrize("precision", PARTS)
def test_results_are_the_same_bits_for_any_number_of_threads_and_whatever_is_kept(precision):
    model, graph = make_model(WIDE, torch.float32), cluster(60, torch.float32)
    first = evaluate(model, graph, precision=precision)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for keep in Keep:
                found = evaluate(model, graph, keep, precision=precision)
                assert torch.equal(found.gradients, first.gradients)
                assert torch.equal(found.energies, first.energies)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not HAS_LIBRARY, reason="the kernels are not compiled")
@pytest.mark.parametrize("precision", ["tf32", "fp16x3"])
def test_kernels_on_cpus_refuse_what_is_for_gpus(precision):
    edges = KernelStages(make_model(WIDE, torch.float32), precision=precision)
    with pytest.raises(RuntimeError, match=f"another device for precision {precision}"):
        edges.merge()


@needs_bf16
@pytest.mark.parametrize("precision", PARTS)
def test_forces_of_the_calculator(precision):
    atoms = structure("water:8")
    forces = {}
    for name in ("float32", precision):
        atoms.calc = UMACalculator("uma-nano", "omol", "cpu", precision=name)
        assert atoms.calc.precision == name
        forces[name] = atoms.get_forces()
    difference = np.abs(forces[precision] - forces["float32"]).max()
    assert 0 < difference < 5e-5


@needs_bf16
@pytest.mark.lammps
@pytest.mark.mpi
def test_forces_in_lammps(exported, tmp_path):
    file = exported("tiny-1p2p1", dtype="float32")
    atoms = structure("water:8")
    atoms.calc = UMACalculator(file, device="cpu")
    expected = atoms.get_forces()
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        blocks = [Block(atoms, file, f"precision {name}") for name in PARTS]
        screen = run(static_script(blocks, folder), ranks, folder)
        for index, name in enumerate(PARTS):
            found = read_prediction(blocks[index], folder / str(index))
            assert 0 < np.abs(found.forces - expected).max() < 2e-4
            assert f"engine: kernels, precision {name}" in screen


WITHOUT = """
from uma_md import UMACalculator
for precision in ("bf16x3", "bf16x6"):
    try:
        UMACalculator("uma-nano", "omol", "cpu", precision=precision)
    except ValueError as error:
        print(error)
"""


@pytest.mark.skipif(not HAS_LIBRARY, reason="the kernels are not compiled")
def test_a_processor_without_bfloat16_is_refused():
    words = [sys.executable, "-c", WITHOUT]
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    sentence = "must have a processor with bfloat16 (AMX, or AVX-512 with BF16) and a compiler"
    assert done.stdout.count(sentence) == 2


@pytest.mark.lammps
@pytest.mark.mpi
def test_a_processor_without_bfloat16_is_refused_in_lammps(exported, tmp_path):
    block = Block(structure("water:8"), exported("tiny-1p2p1", dtype="float32"))
    block.style = "precision bf16x6"
    script = block.setup(tmp_path, 0) + "\nrun 0"
    environment = ONE_THREAD | {"ATEN_CPU_CAPABILITY": "avx2"}
    done = launch(script, 2, tmp_path, environment=environment)
    assert done.returncode != 0
    assert "precision bf16x6 must have a processor with bfloat16" in done.stdout
