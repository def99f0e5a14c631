# SPDX-License-Identifier: MIT
"""What ``uma-md scaling`` does: choose rates and model, count, predict, print, draw."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from uma_md.commands.scaling import rates as measured
from uma_md.commands.scaling.counting import Reach
from uma_md.commands.scaling.prediction import UMA_S, Rates, collectives_of
from uma_md.commands.scaling.report import Row, Study, counted_table, plot, predicted_table
from uma_md.potential import Potential

CUTOFF = 6.0  # of all UMA models published so far, angstrom
MEASURED_WITH = "uma-nano"
ENGINES = {"lammps": ("bricks", 2.0), "ase": ("bisection", 1.0)}  # decomposition and skin

Say = Callable[[str], object]


class Request(NamedTuple):
    """What a user asks for; None where it is to be found out.

    Attributes
    ----------
    structure
        Name or path.
    ranks
    natoms
        For strong scaling.
    atoms_per_rank
        For weak scaling.
    engine
        ``lammps`` or ``ase``.
    decomposition, skin
    model, task
        Whose rows are sent, and whose edges are timed where their time is not given.
    seconds_per_edge, bandwidth, latency
    picture
        The file to draw into.
    look_at
        How many ranks are counted, of each number of them.
    """

    structure: str
    ranks: list[int]
    natoms: float | None
    atoms_per_rank: float | None
    engine: str
    decomposition: str | None
    skin: float | None
    model: str | None
    task: str | None
    seconds_per_edge: float | None
    bandwidth: float | None
    latency: float | None
    picture: Path | None
    look_at: int


def run(request: Request, say: Say) -> None:
    """Print tables, line by line, and draw.

    Raises
    ------
    OSError, ValueError
        When a number is not positive, or a part says so: structure, model, counting, measuring.
    """
    _check(request)
    study = _study(request, say)
    weak, strong = [], []
    if request.atoms_per_rank is not None or request.natoms is None:
        per_rank = request.atoms_per_rank or 4000.0
        weak = _rows(study, [(per_rank * ranks, ranks) for ranks in request.ranks], say)
        _print(f"Weak scaling, about {per_rank:.0f} atoms a rank", weak, study, say)
    if request.natoms is not None:
        strong = _rows(study, [(request.natoms, ranks) for ranks in request.ranks], say)
        _print(f"Strong scaling, about {request.natoms:.0f} atoms", strong, study, say)
    if request.picture is not None:
        plot(request.picture, weak, strong, f"{request.structure}, {study.decomposition}")
        say(f"{request.picture}")


def _check(request: Request) -> None:
    """Refuse numbers that mean nothing."""
    if not request.ranks or min(request.ranks) < 1:
        raise ValueError(f"--ranks must be numbers from 1 up, found {request.ranks}")
    names = ("natoms", "atoms_per_rank", "seconds_per_edge", "bandwidth", "latency")
    for name in names:
        value = getattr(request, name)
        if value is not None and not 0 < value < float("inf"):
            option = {"natoms": "atoms"}.get(name, name).replace("_", "-")
            raise ValueError(f"--{option} must be a positive number, found {value}")
    if request.picture is not None and find_spec("matplotlib") is None:
        raise ValueError("--plot must have matplotlib, found none: pip install 'uma-md[demo]'")
    if request.look_at < 3:
        raise ValueError(f"--look-at must be 3 ranks or more, found {request.look_at}")
    if request.skin is not None and not 0 <= request.skin <= 100:
        raise ValueError(f"--skin must be 0 to 100 angstrom, found {request.skin}")


def _study(request: Request, say: Say) -> Study:
    """Fill in what was not given, and say what is used."""
    decomposition, skin = ENGINES[request.engine]
    decomposition = request.decomposition or decomposition
    skin = skin if request.skin is None else request.skin
    potential = None
    if request.model is not None or request.seconds_per_edge is None:
        potential = measured.load(request.model or MEASURED_WITH, request.task or "omol")
    shape, cutoff = UMA_S, CUTOFF
    if request.model is not None and potential is not None:
        shape, cutoff = measured.shape_of(potential), potential.metadata.cutoff
    rates = _rates(request, potential)
    say(f"Decomposition: {decomposition}, pairs within {cutoff:g} + {skin:g} angstrom")
    say(
        f"Model: {shape.layers} layers, {shape.bytes_per_row} bytes a row, "
        f"{shape.balanced} balanced channels"
    )
    say(
        f"Rates: {1e6 * rates.seconds_per_edge:.3g} us per edge and step, "
        f"{1e-9 * rates.bandwidth:.3g} GB/s, {1e6 * rates.latency:.3g} us"
    )
    collectives = collectives_of(request.engine, shape)
    gather = ", then results to all ranks" if collectives.gathers_results else ""
    say(f"Over all ranks in each step: {collectives.sums} small sums{gather}")
    reach = Reach(cutoff, skin)
    return Study(
        request.structure, reach, decomposition, shape, rates, collectives, {}, request.look_at
    )


def _rates(request: Request, potential: Potential | None) -> Rates:
    """Rates as given, or as measured."""
    edge, bandwidth, latency = request.seconds_per_edge, request.bandwidth, request.latency
    if edge is None:
        assert potential is not None
        edge = measured.seconds_per_edge(potential)
    if bandwidth is None or latency is None:
        found = measured.network()
        bandwidth, latency = bandwidth or found[0], latency or found[1]
    return Rates(edge, bandwidth, latency)


def _rows(study: Study, sizes: list[tuple[float, int]], say: Say) -> list[Row]:
    """Count and predict each size; say why where that is not possible, unless none is."""
    found = [(ranks, _row_or_reason(study, natoms, ranks)) for natoms, ranks in sizes]
    rows = [row for _, row in found if isinstance(row, Row)]
    if not rows:
        raise ValueError(found[0][1])
    for ranks, reason in found:
        if isinstance(reason, str):
            say(f"{ranks} ranks: {reason}")
    return rows


def _row_or_reason(study: Study, natoms: float, ranks: int) -> Row | str:
    try:
        return study.row(natoms, ranks)
    except ValueError as error:
        return str(error)


def _print(title: str, rows: list[Row], study: Study, say: Say) -> None:
    say("")
    say(f"{title}: counted")
    for line in counted_table(rows, study.shape):
        say(line)
    say("")
    say(f"{title}: predicted")
    for line in predicted_table(rows):
        say(line)
