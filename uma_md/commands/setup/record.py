# SPDX-License-Identifier: MIT
"""What ``uma-md setup`` leaves in its folder for ``uma-md check`` and for readers: ``setup.json``.

The layout is listed in docs/commands.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from uma_md.commands.setup.case import ENGINES, Case

RECORD, STRUCTURE, MODEL = "setup.json", "structure.extxyz", "model.pt"
FORMAT, FORMAT_VERSION = "uma-md setup", 1
FIELDS = (
    "format",
    "format_version",
    "uma_md",
    "engine",
    "model",
    "task",
    "charge",
    "spin",
    "types",
    "ensemble",
    "temperature",
    "pressure",
    "timestep",
    "steps",
    "beads",
    "ranks",
    "choices",
    "advice",
)


def record_of(case: Case, engine: str) -> dict[str, Any]:
    """The record, as plain values."""
    from uma_md import __version__

    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "uma_md": __version__,
        "engine": engine,
        "model": case.model,
        "task": case.task,
        "charge": case.charge,
        "spin": case.spin,
        "types": [kind._asdict() for kind in case.types],
        "ensemble": case.ensemble,
        "temperature": case.temperature,
        "pressure": case.pressure,
        "timestep": case.timestep,
        "steps": case.steps,
        "beads": case.beads,
        "ranks": case.ranks,
        "choices": [choice._asdict() for choice in case.choices],
        "advice": [advice._asdict() for advice in case.advice],
    }


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a folder.

    Raises
    ------
    ValueError
        When there is none, or one that ``uma-md setup`` did not write.
    """
    path = folder / RECORD
    if not path.is_file():
        raise ValueError(
            f"the folder must be one that 'uma-md setup' wrote, found no {RECORD} in {folder}: "
            "give a structure file instead, or run 'uma-md setup' first"
        )
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, found other text: {error}") from error
    version = record.get("format_version") if isinstance(record, dict) else None
    if version != FORMAT_VERSION or record.get("format") != FORMAT:
        raise ValueError(
            f"{path} must be of format {FORMAT!r} {FORMAT_VERSION}, found another: run 'uma-md "
            "setup' again"
        )
    missing = [name for name in FIELDS if name not in record]
    if missing or record["engine"] not in ENGINES:
        raise ValueError(f"{path} must be whole, found no valid {(missing or ['engine'])[0]}")
    return record
