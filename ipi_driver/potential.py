# SPDX-License-Identifier: MIT
"""A UMA model for one run: its atoms from a template, its answers in atomic units."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ipi_driver.beads.engine import Engine, LocalEngine
from ipi_driver.options import Options
from ipi_driver.template import compare_cells
from ipi_driver.wire.protocol import Results, Structures
from uma_md.files.metadata import Metadata
from uma_md.options import RunOptions
from uma_md.potential import Potential
from uma_md.properties import Properties
from uma_md.ranks.placement import pick_device
from uma_md.system import (
    check_charge_spin,
    check_finite_geometry,
    count_elements,
    formula,
    unread_moments,
)

# i-PI's own numbers, so that what a user gives or reads in angstrom and eV is what the model sees.
BOHR = 1 / 1.8897261  # angstrom
HARTREE = 1 / 0.036749326  # eV


def local_engine(model: str | Path, template: Atoms, options: Options) -> LocalEngine:
    """An engine on one device for the template's atoms, with nothing loaded yet."""
    device = pick_device(options.device)

    def loader(task: str | None) -> Potential:
        return Potential(model, task, options, device)

    return LocalEngine(loader, template.numbers, template.pbc, device, options.skin)


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
        Path or name of the model, as its user gave it.
    template
        Gives species, periodic directions and, in ``info``, charge and spin.
    options
    report
        Takes each sentence about what was decided.
    engine
        What evaluates, ``local_engine`` if not given.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        When model, template and options do not go together.
    """

    def __init__(
        self,
        model: str | Path,
        template: Atoms,
        options: Options,
        report: Callable[[str], None],
        engine: Engine | None = None,
    ) -> None:
        self._name = Path(model).name
        self._template = template
        self._options = options
        self._report = report
        self._engine: Engine = engine or local_engine(model, template, options)
        self.tally = Tally()
        self._engine.load(options.task)
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
        about, pbc = self.metadata, self._template.pbc
        axes = [axis for axis, repeats in zip("abc", pbc, strict=True) if repeats]
        self._report(
            f"model {self._name}: {about.model_id}, task {about.task}, charge {self.charge}, "
            f"spin {self.spin}, {about.dtype} on {self._engine.hardware}"
        )
        self._report(
            f"template: {self.natoms} atoms, {formula(count_elements(self._template.numbers))}, "
            + (f"periodic along {', '.join(axes)}" if axes else "not periodic")
        )

    def warm_up(self) -> Results:
        """Evaluate the template once, so that nothing is left to load or compile."""
        cells = self._template.cell.complete().array[np.newaxis]
        return self._evaluate(cells, self._template.positions[np.newaxis])

    def configure(self, parameters: dict[str, str]) -> None:
        """Take ``task``, ``charge`` and ``spin`` of i-PI's input, which come before the options.

        Raises
        ------
        ValueError
            When a parameter is unknown, or has no valid value.
        """
        unknown = sorted(set(parameters) - {"task", "charge", "spin"})
        if unknown:
            raise ValueError(
                f"parameters of the force field must be task, charge or spin; found {unknown[0]!r}"
            )
        if not parameters:
            return
        given: dict[str, Any] = {
            name: _integer(name, parameters[name]) for name in parameters if name != "task"
        }
        task = parameters.get("task", self.metadata.task)
        if task != self.metadata.task:
            self._engine.load(task)
        self._merge(replace(self._options, **given))
        self.describe()

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
            compare_cells(self._template, cells[0], positions[0], self.metadata.cutoff)
        results = self._evaluate(cells, positions)
        self.tally.structures += len(positions)
        self.tally.batches += 1
        return results

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
            extras=[self._extras(row) for row in energies],
        )

    def _extras(self, energies: np.ndarray) -> str:
        """A JSON object with the same keys for every structure, or nothing."""
        if "energies" not in self._options.extras:
            return ""
        return json.dumps({"energies": energies.tolist()})

    def _merge(self, options: RunOptions) -> None:
        """Fit the network to charge and spin: given ones, the template's or the model's."""
        charge, spin = options.charge_and_spin(
            self._template.info, self.metadata.charge, self.metadata.spin
        )
        self.charge, self.spin = check_charge_spin(charge, spin)
        self._engine.merge(self.charge, self.spin)


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{name} must be an integer, found {text!r}")
    return int(number)
