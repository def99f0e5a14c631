# SPDX-License-Identifier: MIT
"""A file of structures in, a file of results out: what ``uma-md predict`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from uma_md.committee import Models
from uma_md.files.structures import read_structures
from uma_md.files.whole_file import check_output, written_whole
from uma_md.options import RunOptions
from uma_md.prediction import STANDARD_DEVIATIONS, Outcomes, Prediction, Predictor
from uma_md.ranks.placement import pick_device
from uma_md.shared_potential import AnyShared, load_shared
from uma_md.signals import signals_as_exceptions

UNITS = "energy eV, forces eV/angstrom, stress eV/angstrom^3, positions angstrom"


def predict_file(
    source: Path,
    output: Path,
    model: Models,
    task: str | None,
    options: RunOptions,
    report: Callable[[str], None],
) -> None:
    """Evaluate the structures of a file and write extended XYZ.

    Each frame has energy, energies of atoms, forces and, in a cell, stress; of a committee also
    what its members differ by. ``structure`` is its number in the file that was read, from 0.

    Parameters
    ----------
    source
        Of one of ``uma_md.files.structures.FORMATS``.
    output
        It is written also where some structures fail, and where the computation is interrupted,
        with what was computed.
    model, task, options
        As for ``uma_md.predict``.
    report
        Takes sentences for the user.

    Raises
    ------
    OSError, TypeError, ValueError
        When nothing can be computed, or some structures failed; the latter are reported first.
    SystemExit
        As ``uma_md.signals.signals_as_exceptions`` says.
    """
    if check_output(output) == source.resolve():
        raise ValueError(f"output must be another file than what is read, found {output} for both")
    structures, reason = _read(source)
    potential = load_shared(model, task, options, pick_device(options.device))
    outcomes = Outcomes(len(structures))
    with signals_as_exceptions():
        try:
            outcomes.gather(Predictor(potential, options, report)(structures), None)
        finally:
            count = _write(output, structures, outcomes.predictions, potential)
            task = potential.metadata.task
            report(f"{output}: {count} of {len(structures)} structures, task {task}")
    for number, failure in sorted(outcomes.failures.items()):
        report(f"structure {number}: {failure}")
    if reason is not None:
        raise reason
    if outcomes.failures:
        raise ValueError(
            f"all structures must be such that the model can serve them, found "
            f"{len(outcomes.failures)} of {len(structures)} that are not"
        )


def _read(source: Path) -> tuple[list[Atoms], ValueError | None]:
    """The structures of a file, up to one that cannot be read, and why it cannot.

    Raises
    ------
    ValueError
        When not one can be read.
    """
    structures: list[Atoms] = []
    try:
        structures.extend(read_structures(source))
    except ValueError as error:
        if not structures:
            raise
        return structures, error
    return structures, None


def _write(
    output: Path,
    structures: Sequence[Atoms],
    predictions: Sequence[Prediction | None],
    potential: AnyShared,
) -> int:
    """Write what was computed; returns the number of structures, and writes no file for none."""
    frames = list(_frames(structures, predictions, potential))
    if frames:
        with written_whole(output) as path:
            write(path, frames, format="extxyz", parallel=False)
    return len(frames)


def _frames(
    structures: Sequence[Atoms],
    predictions: Sequence[Prediction | None],
    potential: AnyShared,
) -> Iterator[Atoms]:
    metadata = potential.metadata
    for number, (atoms, found) in enumerate(zip(structures, predictions, strict=True)):
        if found is None:
            continue
        results = {key: value for key, value in found._asdict().items() if value is not None}
        frame = atoms.copy()
        for name in results:  # of the file that was read
            frame.info.pop(name, None)
            frame.arrays.pop(name, None)
        for name in results.keys() & set(STANDARD_DEVIATIONS):  # which ASE has no words for
            place = frame.arrays if name == "forces_std" else frame.info
            place[name] = results.pop(name)
        frame.calc = SinglePointCalculator(frame, **results)
        frame.info.update(
            structure=number, model=metadata.model_id, task=metadata.task, units=UNITS
        )
        yield frame
