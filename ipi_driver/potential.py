# SPDX-License-Identifier: MIT
"""A UMA model for one run: its atoms from a template, its answers in atomic units."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ipi_driver.engine import Engine, Findings, LocalEngine
from ipi_driver.protocol import Results, Structures
from ipi_driver.template import compare_cells
from uma_md.loading import load_model
from uma_md.metadata import Metadata, check_charge_spin, count_elements, formula
from uma_md.placement import Placement, pick_device

# i-PI's own numbers, so that what a user gives or reads in angstrom and eV is what the model sees.
BOHR = 1 / 1.8897261  # angstrom
HARTREE = 1 / 0.036749326  # eV

EXTRAS = ("energies",)


@dataclass(frozen=True)
class Options:
    """How a model is to be run, as the command line or i-PI's input says.

    Attributes
    ----------
    task, charge, spin
        None for what the template, or else the model, says.
    device, dtype, trust_code
        As for ``uma_md.UMACalculator``.
    extras
        Names of the extras to send, of ``EXTRAS``.
    skin
        How far beyond the cutoff pairs are kept, angstrom.
    """

    task: str | None = None
    charge: int | None = None
    spin: int | None = None
    device: str = "auto"
    dtype: str = "float32"
    extras: tuple[str, ...] = ()
    skin: float = 1.0
    trust_code: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.extras if name not in EXTRAS]
        if unknown:
            raise ValueError(f"extras must be of {', '.join(EXTRAS)}; found {unknown[0]!r}")
        if not 0 <= self.skin <= 10:
            raise ValueError(f"skin must be 0 to 10 angstrom, found {self.skin:g}")


def local_engine(model: str | Path, template: Atoms, options: Options) -> LocalEngine:
    """An engine on one device for the template's atoms, with nothing loaded yet."""
    device = pick_device(options.device)

    def loader(task: str | None) -> tuple[Any, Metadata]:
        return load_model(model, task, options.dtype, device, trust_code=options.trust_code)

    return LocalEngine(loader, template.numbers, template.pbc, Placement(device), options.skin)


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
        self._check_lone_atom()
        self._merge(options.charge, options.spin)
        self.describe()

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
            f"spin {self.spin}, {about.dtype} on {self._engine.place}"
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
            When a parameter is unknown, or has no sound value.
        """
        unknown = sorted(set(parameters) - {"task", "charge", "spin"})
        if unknown:
            raise ValueError(
                f"parameters of the force field must be task, charge or spin; found {unknown[0]!r}"
            )
        if not parameters:
            return
        charge, spin = (
            _integer(name, parameters[name]) if name in parameters else None
            for name in ("charge", "spin")
        )
        task = parameters.get("task", self.metadata.task)
        if task != self.metadata.task:
            self._engine.load(task)
            self._check_lone_atom()
        options = self._options
        self._merge(
            options.charge if charge is None else charge, options.spin if spin is None else spin
        )
        self.describe()

    def __call__(self, structures: Structures) -> Results:
        """Evaluate a batch in atomic units.

        Raises
        ------
        ValueError
            When a structure, or what the model makes of it, is not sound.
        """
        cells, positions = (array * BOHR for array in structures)
        if not (np.isfinite(cells).all() and np.isfinite(positions).all()):
            raise ValueError(
                "positions and cell must be finite, i-PI sent NaN or infinity: look at its "
                "output for when the run went astray"
            )
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
        findings = self._engine.evaluate(cells, positions)
        if not all(np.isfinite(array).all() for array in findings):
            raise ValueError(
                "energy and forces must be finite, the model gave NaN or infinity: look at "
                "i-PI's output for when the run went astray"
            )
        return self._in_atomic_units(findings)

    def _in_atomic_units(self, findings: Findings) -> Results:
        energies = findings.energies / HARTREE
        return Results(
            energies=energies.sum(axis=1),
            forces=findings.forces * (BOHR / HARTREE),
            virials=findings.virials / HARTREE,
            extras=[self._extras(row) for row in energies],
        )

    def _extras(self, energies: np.ndarray) -> str:
        """A JSON object with the same keys for every structure, or nothing."""
        if "energies" not in self._options.extras:
            return ""
        return json.dumps({"energies": energies.tolist()})

    def _check_lone_atom(self) -> None:
        about = self.metadata
        if self.natoms == 1 and not self._template.pbc.any() and not about.supports_single_atoms:
            raise ValueError(
                f"{about.model_id} does not describe a single isolated atom: use a model "
                "that supports single atoms"
            )

    def _merge(self, charge: int | None, spin: int | None) -> None:
        """Fit the network to charge and spin: given ones, the template's or the model's."""
        info, about = self._template.info, self.metadata
        self.charge, self.spin = check_charge_spin(
            info.get("charge", about.charge) if charge is None else charge,
            info.get("spin", about.spin) if spin is None else spin,
        )
        self._engine.merge(self.charge, self.spin)


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} must be an integer, found {text!r}") from None
