# SPDX-License-Identifier: MIT
"""From a checkpoint to the one file that LAMMPS and Python load."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers as numbers_of
from ase.formula import Formula

from uma_md.files import exported
from uma_md.files.metadata import Metadata
from uma_md.files.whole_file import check_output
from uma_md.loading import DTYPES, UMASource, counts_tensor
from uma_md.options import RunOptions
from uma_md.progress import Progress, Silence
from uma_md.system import check_charge_spin, count_elements, default_spin

STEPS = 5  # of an export, for a bar
MOST_MERGED = (1 << 31) - 1  # atoms; LAMMPS counts no further where IDs have 32 bits


def export(
    checkpoint: str | Path,
    output: str | Path,
    task: str,
    charge: int | None = None,
    spin: int | None = None,
    merge_for: str | None = None,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Export one task of a checkpoint.

    Parameters
    ----------
    checkpoint
        A checkpoint file, or the name of a published one.
    output
        The file to write; it is written whole or not at all.
    task
        One of the checkpoint's tasks.
    charge, spin
        Total charge (e) and spin multiplicity, recorded as the file's defaults; 0, and 1
        for omol or 0 for other tasks, when not given.
    merge_for
        A formula such as ``(H2O)32``, or a structure file that ASE reads: the experts are
        merged for its composition, which makes a small file that serves no other.
    dtype
        ``float32`` or ``float64``.
    progress
        Of ``STEPS`` steps, which are shown in it.

    Returns
    -------
    dict
        The file's record.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        In one sentence, what must hold and what was found.
    """
    options = RunOptions(dtype=dtype, charge=charge, spin=spin)  # refuses invalid ones
    progress = progress or Silence()
    target = check_output(Path(output))
    with progress.step(f"reading {Path(checkpoint).name}"):
        source = UMASource(checkpoint)
        _check_other(target, source.checkpoint.path, merge_for)
        chosen = source.task(task)
        stated = options.charge_and_spin({}, 0, default_spin(chosen.name))
        charge, spin = check_charge_spin(*stated)
        metadata = source.metadata(chosen, dtype, charge, spin)
        counts = None if merge_for is None else _counts(merge_for, source, metadata)
    with progress.step("building the network"):
        model = source.build(chosen, DTYPES[dtype])
    with progress.step("merging the experts" if counts else "keeping the experts"):
        if counts is not None:
            model.merge(counts_tensor(counts, source.config.max_num_elements), charge, spin)
            model.keep_merged_only()
    with progress.step("computing the checksum"):
        sha256 = source.checkpoint.sha256()
    with progress.step(f"writing {Path(output).name}"):
        metadata = replace(metadata, composition=counts, source_sha256=sha256)
        exported.save(model, metadata, output)
    return asdict(metadata)


def _counts(merge_for: str, source: UMASource, metadata: Metadata) -> dict[str, int]:
    """Atoms per element to merge for, where there is something to merge."""
    counts = composition(merge_for)
    if source.config.num_experts == 0:
        raise ValueError(
            f"--merge-for must be left out for {metadata.model_id}, which has no experts to "
            "merge: its file serves any composition"
        )
    metadata.check_elements([numbers_of[symbol] for symbol in counts])
    return counts


def _check_other(target: Path, *read: str | Path | None) -> None:
    """Refuse to replace what is read."""
    for path in read:
        if path and target.exists() and _is_file(path) and target.samefile(path):
            raise ValueError(
                f"the output must be another file than those that are read, found {path} as both"
            )


def composition(text: str) -> dict[str, int]:
    """Atoms per element of a formula or of a structure file.

    Raises
    ------
    ValueError
        When the text is neither, or a formula without atoms of an element in it.
    """
    try:
        if _is_file(text):
            from uma_md.files.structures import read_structure  # takes long to import

            return count_elements(read_structure(text).numbers)
    except ValueError as error:
        raise ValueError(
            f"--merge-for must be a formula or a structure file that ASE reads: {error}"
        ) from error
    try:
        counts = Formula(text).count()
        unknown = [symbol for symbol in counts if symbol not in numbers_of]
    except Exception as error:  # its parser fails in many ways
        raise ValueError(
            "--merge-for must be a formula such as (H2O)32 or a structure file that ASE reads, "
            f"found {text[:100]!r}"
        ) from error
    if unknown:
        raise ValueError(
            f"--merge-for must be a formula of known elements, found {text!r} with {unknown[0]}"
        )
    if not counts or min(counts.values()) < 1 or sum(counts.values()) > MOST_MERGED:
        raise ValueError(
            f"--merge-for must have at least one atom of each of its elements and at most "
            f"{MOST_MERGED} in all, found {text[:100]!r}"
        )
    return {symbol: int(counts[symbol]) for symbol in sorted(counts, key=numbers_of.__getitem__)}


def _is_file(text: str | Path) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # a formula may be longer than names can be
        return False
