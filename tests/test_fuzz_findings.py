# SPDX-License-Identifier: MIT
"""Inputs with which the fuzzer found a defect, once each."""

import base64
import time

import pytest
from unsafe_files import CONFIGS, archive

from uma_md.files.checkpoint import read_checkpoint

# The directory begins a byte later than it says, so that a member seems to begin before the file.
BEFORE_THE_FILE = (
    "UEsDBBQAAAAAAFJHd100/5ZJ+wAAAPsAAAAKAAAAbS9kYXRhLnBrbIACY2ZhaXJjaGVtLmNvcmUudW5wLnNpaWx0bV"
    "91bml0LmFwaS5pbmZlcmVuY2UKTUxJUEluZmVyZW5jZUNoZWNrcG9pbnQKKYF9KFgMAAAAbW9kZWxfY29uZmlnfVgO"
    "AAAAZW1hX3N0YXRlX2R0YXNrc19jb25maWdddWIuUEsDBBQAAAAAAFJHd12FPeMZBgAAAAYAAAALAAAAbS9ieXRlb3"
    "JkZXJsaXR0bGVQSwMEFAAAAAAAUkd3XTVjjXVAAAAAQAAAAAgAAABtL2RhdGEvMAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABQSwECFAMUAAAAAABSR3ddNP+WSfsAAA"
    "D7AAAACgAAAAAAAAAAAAAAgAEAAAAAbS9kYXRhLnBrbFBLAQIUAxQAAAAAAFJHd12FPeMZBgAAAAYAAAALAAAAAAAA"
    "AAAAAACAASMBAABtL2J5dGVvcmRlclBLAQIUAxQAAAAAAFJHd101Y411QAAAAEAAAAAIAAAAAAAAAAAAAACAAVIBAA"
    "BtL2RhdGEvMFBLBQYAAAAAAwADAKcAAAC4AQAAAHgA"
)


def test_members_that_begin_before_the_file_are_refused(tmp_path):
    """They ended in an OSError of the operating system."""
    (tmp_path / "m.pt").write_bytes(base64.b64decode(BEFORE_THE_FILE))
    with pytest.raises(ValueError, match="must have its members within it, found one elsewhere"):
        read_checkpoint(tmp_path / "m.pt")


def test_containers_that_share_their_parts_are_refused_soon(tmp_path):
    """A few hundred bytes took seconds to be counted up to the limit, which was a million."""
    archive(tmp_path / "m.pt", CONFIGS["lists of lists of lists"])
    begun = time.process_time()
    with pytest.raises(ValueError, match="at most 200000 values"):
        read_checkpoint(tmp_path / "m.pt")
    assert time.process_time() - begun < 2
