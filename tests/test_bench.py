# SPDX-License-Identifier: MIT
"""What `uma-md bench` measures here, and what it advises from given numbers."""

import json
import re

import pytest
from command_runs import done, ethanol_pdb, uma_md

from uma_md.commands.bench.force_calls import Outcome, Trial, measure
from uma_md.commands.bench.layouts import Layout, layouts
from uma_md.commands.bench.report import (
    FORMAT,
    FORMAT_VERSION,
    as_json,
    as_text,
    best_options,
    nanoseconds_per_day,
    recommend,
)
from uma_md.commands.bench.run import default_task
from uma_md.precision import precisions_for

pytestmark = pytest.mark.usefixtures("prepared_programs")


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.slow
def test_a_small_molecule_is_measured_in_all_ways(tmp_path):
    words = ("--device", "cpu", "--repeats", 1, "--steps", 2, "--json", tmp_path / "bench.json")
    said = done("bench", "uma-nano", ethanol_pdb(tmp_path), *words)
    report = json.loads((tmp_path / "bench.json").read_text())
    assert (report["format"], report["format_version"]) == (FORMAT, FORMAT_VERSION)
    assert (report["task"], report["atoms"], report["timestep"]) == ("omol", 9, 0.5)
    rows = {row["name"]: row for row in report["force_calls"]}
    names = ["defaults", "recompute on", "chunk 256", "chunk 4096", "engine portable"]
    names += [f"precision {precision}" for precision in precisions_for("cpu")]
    assert list(rows) == [*names, "dtype float64"]
    for row in rows.values():
        assert row["error"] == ""
        assert 0 < row["seconds"] < 60
        assert row["memory"] > 1e5
        assert row["device"] == "cpu"
    assert rows["dtype float64"]["precision"] == "float64"
    assert rows["engine portable"]["engine"] == "portable"
    assert rows["engine portable"]["memory"] > rows["defaults"]["memory"]
    assert [row["ranks"] * row["threads"] for row in report["lammps"]] == [report["cores"]] * len(
        report["lammps"]
    )
    best = report["recommended"]
    fastest = min(report["lammps"], key=lambda row: row["seconds"])
    assert (best["ranks"], best["threads"]) == (fastest["ranks"], fastest["threads"])
    assert best["ns_per_day"] == pytest.approx(86400 / fastest["seconds"] * 0.5e-6)
    assert f"expect {best['ns_per_day']:.3g} ns/day at 0.5 fs" in said.splitlines()[-1]


def measured(name: str, seconds: float | None, precision: str = "float32", /, **options) -> Outcome:
    return Outcome(name, options, seconds, 1.0, 1 << 20, "kernels", precision, "cuda:0")


DEFAULTS = measured("defaults", 0.100)


def test_settings_are_advised_where_they_gain_something():
    fast = measured("precision fp16x3", 0.060, "fp16x3", precision="fp16x3")
    rough = measured("precision tf32", 0.030, "tf32", precision="tf32")
    alike = measured("chunk 8192", 0.095, chunk=8192)
    failed = measured("recompute on", None)
    assert best_options([DEFAULTS, alike, failed]) == {}
    assert best_options([DEFAULTS, fast, rough, alike]) == {"precision": "fp16x3"}
    assert best_options([measured("defaults", None), alike]) == {"chunk": 8192}
    assert best_options([measured("defaults", None)]) == {}


def test_ranks_and_speed_follow_the_fastest_steps():
    ways = [Layout(1, 4, 0.4), Layout(2, 2, 0.2), Layout(4, 1, None, "out of memory")]
    best = recommend([DEFAULTS], ways, 0.5)
    assert (best["ranks"], best["threads"]) == (2, 2)
    assert best["ns_per_day"] == nanoseconds_per_day(0.2, 0.5) == pytest.approx(0.216)
    alone = recommend([DEFAULTS], [], 1.0)
    assert (alone["ranks"], alone["seconds_per_step"]) == (None, 0.1)
    assert recommend([measured("defaults", None)], [], 1.0)["ns_per_day"] is None


def test_what_failed_is_in_the_table_with_its_reason():
    bad = Outcome("chunk 256", {"chunk": 256}, error="ValueError: no such device")
    ways = [Layout(2, 1, None, "LAMMPS on 2 ranks ended with the error: none")]
    about = {"model": "m", "structure": "s", "task": "omol", "atoms": 3, "cores": 2}
    lines = list(as_text(as_json(about, [DEFAULTS, bad], ways, 0.5)))
    assert any(re.search(r"chunk 256 +- ValueError: no such device", line) for line in lines)
    assert any("ended with the error: none" in line for line in lines)
    assert lines[-1].startswith("recommended: UMACalculator with its defaults; expect 0.432 ns")
    nothing = list(as_text(as_json(about, [bad], ways, 0.5)))
    assert nothing[-1] == "nothing could be measured: see above, and 'uma-md doctor'"


@pytest.mark.parametrize(
    ("cores", "accelerators", "atoms", "expected"),
    [
        (1, 0, 100, [(1, 1)]),
        (4, 0, 100, [(1, 4), (2, 2), (4, 1)]),
        (6, 0, 3, [(1, 6), (2, 3), (3, 2)]),
        (16, 1, 100, [(1, 8), (2, 8)]),
        (32, 4, 100, [(4, 4), (8, 4)]),
    ],
)
def test_ranks_and_threads_fill_the_cores(cores, accelerators, atoms, expected):
    assert layouts(cores, accelerators, atoms) == expected


def test_many_divisors_are_thinned_out():
    found = layouts(96, 0, 10_000)
    assert len(found) == 5
    assert (found[0], found[-1]) == ((1, 96), (96, 1))
    assert all(ranks * threads == 96 for ranks, threads in found)


def test_a_trial_that_fails_says_why(tmp_path):
    trial = Trial("x", str(tmp_path / "none.pt"), str(ethanol_pdb(tmp_path)), "cpu", 1, 1)
    found = measure(trial)
    assert found.seconds is None
    assert found.error


def test_tasks_are_chosen(exported):
    assert default_task("uma-nano") == "omol"
    assert default_task(str(exported("tiny-1p1", "oc20"))) == "oc20"


def test_a_task_that_is_missing_is_refused():
    result = uma_md("bench", "uma-nano", "--task", "odac")
    assert result.exit_code == 1
    assert "task must be one of omol, omat, oc20; found 'odac'" in result.output
