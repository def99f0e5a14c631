# SPDX-License-Identifier: MIT
"""The published checkpoints: where they are, what they serve, under which license."""

from __future__ import annotations

from dataclasses import dataclass

REPOSITORY = "facebook/UMA"
PAGE = f"https://huggingface.co/{REPOSITORY}"
LICENSE = "FAIR Chemistry License"

_TASKS_1P1 = ("oc20", "omol", "omat", "odac", "omc")
_TASKS_1P2 = (*_TASKS_1P1, "oc22", "oc25")


@dataclass(frozen=True)
class Published:
    """A published checkpoint.

    Attributes
    ----------
    tasks : tuple of str
        Whose energies it has; empty where only the file itself tells.
    gigabytes
        Approximate size of the file; None where it is not known before the download.
    """

    tasks: tuple[str, ...]
    gigabytes: float | None


KNOWN = {
    "uma-s-1p1": Published(_TASKS_1P1, 1.2),
    "uma-s-1p2": Published(_TASKS_1P2, None),
    "uma-s-1p2p1": Published(_TASKS_1P2, None),
    "uma-m-1p1": Published(_TASKS_1P1, 11.2),
    "uma-s-1p2p1-ft-d4rev": Published((), None),
    "uma-s-1p2p1-ft-r2scan": Published((), None),
}
