# SPDX-License-Identifier: MIT
"""Benchmarks run: at their smallest, for what they print and not for how fast."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import checkpoint
from two_nodes import why_not

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MODEL = str(checkpoint("tiny-1p2p1"))

pytestmark = pytest.mark.extended


def run(name: str, *options: str) -> list[str]:
    """Lines that a benchmark prints."""
    command = [sys.executable, str(BENCHMARKS / name), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.ipi
def test_drivers_are_compared_with_that_of_ipi():
    pytest.importorskip("ipi", reason="i-PI is not installed")
    lines = run("driver_cost.py", "--case", "32x8", "--batch", "--repeats", "1")
    assert [line.split()[3] for line in lines] == ["stock", "ours", "graph"]
    for line in lines:
        assert line.startswith("32x8 unix batched")
        cpu, wall = (
            float(re.findall(rf"(\S+) ms{unit}", line)[0]) for unit in (" cpu/step", "/step")
        )
        assert 0 < cpu < wall


def test_force_calls_of_both_engines_are_timed():
    lines = run(
        "force_calls.py", MODEL, "--structure", "mol:H2O", "--repeats", "1", "--threads", "1"
    )
    assert lines[0] == "3 atoms, 1 threads, float32"
    for engine in ("kernels", "portable"):
        for kept in ("kept", "recomputed"):
            assert sum(line.startswith(f"{engine}, {kept} ") for line in lines) == 1


def test_predictions_in_batches_are_those_one_by_one():
    lines = run("predictions.py", MODEL, "--count", "8", "--repeats", "1", "--threads", "1")
    differences = [float(line.rsplit(maxsplit=1)[1]) for line in lines[1:]]
    assert len(differences) == 3
    assert max(differences) < 1e-5


@pytest.mark.mpi
@pytest.mark.skipif(bool(why_not()), reason=why_not())
@pytest.mark.skipif(shutil.which("tc") is None, reason="needs tc, as of the package iproute2")
def test_the_network_of_two_nodes_is_as_slow_as_is_asked_for():
    """Rows take their time on the wire, which calls with and without overlap can only add to."""
    small = "--atoms 96 --calls 1 --megabytes 100 0.3"
    fast, slow = (
        list(map(float, line.split()))
        for line in run("overlap.py", MODEL, "--task", "omol", *small.split())[1:]
    )
    assert slow[1] > 100 * fast[1]
    assert min(slow[2:4]) > 0.7 * slow[1]
    assert slow[4] == pytest.approx(slow[3] / slow[2], abs=0.01)


@pytest.mark.lammps
@pytest.mark.mpi
def test_the_tables_of_scaling_are_printed():
    small = "--atoms 24 --ranks 1 2 --steps 1 --repeats 1"
    text = "\n".join(run("scaling.py", "--model", MODEL, *small.split()))
    parts = dict(re.findall(r"## (\w+)\n(.*?)(?=## |\Z)", text, re.DOTALL))
    assert list(parts) == ["layouts", "ranks", "prediction"]
    for part in parts.values():
        head, _, *rows = re.findall(r"^\| (.*) \|$", part, re.MULTILINE)
        assert len(rows) == 2
        for row in rows:
            name, *numbers = row.split(" | ")
            assert len(numbers) == head.count("|")
            assert all(float(number) > 0 for number in numbers), (name, numbers)
    assert re.search(r"Efficiency of two ranks over two threads: \d+\.\d\d\n", parts["layouts"])


def test_memory_by_size_is_fitted():
    lines = run("memory.py", MODEL, "--task", "omol", "--atoms", "12", "96", "--recompute", "on")
    assert [line.split(" atoms")[0] for line in lines[:2]] == ["12", "96"]
    assert lines[2].startswith("fit: ")


@pytest.mark.lammps
@pytest.mark.mpi
def test_start_up_is_measured_by_ranks(exported):
    lines = run("startup.py", str(exported("tiny-1p2p1")), "--ranks", "1", "2")
    heads = ["1 ranks, load", "1 ranks, first", "2 ranks, load", "2 ranks, first"]
    assert [line.partition(":")[0] for line in lines] == heads
    read = re.findall(r"read, MB: (.*?);", "\n".join(lines))
    assert [len(each.split(", ")) for each in read] == [1, 1, 2, 2]
