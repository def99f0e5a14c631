# SPDX-License-Identifier: MIT
"""What was found in an environment; the layout of its JSON is listed in docs/commands.md."""

from __future__ import annotations

from typing import Any, NamedTuple

FORMAT, FORMAT_VERSION = "uma-md doctor", 1


class Finding(NamedTuple):
    """Something that was looked at.

    Attributes
    ----------
    name
    state
        ``ok``; ``note``, which nothing needs at once; or ``mend``, without which something named in
        the text does not work.
    text
        What was found.
    remedy
        What to do, empty where there is nothing to do.
    """

    name: str
    state: str
    text: str
    remedy: str = ""


def remedies(findings: list[Finding]) -> list[str]:
    """What to mend, in order: what others need comes first, and nothing twice."""
    return list(dict.fromkeys(found.remedy for found in findings if found.state == "mend"))


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """Findings as plain values."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "healthy": not remedies(findings),
        "findings": [found._asdict() for found in findings],
        "mend": remedies(findings),
    }
