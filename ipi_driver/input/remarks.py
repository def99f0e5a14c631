# SPDX-License-Identifier: MIT
"""What there is to say of an input of i-PI."""

from __future__ import annotations

from typing import NamedTuple


class Remark(NamedTuple):
    """A sentence about an input, and whether a run would fail by it."""

    is_error: bool
    text: str
