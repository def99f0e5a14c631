# SPDX-License-Identifier: MIT
"""A check from the beginning to its report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uma_md.commands.check.items import Subject, items, look
from uma_md.commands.check.report import Item, as_json
from uma_md.commands.launch import LaunchError, find_lammps
from uma_md.commands.setup.advice import Advice
from uma_md.commands.setup.case import Wishes
from uma_md.commands.setup.prepare import setup
from uma_md.progress import Progress


def check(
    subject: str, wishes: dict[str, Any], device: str, ranks: tuple[int, ...]
) -> tuple[dict[str, Any], list[Item], list[Advice]]:
    """Check a folder of ``uma-md setup``, or a structure as ``uma-md setup`` would run it.

    Parameters
    ----------
    subject
        A folder, a structure file or a name.
    wishes
        Fields of ``Wishes``, for a structure; ``task`` None is allowed for a folder.
    device
        Where the network runs in Python.
    ranks
        Numbers of MPI ranks for LAMMPS.

    Returns
    -------
    dict, list of Item, list of Advice
        The report as plain values, and its parts.

    Raises
    ------
    OSError, TypeError, ValueError
        When there is nothing that can be checked.
    """
    with _folder(subject, wishes) as (folder, skipped):
        looked_at = Subject(folder, device, ranks)
        bodies = items(looked_at)
        found: list[Item] = []
        with Progress(len(bodies)) as progress:
            for name, body in bodies:
                progress.begin(name)
                found.append(look(name, body))
                progress.advance()
        found += skipped
        advice = [Advice(**said) for said in looked_at.record["advice"]]
        about = {
            "structure": subject,
            **{
                name: looked_at.record[name]
                for name in ("engine", "model", "task", "charge", "spin", "timestep")
            },
            "atoms": len(looked_at.atoms),
        }
    return as_json(about, found, advice), found, advice


@contextmanager
def _folder(subject: str, wishes: dict[str, Any]) -> Iterator[tuple[Path, list[Item]]]:
    """The folder to look at, and what cannot be looked at."""
    path = Path(subject).expanduser()
    if path.is_dir():
        given = [name for name, value in wishes.items() if value is not None]
        if given:
            raise ValueError(
                f"a folder has its own {given[0]}: leave --{given[0]} out, or give a structure"
            )
        yield path, []
        return
    if wishes["task"] is None:
        raise ValueError("a structure must be given with --task, found none")
    engine, skipped = "lammps", []
    try:
        find_lammps()
    except LaunchError as error:
        engine = "ase"
        skipped = [Item("LAMMPS", "skipped", str(error), {})]
    stated = {name: value for name, value in wishes.items() if value is not None}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "check"
        setup(subject, Wishes(engine=engine, **stated), folder, lambda _: None)
        yield folder, skipped
