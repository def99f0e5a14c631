# SPDX-License-Identifier: MIT
"""Checksums of files."""

from __future__ import annotations

import hashlib
from typing import BinaryIO


def sha256(file: BinaryIO) -> str:
    """SHA-256 of what is left of an open file, in hexadecimal digits."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
