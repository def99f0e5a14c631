# SPDX-License-Identifier: MIT
"""Checkpoint files: archives, their pickles, and safetensors."""

import struct
import zipfile
from pathlib import Path

import atheris
import torch

with atheris.instrument_imports(include=["uma_md", "pickletools", "zipfile"]):
    from uma_md.files import exported
    from uma_md.files.checkpoint import read_checkpoint
    from uma_md.loading import UMASource

from watch import fuzz

FOLDER = Path("build/fuzz/input")
FOLDER.mkdir(parents=True, exist_ok=True)
FILES = {b"p": "m.pt", b"s": "m.safetensors"}


def read(data: bytes) -> None:
    """Write a file around the input and read it as a user's would be."""
    kind, content = data[:1], data[1:]
    path = FOLDER / FILES.get(kind, "m.pt")
    if kind == b"p":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/data.pkl", content)
            archive.writestr("m/data/0", bytes(64))
    elif kind == b"s":
        path.write_bytes(struct.pack("<Q", len(content)) + content + bytes(64))
    else:
        path.write_bytes(content)
    exported.is_exported(path)
    checkpoint = read_checkpoint(path)
    for name in list(checkpoint.weights)[:10]:
        checkpoint.read([name], torch.float32)
    UMASource(path)


fuzz(read, (ValueError,))
