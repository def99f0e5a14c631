# SPDX-License-Identifier: MIT
"""The published checkpoints: where they are, what they serve, under which license."""

from __future__ import annotations

from dataclasses import dataclass

LICENSE = "FAIR Chemistry License"

_TASKS_1P1 = ("oc20", "omol", "omat", "odac", "omc")
_TASKS_1P2 = (*_TASKS_1P1, "oc22", "oc25")


@dataclass(frozen=True)
class Published:
    """A published checkpoint.

    Attributes
    ----------
    repository
        Of the hub.
    file
        Its path there.
    tasks : tuple of str
        Tasks that it has; empty where only the file itself tells.
    gigabytes
        Approximate size of the file; None where it is not known before the download.
    """

    repository: str
    file: str
    tasks: tuple[str, ...] = ()
    gigabytes: float | None = None

    @property
    def page(self) -> str:
        """Where access is requested and the license is read."""
        return f"https://huggingface.co/{self.repository}"


def _uma(name: str, tasks: tuple[str, ...] = (), gigabytes: float | None = None) -> Published:
    return Published("facebook/UMA", f"checkpoints/{name}.pt", tasks, gigabytes)


KNOWN = {
    "uma-s-1p1": _uma("uma-s-1p1", _TASKS_1P1, 1.2),
    "uma-s-1p2": _uma("uma-s-1p2", _TASKS_1P2),
    "uma-s-1p2p1": _uma("uma-s-1p2p1", _TASKS_1P2),
    "uma-m-1p1": _uma("uma-m-1p1", _TASKS_1P1, 11.2),
    "uma-s-1p2p1-ft-d4rev": _uma("uma-s-1p2p1-ft-d4rev"),
    "uma-s-1p2p1-ft-r2scan": _uma("uma-s-1p2p1-ft-r2scan"),
    "esen-sm-conserving-all-omol": Published(
        "facebook/OMol25", "checkpoints/esen_sm_conserving_all.pt"
    ),
    "esen-sm-conserving-all-oc25": Published("facebook/OC25", "checkpoints/esen_sm_conserve.pt"),
    "esen-sm-filtered-odac25": Published(
        "facebook/ODAC25", "checkpoints/esen_sm_odac25_filtered.pt"
    ),
    "esen-sm-full-odac25": Published("facebook/ODAC25", "checkpoints/esen_sm_odac25_full.pt"),
}

# Published models whose forces are no gradients, and a model of the same data whose forces are.
DIRECT = {
    "esen-sm-direct-all-omol": "esen-sm-conserving-all-omol",
    "esen-md-direct-all-omol": "esen-sm-conserving-all-omol",
    "esen-md-direct-all-oc25": "esen-sm-conserving-all-oc25",
}
