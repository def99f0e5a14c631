# SPDX-License-Identifier: MIT
"""A UMA model for one run: its atoms from a template, its answers in atomic units."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ipi_driver.beads.engine import Engine, LocalEngine
from ipi_driver.fingerprint import fingerprint, joint_sha256
from ipi_driver.options import OF_COMMITTEES, Options, whole_number
from ipi_driver.template import check_volume, compare_cells, compare_units
from ipi_driver.units import BOHR, HARTREE
from ipi_driver.wire.protocol import Results, Structures
from uma_md.committee import AnyPotential, Models, deviations, listed, load_potential
from uma_md.files.metadata import Metadata
from uma_md.options import RunOptions
from uma_md.precision import described
from uma_md.properties import Properties, divided
from uma_md.ranks.placement import pick_device
from uma_md.system import (
    check_charge_spin,
    check_finite_geometry,
    count_elements,
    formula,
    unread_moments,
)

PARAMETERS = ("task", "charge", "spin", "fingerprint")


def local_engine(model: Models, template: Atoms, options: Options) -> LocalEngine:
    """An engine on one device for the template's atoms, with nothing loaded yet."""
    device = pick_device(options.device)

    def loader(task: str | None) -> AnyPotential:
        return load_potential(model, task, options, device)

    return LocalEngine(loader, template.numbers, template.pbc, device, options.skin)


def deviations_in_atomic_units(found: Properties) -> dict[str, Any]:
    """Standard deviations over a committee's members, for one structure, hartree and bohr."""
    spread = deviations(found)
    return {
        "energy_std": spread.energy / HARTREE,
        "forces_std": (spread.forces * (BOHR / HARTREE)).tolist(),
        "largest_force_std": float(spread.forces.max()) * (BOHR / HARTREE),
    }


def committee_in_atomic_units(found: Properties) -> dict[str, Any]:
    """What each member gives for one structure, in the names that i-PI's ``ffcommittee`` reads."""
    members = found.members
    virials = [0.5 * (one.virials[0] + one.virials[0].T) / HARTREE for one in members]
    return {
        "committee_pot": [float(one.energies.sum()) / HARTREE for one in members],
        "committee_force": [(one.forces.ravel() * (BOHR / HARTREE)).tolist() for one in members],
        "committee_virial": [virial.ravel().tolist() for virial in virials],
    }


@dataclass
class Tally:
    """What a potential has done, warming up aside: structures and the calls that computed them."""

    structures: int = 0
    batches: int = 0


class UMAPotential:
    """Evaluates batches of structures of a template's atoms.

    Parameters
    ----------
    model
        Path or name of the model, as its user gave it; or a list of models, of which energies,
        forces and virials are means.
    template
        Gives species, periodic directions and, in ``info``, charge and spin.
    options
    report
        Takes each sentence about what was decided.
    engine
        What evaluates, ``local_engine`` if not given.

    Attributes
    ----------
    charge, spin
        Those that the network is merged for.
    fingerprint
        What decides the energies, in one word.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        When model, template and options do not go together.
    """

    def __init__(
        self,
        model: Models,
        template: Atoms,
        options: Options,
        report: Callable[[str], None],
        engine: Engine | None = None,
    ) -> None:
        self._models = listed(model)
        self._template = template
        self._options = options
        self._report = report
        self._engine: Engine = engine or local_engine(model, template, options)
        self.tally = Tally()
        self._engine.load(options.task)
        self._check_extras()
        self._checkpoint = joint_sha256(self._models, self._engine.records)
        self._merge(options)
        self.describe()
        for sentence in unread_moments(template, options):
            report(f"warning: {sentence}")

    @property
    def natoms(self) -> int:
        """Atoms of every structure."""
        return len(self._template)

    @property
    def metadata(self) -> Metadata:
        """What the model says of itself."""
        return self._engine.metadata

    def describe(self) -> None:
        """Report what was decided."""
        pbc = self._template.pbc
        axes = [axis for axis, repeats in zip("abc", pbc, strict=True) if repeats]
        if len(self._models) > 1:
            self._report(f"committee of {len(self._models)} models, whose mean is served")
        for name, about in zip(self._models, self._engine.records, strict=True):
            self._report(
                f"model {Path(name).name}: {about.model_id}, task {about.task}, charge "
                f"{self.charge}, spin {self.spin}, {about.dtype} on {self._engine.hardware}, "
                f"engine {self._engine.engine}, precision {described(self._engine.precision)}"
            )
        self._report(
            f"template: {self.natoms} atoms, {formula(count_elements(self._template.numbers))}, "
            + (f"periodic along {', '.join(axes)}" if axes else "not periodic")
        )
        self._report(f"fingerprint: {self.fingerprint}")

    def warm_up(self) -> Results:
        """Evaluate the template once, so that nothing is left to load or compile."""
        cells = self._template.cell.complete().array[np.newaxis]
        return self._evaluate(cells, self._template.positions[np.newaxis])

    def configure(self, parameters: dict[str, str]) -> None:
        """Take ``task``, ``charge`` and ``spin`` of i-PI's input, which come before the options.

        With them, the fingerprint must be the one that i-PI's input may give.

        Raises
        ------
        ValueError
            When a parameter is unknown, or has no valid value.
        """
        unknown = sorted(set(parameters) - set(PARAMETERS))
        if unknown:
            raise ValueError(
                f"parameters of the force field must be of {', '.join(PARAMETERS)}; found "
                f"{unknown[0]!r}"
            )
        given: dict[str, Any] = {
            name: whole_number(name, parameters[name])
            for name in ("charge", "spin")
            if name in parameters
        }
        task = parameters.get("task", self.metadata.task)
        if task != self.metadata.task:
            self._engine.load(task)
        if given or "task" in parameters:
            self._merge(replace(self._options, **given))
            self.describe()
        wanted = parameters.get("fingerprint")
        if wanted not in (None, self.fingerprint):
            raise ValueError(
                f"this driver's fingerprint must be {wanted}, which i-PI's input gives; found "
                f"{self.fingerprint}: start all drivers with the same model and options, or see "
                "uma-ipi --check for the fingerprint to give"
            )

    def __call__(self, structures: Structures) -> Results:
        """Evaluate a batch in atomic units.

        Raises
        ------
        ValueError
            When a structure, or what the model makes of it, is not valid.
        """
        cells, positions = (array * BOHR for array in structures)
        check_finite_geometry(positions, cells)
        if self.tally.batches == 0:
            self.compare(cells, positions)
        results = self._evaluate(cells, positions)
        self.tally.structures += len(positions)
        self.tally.batches += 1
        return results

    def compare(self, cells: np.ndarray, positions: np.ndarray) -> None:
        """Refuse a start that cannot be meant for the template's atoms.

        Parameters
        ----------
        cells : (batch, 3, 3), angstrom
        positions : (batch, atoms, 3), angstrom

        Raises
        ------
        ValueError
            When it has another unit of length, or repeats where the template does not.
        """
        for cell in cells:
            check_volume(cell)
        compare_units(self._template, cells, positions)
        for cell, one in zip(cells, positions, strict=True):
            compare_cells(self._template, cell, one, self.metadata.cutoff)

    def sum_up(self) -> str:
        """What was done, in a sentence."""
        tally = self.tally
        return (
            f"{tally.structures} structures computed in {tally.batches} batches, "
            f"{self._engine.built} neighbor lists built"
        )

    def _evaluate(self, cells: np.ndarray, positions: np.ndarray) -> Results:
        return self._in_atomic_units(self._engine.evaluate(cells, positions))

    def _in_atomic_units(self, prediction: Properties) -> Results:
        energies = prediction.energies.reshape(-1, self.natoms) / HARTREE
        virials = prediction.virials / HARTREE
        return Results(
            energies=energies.sum(axis=1),
            forces=prediction.forces.reshape(-1, self.natoms, 3) * (BOHR / HARTREE),
            virials=0.5 * (virials + virials.transpose(0, 2, 1)),  # the other part is rounding
            extras=self._extras(prediction),
        )

    def _extras(self, prediction: Properties) -> list[str]:
        """For each structure a JSON object, with the same keys, or nothing."""
        count = len(prediction.virials)
        if not self._options.extras:
            return [""] * count
        return [self._extra(found) for found in divided(prediction, [self.natoms] * count)]

    def _extra(self, found: Properties) -> str:
        given: dict[str, Any] = {}
        for name in self._options.extras:
            if name == "energies":
                given[name] = (found.energies / HARTREE).tolist()
            elif name == "fingerprint":
                given[name] = self.fingerprint
            elif name == "deviations":
                given |= deviations_in_atomic_units(found)
            else:
                given |= committee_in_atomic_units(found)
        return json.dumps(given)

    def _check_extras(self) -> None:
        """Refuse extras of a committee where there is none."""
        asked = [name for name in self._options.extras if name in OF_COMMITTEES]
        if asked and len(self._models) == 1:
            raise ValueError(
                f"extras {asked[0]} must have a committee, found one model: give the files of "
                "several, or leave these extras out"
            )

    def _merge(self, options: RunOptions) -> None:
        """Fit the network to charge and spin: given ones, the template's or the model's."""
        charge, spin = options.charge_and_spin(
            self._template.info, self.metadata.charge, self.metadata.spin
        )
        self.charge, self.spin = check_charge_spin(charge, spin)
        self._engine.merge(self.charge, self.spin)
        self.fingerprint = fingerprint(
            self._checkpoint,
            self.metadata,
            self._template,
            self.charge,
            self.spin,
            self._engine.precision,
        )
