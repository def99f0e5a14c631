# SPDX-License-Identifier: MIT
"""What a benchmark found, and what follows; the layout of the JSON is in docs/commands.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from uma_md.commands.bench.force_calls import Outcome
from uma_md.commands.bench.layouts import Layout

FORMAT, FORMAT_VERSION = "uma-md bench", 1
EXACT = ("float32", "fp16x3", "bf16x6")  # about the same errors
GAIN = 1.1  # times between runs of a shared machine differ by as much


def nanoseconds_per_day(seconds: float, timestep: float) -> float:
    """Speed of dynamics, from the seconds of a step and its length in fs."""
    return 86400 / seconds * timestep * 1e-6


def best_options(outcomes: list[Outcome]) -> dict[str, Any]:
    """The options of the fastest force calls, none where they gain little over the defaults.

    Parameters
    ----------
    outcomes
        The first one is that of the defaults.
    """
    good = [o for o in outcomes if o.seconds is not None and o.precision in EXACT]
    if not good:
        return {}
    fastest = min(good, key=_seconds)
    defaults = outcomes[0].seconds
    if defaults is not None and defaults < GAIN * _seconds(fastest):
        return outcomes[0].options
    return fastest.options


def recommend(outcomes: list[Outcome], layouts: list[Layout], timestep: float) -> dict[str, Any]:
    """What to use: settings, ranks and threads, and the speed to expect.

    Parameters
    ----------
    outcomes
        Force calls; the first one is that of the defaults.
    layouts
        Steps of LAMMPS with the best options.
    timestep
        fs.
    """
    options = best_options(outcomes)
    best: dict[str, Any] = {"options": options, "ranks": None, "threads": None}
    times = [o.seconds for o in outcomes if o.options == options and o.seconds is not None]
    done = [layout for layout in layouts if layout.seconds is not None]
    if done:
        fastest = min(done, key=_seconds)
        best |= {"ranks": fastest.ranks, "threads": fastest.threads}
        times = [_seconds(fastest)]
    seconds = times[0] if times else None
    speed = None if seconds is None else nanoseconds_per_day(seconds, timestep)
    return {**best, "seconds_per_step": seconds, "ns_per_day": speed}


def _seconds(measured: Outcome | Layout) -> float:
    assert measured.seconds is not None
    return measured.seconds


def as_json(
    about: dict[str, Any], outcomes: list[Outcome], layouts: list[Layout], timestep: float
) -> dict[str, Any]:
    """The report as plain values."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **about,
        "timestep": timestep,
        "force_calls": [asdict(outcome) for outcome in outcomes],
        "lammps": [asdict(layout) for layout in layouts],
        "recommended": recommend(outcomes, layouts, timestep),
    }


def as_text(report: dict[str, Any]) -> Iterator[str]:
    """The report as lines."""
    yield f"{report['atoms']} atoms, {report['structure']}, task {report['task']}"
    yield f"{'force call':<24} {'seconds':>9} {'first':>7} {'memory':>10}  computed by"
    for row in report["force_calls"]:
        if row["seconds"] is None:
            yield f"{row['name']:<24} {'-':>9} {row['error']}"
            continue
        memory = f"{row['memory'] / 2**20:.0f} MiB"
        yield (
            f"{row['name']:<24} {row['seconds']:>9.4f} {row['first']:>7.2f} {memory:>10}  "
            f"{row['engine']}, {row['precision']}, {row['device']}"
        )
    if report["lammps"]:
        yield f"{'LAMMPS':<24} {'s/step':>9} {'ns/day':>7}"
    for row in report["lammps"]:
        name = f"{row['ranks']} ranks x {row['threads']} threads"
        if row["seconds"] is None:
            yield f"{name:<24} {'-':>9} {row['error']}"
            continue
        speed = nanoseconds_per_day(row["seconds"], report["timestep"])
        yield f"{name:<24} {row['seconds']:>9.4f} {speed:>7.3g}"
    yield from _advice(report["recommended"], report["timestep"])


def _advice(best: dict[str, Any], timestep: float) -> Iterator[str]:
    if best["ns_per_day"] is None:
        yield "nothing could be measured: see above, and 'uma-md doctor'"
        return
    words = " ".join(f"{name} {value}" for name, value in best["options"].items())
    expected = f"expect {best['ns_per_day']:.3g} ns/day at {timestep:g} fs"
    if best["ranks"] is None:
        yield f"recommended: UMACalculator with {words or 'its defaults'}; {expected}"
        return
    start = f"OMP_NUM_THREADS={best['threads']} mpiexec -n {best['ranks']} lmp"
    yield f"recommended: {start}, pair_style uma {words or 'with its defaults'}; {expected}"
