# SPDX-License-Identifier: MIT
"""What a check found: items with a status, as text and as JSON.

The layout of the JSON is listed in docs/commands.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from uma_md.commands.setup.advice import Advice
from uma_md.files.whole_file import written_whole

FORMAT, FORMAT_VERSION = "uma-md check", 1
STATES = ("ok", "warning", "failed", "skipped")


class Item(NamedTuple):
    """One thing that was looked at.

    Attributes
    ----------
    name
    status
        One of ``STATES``.
    text
        What was found, in one sentence.
    values
        The numbers in it, by name with their unit.
    """

    name: str
    status: str
    text: str
    values: dict[str, Any]


def passed(items: list[Item]) -> bool:
    """Whether nothing failed."""
    return all(item.status != "failed" for item in items)


def as_json(about: dict[str, Any], items: list[Item], advice: list[Advice]) -> dict[str, Any]:
    """The report as plain values.

    Parameters
    ----------
    about
        ``structure``, ``engine``, ``model``, ``task``, ``charge``, ``spin``, ``atoms`` and
        ``timestep``.
    items, advice
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **about,
        "passed": passed(items),
        "items": [item._asdict() for item in items],
        "advice": [said._asdict() for said in advice],
    }


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write a report as a file."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(report, indent=1) + "\n")


def as_text(items: list[Item], advice: list[Advice]) -> list[str]:
    """The report as lines."""
    width = max(len(item.name) for item in items)
    lines = [f"{item.status:<8} {item.name:<{width}}  {item.text}" for item in items]
    lines += [f"{said.kind}: {said.text}" for said in advice]
    counts = {state: sum(item.status == state for item in items) for state in STATES}
    summary = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return [*lines, summary]
