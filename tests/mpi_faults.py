# SPDX-License-Identifier: MIT
"""What goes wrong on one rank for ``test_mpi.py``, and what the others say of it."""

import ctypes
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from mpi_cases import atoms_of, model
from mpi_checks import WORLD, outcome

import uma_md.calculator
from uma_md import UMACalculator
from uma_md.ranks import spatial
from uma_md.ranks.agreement import Ranks
from uma_md.ranks.decomposition import Part
from uma_md.ranks.halo_exchange import MPIExchange, plan_halo
from uma_md.ranks.spatial import SpatialEvaluator
from uma_md.ranks.transfer import MovingRows


def only(rank: int, there, elsewhere):
    """A value on one rank, another one on the others."""
    return there if WORLD.rank == rank else elsewhere


def loading_errors():
    """Arguments that are wrong on one rank only."""
    good = {"model": model("tiny-1p1"), "task": "omol", "device": "cpu"}
    changes = {
        "file": ("model", Path("missing.pt")),
        "other model": ("model", model("tiny-1p2")),
        "other task": ("task", "omat"),
        "unknown task": ("task", "ocean"),
        "device": ("device", "gpu"),
        "chunk": ("chunk", 0),
    }
    found = {}
    for name, (key, value) in changes.items():
        for rank in (0, WORLD.size - 1):
            arguments = good | only(rank, {key: value}, {})
            mine = outcome(lambda given=arguments: UMACalculator(**given, comm=WORLD))
            found[name, rank] = WORLD.gather(mine)
    return found


def structure_errors():
    """Structures that one rank, or all, cannot serve; the calculator works afterwards."""
    calculator = UMACalculator(model("tiny-1p1"), "omol", dtype="float64", comm=WORLD, device="cpu")
    valid = atoms_of("water:8")

    def changed(change) -> Atoms:
        atoms = valid.copy()
        change(atoms)
        return atoms

    cluster = np.stack(np.meshgrid(*[np.arange(7) * 0.4] * 3), axis=-1).reshape(-1, 3)
    sparse = np.random.default_rng(0).uniform(0, 1, (1029, 3)) * [200, 40, 40] + [20, 0, 0]
    structures = {
        "positions": only(1, changed(lambda a: a.rattle(1e-9)), valid),
        "cell": only(1, changed(lambda a: a.set_cell(a.cell * 1.01)), valid),
        "atoms": only(1, valid[:-1], valid),
        "pbc": only(1, changed(lambda a: a.set_pbc((1, 1, 0))), valid),
        "charge": only(1, changed(lambda a: a.info.update(charge=0.5)), valid),
        "half charge": changed(lambda a: a.info.update(charge=0.5)),
        "no number": changed(lambda a: a.positions.__setitem__((3, 1), np.nan)),
        "flat cell": changed(lambda a: a.set_cell([[9, 0, 0], [0, 9, 0], [9, 9, 0]])),
        "same position": changed(lambda a: a.positions.__setitem__(20, a.positions[3])),
        "crowd": Atoms("H1372", np.concatenate((cluster, sparse))),
        "no atoms": Atoms(),
        "lone": Atoms("H"),
    }
    found = {}
    for name, atoms in structures.items():
        mine = outcome(lambda atoms=atoms: calculator.get_potential_energy(atoms))
        found[name] = WORLD.gather(mine)
    return found, calculator.get_potential_energy(valid)


def faults_in_the_sweeps():
    """What breaks one rank in the midst of an evaluation, while others wait for its rows."""
    calculator = UMACalculator(
        model("tiny-1p1"), "omol", dtype="float64", comm=WORLD, recompute="off", device="cpu"
    )
    atoms = atoms_of("water:32")
    faults = {
        "NaN": lambda: spoiled_bias(calculator, float("nan")),
        "product": lambda: at_the_second_update(calculator, 1, wrong_product),
        "memory": little_memory,
        "interrupt": lambda: at_the_second_update(calculator, 1, interrupt),
    }
    found = {}
    for name, fault in faults.items():
        calculator.reset()
        # Memory of earlier evaluations is room, too: this one needs a multiple of theirs.
        given = atoms.repeat((2, 2, 1)) if name == "memory" else atoms
        with fault():
            mine = outcome(lambda given=given: calculator.get_potential_energy(given))
        found[name] = WORLD.gather(mine)
    return found, calculator.get_potential_energy(atoms)


@contextmanager
def spoiled_bias(calculator, value):
    bias = calculator._potential.network.head[4].bias
    kept = bias.clone()
    if WORLD.rank == 1:
        bias.fill_(value)
    yield
    bias.copy_(kept)


@contextmanager
def at_the_second_update(calculator, rank: int, action: Callable[[], object]):
    """What a rank does besides before its nodes are updated in the second layer, by any engine."""
    with at_the_update(calculator._potential, 1, rank, action):
        yield


@contextmanager
def at_the_update(potential, at: int, rank: int, action: Callable[[], object]):
    """The same of a potential, in any layer."""
    stages = potential._evaluator.stages
    kept = stages.update

    def update(layer, x, m):
        if layer == at and rank == WORLD.rank:
            action()
        return kept(layer, x, m)

    stages.update = update
    try:
        yield
    finally:
        del stages.update


def interrupt():
    """Ctrl-C that reaches this rank alone."""
    signal.raise_signal(signal.SIGINT)


def wrong_product():
    """Factors of two precisions."""
    torch.nn.Linear(1, 1)(torch.ones(1, 1, dtype=torch.float64))


@contextmanager
def little_memory():
    """Room for another 8 MB on one rank: less than an evaluation takes."""
    ctypes.CDLL(None).malloc_trim(0)
    kept = resource.getrlimit(resource.RLIMIT_AS)
    if WORLD.rank == 1:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 8 * 2**20, kept[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, kept)


def faults_around_the_sweeps():
    """What breaks one rank before and after others communicate, or while it waits for them."""
    calculator = UMACalculator(model("tiny-1p1"), "omol", dtype="float64", comm=WORLD, device="cpu")
    atoms = atoms_of("water:8")
    found: dict[Any, Any] = {}
    for name, owner, part, kind in (
        ("copy", Calculator, "calculate", MemoryError),
        ("checks", uma_md.calculator, "check_geometry", ValueError),
        ("merge", type(calculator._potential), "merge", RuntimeError),
        ("before", UMACalculator, "_evaluate", ValueError),
        ("division", spatial, "assign_owners", RecursionError),
        ("halo", spatial, "plan_halo", MemoryError),
        ("results", SpatialEvaluator, "_collect", TypeError),
        ("stress", uma_md.calculator, "ase_stress", KeyError),
    ):
        calculator.reset()
        broken = 0 if name == "division" else 1
        with broken_part(owner, part, kind("broken"), broken):
            found[name] = WORLD.gather(outcome(lambda: calculator.get_forces(atoms)))
    found |= faults_with_a_kept_division(calculator)
    calculator.reset()
    with late_interrupt(calculator):
        found["waiting"] = WORLD.gather(outcome(lambda: calculator.get_forces(atoms)))
    for name, options in {
        "keyword": only(1, {"chunks": 3}, {}),
        "path": only(1, {"directory": 3.5}, {}),
    }.items():
        given = {"model": model("tiny-1p1"), "task": "omol", "comm": WORLD, **options}
        found[name] = WORLD.gather(outcome(lambda given=given: UMACalculator(**given)))
    task = only(1, "omat", "omol")
    found["task"] = WORLD.gather(outcome(lambda: setattr(calculator, "task", task)))
    return found, calculator.get_potential_energy(atoms)


def faults_with_a_kept_division(calculator: UMACalculator) -> dict[Any, Any]:
    """What breaks one rank when no agreement comes before the first rows."""
    atoms, found = atoms_of("water:8"), {}
    faults: list[tuple[str, Any, str, type[Exception]]] = [
        ("copy again", Calculator, "calculate", MemoryError),
        ("checks again", uma_md.calculator, "check_geometry", ValueError),
        ("merge again", type(calculator._potential), "merge", RuntimeError),
        ("before again", UMACalculator, "_evaluate", ValueError),
        ("graph", Part, "graph", MemoryError),
        ("rows travel", MovingRows, "test", RuntimeError),
        ("gather", MPIExchange, "gather", RuntimeError),
        ("results again", SpatialEvaluator, "_collect", TypeError),
    ]
    calculator.get_forces(atoms)  # no results are left of an evaluation that failed at its end
    for name, owner, part, kind in faults:
        for rank in (1, 0):
            atoms.rattle(0.001, seed=rank)
            with broken_part(owner, part, kind("broken"), rank):
                mine = outcome(lambda: calculator.get_forces(atoms))
            found[name, rank] = WORLD.gather(mine)
    return found


@contextmanager
def broken_part(owner, part: str, failure: Exception, rank: int):
    kept = getattr(owner, part)

    def fail(*_, **__):
        raise failure

    if WORLD.rank == rank:
        setattr(owner, part, fail)
    yield
    setattr(owner, part, kept)


@contextmanager
def late_interrupt(calculator):
    """Ctrl-C that reaches one rank alone, while it waits for another."""
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    if WORLD.rank == 1:
        timer.start()
    with at_the_second_update(calculator, 0, lambda: time.sleep(5)):
        yield


def breakdown():
    """Communication itself fails on one rank; the run must end, with no result."""
    ranks = Ranks(WORLD)
    with ranks.together():
        if WORLD.rank == 1:
            ranks.comm.Send(np.zeros(1), dest=WORLD.size + 7)
        ranks.comm.Recv(np.zeros(1), source=(WORLD.rank + 1) % WORLD.size)


def broken_exchange():
    """One rank expects fewer rows than are sent to it; the run must end, with no result."""
    ranks = Ranks(WORLD)
    with ranks.together():
        neighbor = np.array([(WORLD.rank + 1) % WORLD.size])
        plan = plan_halo(ranks, 2, neighbor, np.array([1]))
        if WORLD.rank == 1:
            plan = plan._replace(sources=[plan.sources[0]._replace(rows=0)])
        rows = torch.full((2, 3), float(WORLD.rank))
        for _ in range(3):
            MPIExchange(ranks, plan, torch.device("cpu")).start_forward(rows).wait()
