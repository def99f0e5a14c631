# SPDX-License-Identifier: MIT
"""What decides an energy, in one word: drivers of one i-PI must have the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from uma_md.files.checksum import sha256
from uma_md.files.metadata import Metadata
from uma_md.hub.download import resolve

DIGITS = 10  # of each checksum


def checkpoint_sha256(model: str | Path, metadata: Metadata) -> str:
    """Checksum of a model's checkpoint, which an exported file knows of its source."""
    if metadata.source_sha256:
        return metadata.source_sha256
    with resolve(model).open("rb") as file:
        return sha256(file)


def joint_sha256(models: Sequence[str | Path], records: Sequence[Metadata]) -> str:
    """Checksum of a model's checkpoint, or of those of a committee in their order."""
    found = [checkpoint_sha256(*each) for each in zip(models, records, strict=True)]
    return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest()


def fingerprint(
    checkpoint: str,
    metadata: Metadata,
    template: Atoms,
    charge: int,
    spin: int,
    precision: str,
) -> str:
    """Task, charge, spin and precision, and checksums of the checkpoint and of the atoms.

    Drivers with the same fingerprint give the same energies but for rounding.

    Parameters
    ----------
    checkpoint
        Its checksum.
    metadata
    template
        Atomic numbers in their order, and periodic directions.
    charge, spin
    precision
        Of products, as ``Engine.precision`` says.
    """
    atoms = hashlib.sha256(repr((template.numbers.tolist(), template.pbc.tolist())).encode())
    return "-".join(
        (
            metadata.task,
            f"charge{charge:+d}",
            f"spin{spin}",
            precision,
            f"model{checkpoint[:DIGITS]}",
            f"atoms{atoms.hexdigest()[:DIGITS]}",
        )
    )
