# SPDX-License-Identifier: MIT
"""Compiled libraries that a binary wheel brings, one folder for each version of torch.

``packaging/wheels.py`` makes such wheels. Each folder holds a record of what its libraries were
compiled from and for. They look for torch in the folder of packages that they are installed in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "compiled"
RECORD = "build.json"


def find(
    versions: Mapping[str, str], torch: Path, libraries: Sequence[str], sources: str
) -> Path | None:
    """Folder of libraries that fit what is installed, or None.

    Parameters
    ----------
    versions
        Installed versions by name, as the record has them.
    torch
        Folder of the installed torch.
    libraries
        Names of the libraries.
    sources
        Digest of the sources that belong to this uma-md.
    """
    if not _beside(torch):
        return None
    for folder, record in _records():
        fits = all(release(versions[name]) == record["versions"].get(name) for name in versions)
        complete = all((folder / name).is_file() for name in libraries)
        if fits and complete and sources in record["sources"]:
            return folder
    return None


def release(version: str) -> str:
    """Version without the name of a build: builds of torch for CPUs and CUDA are compatible."""
    return version.partition("+")[0]


def missing(versions: Mapping[str, str], torch: Path) -> str:
    """Why nothing that the wheel brings fits, in words; empty where it brings nothing.

    Parameters
    ----------
    versions
        Installed versions by name.
    torch
        Folder of the installed torch.
    """
    brought = [record["versions"] for _, record in _records()]
    if not brought:
        return ""
    if not _beside(torch):
        return (
            f"this wheel's libraries must have torch beside them in {FOLDER.parent.parent}, "
            f"found torch in {torch}: run 'uma-md plugin build'"
        )
    offers = "; or ".join(_words(one) for one in brought)
    return (
        f"this wheel's libraries must have {offers}, found {_words(versions)}: "
        "run 'uma-md plugin build'"
    )


def _words(versions: Mapping[str, str]) -> str:
    return " with ".join(f"{name} {version}" for name, version in versions.items())


def _beside(torch: Path) -> bool:
    """Whether the libraries' search path leads to this torch."""
    name = "lib/libtorch_cpu.so"
    with suppress(OSError):
        return (FOLDER.parent.parent / "torch" / name).samefile(torch / name)
    return False


def _records() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(FOLDER.glob(f"*/{RECORD}")):
        yield path.parent, json.loads(path.read_text())
