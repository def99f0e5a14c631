# SPDX-License-Identifier: MIT
"""Reading the errors of libraries: their sentence, and whether memory ran out."""

from __future__ import annotations

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
