# SPDX-License-Identifier: MIT
"""Fixtures: the checkpoints of ``tests/data``, and one thread per process."""

import os
import sys
from pathlib import Path

import prepared
import pytest
import torch
from ase import Atoms
from ase_results import Results
from checkpoint_files import add_noise, rewrite
from structures import water_box

from uma_md import UMACalculator
from uma_md.export import export

DATA = Path(__file__).parent / "data"
VARIANTS = ("tiny-1p1", "tiny-1p2", "tiny-1p2p1", "tiny-m")
ESEN = ("esen-tiny", "esen-bare", "esen-few")

# Small matrices: threads that wait for each other cost more than they give, here and in the
# processes that tests start. Where ranks outnumber the cores, one that waits for a message sleeps.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPIR_CVAR_ENABLE_HEAVY_YIELD"] = "1"


def checkpoint(variant: str) -> Path:
    """Path of a checkpoint that fairchem-core wrote, with random weights."""
    return DATA / f"{variant}.pt"


@pytest.fixture(scope="session")
def calculators():
    """Calculators by variant, task and dtype, made once."""
    made: dict[tuple[str, str, str], UMACalculator] = {}

    def get(variant: str, task: str = "omol", dtype: str = "float64") -> UMACalculator:
        key = (variant, task, dtype)
        if key not in made:
            made[key] = UMACalculator(checkpoint(variant), task, device="cpu", dtype=dtype)
        return made[key]

    return get


@pytest.fixture(scope="session")
def results(calculators):
    """What the calculators give, as ``ase_results.Results`` by variant and task."""
    made: dict[tuple[str, str], Results] = {}

    def get(variant: str, task: str = "omol") -> Results:
        if (variant, task) not in made:
            made[variant, task] = Results(calculators(variant, task))
        return made[variant, task]

    return get


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Exported files by variant and options of ``export``, made once."""
    folder = tmp_path_factory.mktemp("exported")
    made: dict[tuple[object, ...], Path] = {}

    def get(variant: str, task: str = "omol", dtype: str = "float64", **options) -> Path:
        key = (variant, task, dtype, *sorted(options.items()))
        if key not in made:
            path = folder / f"{len(made)}.pt"
            export(checkpoint(variant), path, task, dtype=dtype, **options)
            made[key] = path
        return made[key]

    return get


@pytest.fixture(scope="session")
def fine_tunes(tmp_path_factory):
    """Checkpoints whose weights differ from a variant's by noise of a seed, made once."""
    folder = tmp_path_factory.mktemp("fine-tunes")

    def get(variant: str, seed: int, size: float = 0.02) -> Path:
        path = folder / f"{variant}-{seed}-{size}.pt"
        if not path.exists():
            rewrite(checkpoint(variant), path, lambda *content: add_noise(content[2], seed, size))
        return path

    return get


@pytest.fixture(scope="session")
def water() -> Atoms:
    """One molecule in a periodic box."""
    return water_box(1)


@pytest.fixture
def prepared_programs(monkeypatch):
    """What this process starts of its environment is forked instead, as ``prepared`` says."""
    monkeypatch.setattr(sys, "executable", str(prepared.python()))
    monkeypatch.setenv("PATH", prepared.path())


@pytest.fixture
def changed(tmp_path):
    """Checkpoints rewritten with a change to their config, tasks or weights."""

    def write(variant, change):
        return rewrite(checkpoint(variant), tmp_path / "changed.pt", change)

    return write


def pytest_addoption(parser):
    """How many random systems to try, and how large; what stands in for an accelerator."""
    parser.addoption("--trials", default="0:12", help="seeds of test_random_systems.py, FIRST:END")
    parser.addoption("--most-atoms", type=int, default=60, help="in a random system")
    parser.addoption(
        "--gpu-rehearsal", action="store_true", help="run test_gpu.py with the CPU as its device"
    )
