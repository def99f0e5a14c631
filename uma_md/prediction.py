# SPDX-License-Identifier: MIT
"""Energies, forces and stresses of many structures, in batches."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import click
import numpy as np
from ase import Atoms
from ase.cell import Cell

from uma_md.batch_evaluation import BatchEvaluator
from uma_md.committee import Models, deviations
from uma_md.options import RunOptions
from uma_md.properties import Properties, ase_stress
from uma_md.ranks.placement import pick_device
from uma_md.shared_potential import AnyShared, load_shared
from uma_md.system import check_charge_spin, check_geometry, system_of, unread_moments

STANDARD_DEVIATIONS = ("energy_std", "forces_std", "stress_std")  # of a committee


class Prediction(NamedTuple):
    """What a model gives for a structure.

    Attributes
    ----------
    energy
        eV, element references included.
    energies : (atoms,), eV
        Their sum is the energy.
    forces : (atoms, 3), eV/angstrom
    stress : (6,), eV/angstrom^3
        In the order xx, yy, zz, yz, xz, xy, positive under tension; None for a structure without
        three cell vectors.
    energy_std, forces_std, stress_std
        Standard deviations over the members of a committee, as ``UMACalculator`` gives them; None
        for one model.
    """

    energy: float
    energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None
    energy_std: float | None = None
    forces_std: np.ndarray | None = None
    stress_std: np.ndarray | None = None


class PredictionError(ValueError):
    """Some of the structures could not be evaluated; what the others gave is not lost.

    Attributes
    ----------
    predictions : list of Prediction or None
        None where a structure failed.
    failures : dict of int to ValueError
        Why, by the structure's number in the list, from 0.
    """

    def __init__(
        self, predictions: list[Prediction | None], failures: dict[int, ValueError]
    ) -> None:
        self.predictions = predictions
        self.failures = failures
        number = min(failures)
        super().__init__(
            f"structure {number} of 0 to {len(predictions) - 1}: {failures[number]}; in all "
            f"{len(failures)} failed, and this error's 'predictions' has what the others gave"
        )


class PredictionInterrupt(KeyboardInterrupt):
    """Ctrl-C, with what was computed until then.

    Attributes
    ----------
    predictions : list of Prediction or None
        None where a structure was not evaluated.
    failures : dict of int to ValueError
        Why some of these failed, by the structure's number in the list, from 0.
    """

    def __init__(
        self, predictions: list[Prediction | None], failures: dict[int, ValueError]
    ) -> None:
        self.predictions = predictions
        self.failures = failures
        done = len(predictions) - predictions.count(None)
        super().__init__(
            f"interrupted after {done} of {len(predictions)} structures, which this exception's "
            "'predictions' has"
        )


class Outcomes:
    """What was computed so far of a list of structures, also when it ends early.

    Attributes
    ----------
    predictions : list of Prediction or None
    failures : dict of int to ValueError
    """

    def __init__(self, count: int) -> None:
        self.predictions: list[Prediction | None] = [None] * count
        self.failures: dict[int, ValueError] = {}

    def gather(
        self, found: Iterable[tuple[int, Prediction | ValueError]], progress: bool | None
    ) -> None:
        """Take what ``Predictor`` gives.

        Parameters
        ----------
        found
        progress
            Whether to show a bar on stderr; None where that is a terminal.
        """
        count = len(self.predictions)
        with click.progressbar(
            length=count,
            label="structures",
            show_pos=True,
            file=sys.stderr,
            hidden=not (sys.stderr.isatty() if progress is None else progress),
            update_min_steps=max(1, count // 200),
        ) as bar:
            for number, outcome in found:
                if isinstance(outcome, Prediction):
                    self.predictions[number] = outcome
                else:
                    self.failures[number] = outcome
                bar.update(1)

    def complete(self) -> list[Prediction]:
        """All predictions.

        Raises
        ------
        PredictionError
            When some failed.
        """
        if self.failures:
            raise PredictionError(self.predictions, self.failures)
        return [prediction for prediction in self.predictions if prediction is not None]


class Predictor:
    """Evaluates structures of any composition, charge and cell.

    Those that the network can be fitted to at once are evaluated together, so that experts are
    merged once for each composition, charge and spin.

    Parameters
    ----------
    potential
    options
        Its charge and spin come before those of a structure.
    warn
        Takes sentences on what of the structures is not read, each once.
    """

    def __init__(
        self,
        potential: AnyShared,
        options: RunOptions,
        warn: Callable[[str], None] = warnings.warn,
    ) -> None:
        self._potential = potential
        self._options = options
        self._warn = warn
        self._evaluate = BatchEvaluator(potential)
        self._warned: set[str] = set()

    def __call__(
        self, structures: Sequence[Atoms]
    ) -> Iterator[tuple[int, Prediction | ValueError]]:
        """Give the number of each structure with what was found, in the order of evaluation."""
        groups: dict[tuple[bytes, int, int], list[int]] = {}
        for number, atoms in enumerate(structures):
            fit = self._fit_or_reason(atoms)
            if isinstance(fit, ValueError):
                yield number, fit
            else:
                groups.setdefault(fit, []).append(number)
        for (_, charge, spin), numbers in groups.items():
            systems = (system_of(structures[number]) for number in numbers)
            outcomes = self._evaluate(systems, charge, spin)
            for number, outcome in zip(numbers, outcomes, strict=True):
                if isinstance(outcome, Properties):
                    yield number, _prediction(structures[number], outcome)
                else:
                    yield number, outcome

    def _fit_or_reason(self, atoms: Atoms) -> tuple[bytes, int, int] | ValueError:
        """What the network must be fitted to for a structure, or why none serves it."""
        try:
            return self._fit_of(atoms)
        except (TypeError, ValueError) as error:
            return ValueError(str(error))  # without frames, and with them arrays

    def _fit_of(self, atoms: Atoms) -> tuple[bytes, int, int]:
        if not isinstance(atoms, Atoms):
            raise TypeError(f"a structure must be an ase.Atoms, found {type(atoms).__name__}")
        metadata = self._potential.metadata
        check_geometry(atoms.positions, atoms.cell.array, atoms.pbc)
        stated = self._options.charge_and_spin(atoms.info, metadata.charge, metadata.spin)
        charge, spin = check_charge_spin(*stated)
        metadata.check_served(atoms.numbers, charge, spin)
        for sentence in unread_moments(atoms, self._options):
            if sentence not in self._warned:
                self._warned.add(sentence)
                self._warn(sentence)
        return self._potential.fit_of(atoms.numbers, charge, spin)


def predict(
    model: Models,
    structures: Iterable[Atoms],
    task: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    *,
    progress: bool | None = None,
    **options: Any,
) -> list[Prediction]:
    """Evaluate many structures, of any composition, charge, spin and cell.

    Structures are sorted by what the experts depend on and evaluated in batches within the memory
    at hand; each gives what ``UMACalculator`` gives for it alone, but for rounding.

    Parameters
    ----------
    model
        Path of a checkpoint or of an exported file, or the name of a published model; or a list
        of these, whose mean is given, with standard deviations.
    structures
        Charge and spin multiplicity come from ``info["charge"]`` and ``info["spin"]``, as for
        ``UMACalculator``.
    task
        Such as ``omol``; needed for a checkpoint of several tasks.
    device, dtype, **options
        As in ``uma_md.options.RunOptions``. A charge or a spin given here comes before that of
        each structure.
    progress
        Whether to show a bar on stderr; by default where that is a terminal.

    Returns
    -------
    list of Prediction
        In the order of the structures.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        When the file, the task or the device is not available, or an option is invalid.
    PredictionError
        When some structures could not be evaluated; it holds what the others gave.
    PredictionInterrupt
        After Ctrl-C, a ``KeyboardInterrupt`` that holds what was computed.
    """
    unknown = sorted(set(options) - set(RunOptions.names()))
    if unknown:
        known = ", ".join(RunOptions.names())
        raise TypeError(f"options of predict must be {known}; found {unknown[0]!r}")
    run = RunOptions(device=device, dtype=dtype, **options)
    listed = list_of_structures(structures)
    potential = load_shared(model, task, run, pick_device(device))
    return predict_all(Predictor(potential, run), listed, progress)


def predict_all(
    predictor: Predictor, structures: Sequence[Atoms], progress: bool | None
) -> list[Prediction]:
    """Evaluate a list of structures.

    Raises
    ------
    PredictionError
        When some could not be evaluated; it holds what the others gave.
    PredictionInterrupt
        After Ctrl-C; it holds what was computed.
    """
    outcomes = Outcomes(len(structures))
    try:
        outcomes.gather(predictor(structures), progress)
    except KeyboardInterrupt as interrupt:
        raise PredictionInterrupt(outcomes.predictions, outcomes.failures) from interrupt
    return outcomes.complete()


def list_of_structures(structures: Iterable[Atoms]) -> list[Atoms]:
    """Structures as a list.

    Raises
    ------
    TypeError
        When it is one structure.
    """
    if isinstance(structures, Atoms):
        raise TypeError("structures must be a list of ase.Atoms, found one: put it into a list")
    return list(structures)


def _prediction(atoms: Atoms, found: Properties) -> Prediction:
    stress = ase_stress(found.virials[0], atoms.cell)
    spread = standard_deviations(found, atoms.cell) if found.members else {}
    return Prediction(float(found.energies.sum()), found.energies, found.forces, stress, **spread)


def standard_deviations(found: Properties, cell: Cell) -> dict[str, Any]:
    """What members of a committee differ by, in the names of ``STANDARD_DEVIATIONS``.

    Parameters
    ----------
    found
        Of one system.
    cell
        Without three vectors there is no stress.
    """
    spread = deviations(found)
    given = {"energy_std": spread.energy, "forces_std": spread.forces}
    stress = ase_stress(spread.virial, cell)
    return given if stress is None else {**given, "stress_std": np.abs(stress)}
