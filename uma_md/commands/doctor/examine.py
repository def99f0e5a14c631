# SPDX-License-Identifier: MIT
"""All that is looked at, in the order in which it is to be mended."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from uma_md.commands.doctor import engines, machine
from uma_md.commands.doctor.finding import Finding
from uma_md.progress import Progress


def examine() -> list[Finding]:
    """Look at everything; what others need comes first."""
    built = [*machine.kernels(), *engines.plugin_state()]
    needed = any(found.state == "mend" for found in built)
    parts: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("versions", machine.versions),
        ("devices", machine.devices),
        ("cores", machine.cores),
        ("compiler", lambda: machine.compiler(needed)),
        ("MPI", engines.mpi),
        ("LAMMPS", engines.lammps),
        ("kernels and plugin", lambda: built),
        ("LAMMPS on 2 ranks", engines.trial),
        ("i-PI", engines.ipi),
        ("hub", machine.hub),
    ]
    found: list[Finding] = []
    with Progress(len(parts)) as progress:
        for name, part in parts:
            progress.begin(name)
            found += part()
            progress.advance()
    return found
