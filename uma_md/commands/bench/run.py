# SPDX-License-Identifier: MIT
"""A benchmark from the beginning to its report."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from uma_md.commands.bench.force_calls import Outcome, Trial, measure
from uma_md.commands.bench.layouts import Layout, layouts, measure_layout
from uma_md.commands.bench.report import as_json, best_options
from uma_md.commands.launch import LaunchError, find_lammps
from uma_md.commands.setup.case import Case, Wishes
from uma_md.commands.setup.lammps_files import SYSTEM
from uma_md.commands.setup.prepare import put_model, read_start, setup
from uma_md.commands.setup.record import MODEL, STRUCTURE
from uma_md.files import exported
from uma_md.hub.download import resolve
from uma_md.loading import UMASource
from uma_md.precision import precisions_for
from uma_md.progress import Progress
from uma_md.ranks.placement import pick_device, usable_cores

SUITED = {"omat": "cu", "oc20": "slab", "oc22": "slab", "oc25": "slab"}  # water for the others


def bench(
    model: str,
    structure: str | None,
    task: str | None,
    device: str,
    repeats: int,
    steps: int,
) -> dict[str, Any]:
    """Measure a model, on a structure or on one that suits its task.

    Parameters
    ----------
    model
        A file or a name.
    structure
        A file or a name, as for ``uma-md setup``.
    task
        The model's only one, or omol, or its first, if None.
    device
        Where networks run in Python.
    repeats
        Force calls for each setting.
    steps
        Steps of LAMMPS for each number of ranks.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    OSError, TypeError, ValueError
        When there is nothing to measure.
    """
    task = task or default_task(model)
    structure = structure or SUITED.get(task, "water")
    place = pick_device(device)
    cores = len(usable_cores())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bench"
        wishes = Wishes(task, model, ensemble="nve", steps=steps, ranks=1)
        case = setup(structure, wishes, folder, lambda _: None)
        double = _double(structure, wishes, Path(scratch) / "float64.pt")
        trials = list(_trials(folder, place.type, device, cores, repeats, double))
        ways = _layouts(place.type, cores, len(case.atoms))
        outcomes: list[Outcome] = []
        tried: list[Layout] = []
        with Progress(len(trials) + len(ways)) as progress:
            for trial in trials:
                progress.begin(trial.name)
                outcomes.append(measure(trial))
                progress.advance()
            use_options(folder, best_options(outcomes))
            for ranks, threads in ways:
                progress.begin(f"LAMMPS, {ranks} ranks x {threads} threads")
                tried.append(measure_layout(folder, ranks, threads, steps))
                progress.advance()
    return as_json(_about(case, structure, cores), outcomes, tried, case.timestep)


def use_options(folder: Path, options: dict[str, Any]) -> None:
    """Give options to ``pair_style uma`` in a folder's script."""
    words = "".join(f" {name} {value}" for name, value in options.items())
    text = (folder / SYSTEM).read_text()
    (folder / SYSTEM).write_text(re.sub(r"(pair_style +uma)", rf"\1{words}", text))


def default_task(model: str) -> str:
    """The task of an exported file, or omol where a checkpoint has it, or its first."""
    path = resolve(model)
    if path.is_file() and exported.is_exported(path):
        return exported.read_metadata(path).task
    tasks = UMASource(path).tasks
    return "omol" if "omol" in tasks else tasks[0]


def _double(structure: str, wishes: Wishes, path: Path) -> Path | None:
    """The model in float64, where it is a checkpoint."""
    source = resolve(wishes.model)
    if source.is_file() and exported.is_exported(source):
        return None
    wishes = replace(wishes, dtype="float64")
    put_model(read_start(structure, wishes), wishes, path)
    return path


def _trials(
    folder: Path, kind: str, device: str, cores: int, repeats: int, double: Path | None
) -> Iterator[Trial]:
    """Settings that are worth a trial on this kind of device."""
    chunks = (256, 4096) if kind == "cpu" else (8192, 131072)
    settings: list[dict[str, Any]] = [{}, {"recompute": "on"}, *({"chunk": n} for n in chunks)]
    settings.append({"engine": "portable"})
    settings += [{"precision": precision} for precision in precisions_for(kind)]
    model, structure = str(folder / MODEL), str(folder / STRUCTURE)
    for options in settings:
        name = " ".join(f"{key} {value}" for key, value in options.items()) or "defaults"
        yield Trial(name, model, structure, device, cores, repeats, options)
    if double is not None:
        yield Trial("dtype float64", str(double), structure, device, cores, repeats)


def _layouts(kind: str, cores: int, atoms: int) -> list[tuple[int, int]]:
    """Ranks and threads to try in LAMMPS, none where it is missing."""
    try:
        find_lammps()
    except LaunchError:
        return []
    accelerators = 0
    if kind != "cpu":
        import torch

        accelerators = torch.accelerator.device_count()
    return layouts(cores, accelerators, atoms)


def _about(case: Case, structure: str, cores: int) -> dict[str, Any]:
    return {
        "model": case.model,
        "structure": structure,
        "task": case.task,
        "atoms": len(case.atoms),
        "cores": cores,
    }
