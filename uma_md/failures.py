# SPDX-License-Identifier: MIT
"""Reading the errors of libraries: their sentence, and whether memory ran out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

MEMORY_SIGNS = ("out of memory", "can't allocate memory", "Unable to allocate", "bad_alloc")


def is_out_of_memory(failure: BaseException) -> bool:
    """Whether Python, numpy, torch or the C++ library found no memory left."""
    return isinstance(failure, MemoryError) or any(sign in str(failure) for sign in MEMORY_SIGNS)


def sentence_of(failure: BaseException) -> str:
    """The text of a failure without the stack traces that torch puts around it."""
    text = str(failure)
    text = text[max(0, text.rfind("RuntimeError: ")) :]  # after lines of TorchScript source
    for trace in ("\nException raised from", "\nframe #"):
        text = text.split(trace)[0]
    return text.strip()


def other_torch() -> str:
    """Why torch cannot be imported where another's libraries come first; empty where none do."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return ""
    own = Path(found.origin).resolve().parent / "lib"
    for folder in _library_folders():
        if folder.resolve() != own and (folder / "libc10.so").exists():
            return (
                f"torch must find its libraries in {own}, found others before them in {folder}: "
                "take that folder out of LD_LIBRARY_PATH and LD_PRELOAD"
            )
    return ""


def _library_folders() -> Iterator[Path]:
    """Where the loader of programs looks first."""
    for text in os.environ.get("LD_PRELOAD", "").replace(":", " ").split():
        yield Path(text).parent
    yield from map(Path, filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")))
