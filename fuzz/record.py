# SPDX-License-Identifier: MIT
"""The record of exported files."""

import atheris

with atheris.instrument_imports(include=["uma_md", "json"]):
    from uma_md.files.metadata import Metadata

from watch import fuzz


def read(data: bytes) -> None:
    """Parse a record, and use it as a run would."""
    metadata = Metadata.from_json(data.decode("utf-8", "replace"))
    assert Metadata.from_json(metadata.to_json()) == metadata
    metadata.check_system({"H": 2, "O": 1}, 0, 1)
    metadata.check_elements([1, 8, len(metadata.elements)])


fuzz(read, (ValueError,))
