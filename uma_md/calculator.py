# SPDX-License-Identifier: MIT
"""UMA as an ASE calculator."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from uma_md.batching import build_graph
from uma_md.options import RunOptions
from uma_md.potential import Potential
from uma_md.properties import Properties
from uma_md.ranks.placement import Placement, pick_device, place
from uma_md.system import System, check_charge_spin, check_geometry

if TYPE_CHECKING:
    from mpi4py import MPI

    from uma_md.files.metadata import Metadata
    from uma_md.ranks.agreement import Ranks


class UMACalculator(Calculator):
    """Energies, forces and stresses of one task of a UMA model.

    Charge and spin multiplicity of the system come from ``atoms.info["charge"]`` and
    ``atoms.info["spin"]``; without them they are 0, and 1 for omol or 0 for other tasks, or
    what the file was exported with. Any combination of periodic directions is allowed.

    Parameters
    ----------
    model
        Path of a checkpoint or of an exported file, or the name of a published model.
    task
        Such as ``omol``; needed for a checkpoint of several tasks.
    device, dtype, **options
        As in ``uma_md.options.RunOptions``. A charge or a spin given here comes before that of
        the structure. What is no option goes to ASE's ``Calculator``.
    comm
        A communicator of mpi4py, over whose ranks the atoms are spread. All its ranks make
        the calculator, change atoms and ask for properties alike; all get the same results,
        or the same error.

    Attributes
    ----------
    device
        Where the network runs.
    metadata
        What the model says of itself.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        When the file, the task or the device is not available, or an option is invalid.
    """

    implemented_properties = [  # noqa: RUF012  ASE declares it as an instance's
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]

    def __init__(
        self,
        model: str | Path,
        task: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        *,
        comm: MPI.Intracomm | None = None,
        **options: Any,
    ) -> None:
        given = {name: options.pop(name) for name in RunOptions.names() if name in options}
        _check_known(options)
        super().__init__(**options)
        self._model = model
        self._ranks: Ranks | None = None
        if comm is not None:
            from uma_md.ranks.agreement import Ranks

            self._ranks = Ranks(comm)
        with self._together():
            self._options = RunOptions(device=device, dtype=dtype, **given)
            self._placement = (
                place(self._ranks, device) if self._ranks else Placement(pick_device(device))
            )
        self.device = self._placement.device
        with self._together():
            self._potential = self._load(task)

    def _together(self) -> AbstractContextManager[None]:
        """Give a block in which an error on one rank becomes that of all."""
        return self._ranks.together() if self._ranks else nullcontext()

    def _load(self, task: str | None) -> Potential:
        def load() -> Potential:
            sharers = self._placement.sharers
            return Potential(self._model, task, self._options, self.device, sharers)

        if self._ranks is None:
            return load()
        from uma_md.ranks.spatial import load_in_turn

        return load_in_turn(self._ranks, self._placement, load)

    @property
    def metadata(self) -> Metadata:
        """What the model says of itself."""
        return self._potential.metadata

    @property
    def task(self) -> str:
        """The task whose energy is given; setting it, on all ranks, loads it from the file."""
        return self.metadata.task

    @task.setter
    def task(self, name: str) -> None:
        if name != self.metadata.task:
            with self._together():
                self._potential = self._load(name)
            self.reset()

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """List what changed since the last calculation, charge and spin included."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if not changes and self.atoms and self._stated(self.atoms) != self._stated(atoms):
            changes.append("info")
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate ``atoms``; see the class for units and conventions.

        Raises
        ------
        TypeError, ValueError
            When the structure is not one that the model can serve.
        """
        super().calculate(atoms, properties or ["energy"], system_changes)
        assert self.atoms is not None
        atoms = self.atoms
        with self._together():
            self._check_same(atoms)
            check_geometry(atoms.positions, atoms.cell.array, atoms.pbc)
            self.metadata.check_single_atom(len(atoms), atoms.pbc)
            self._potential.merge(atoms.numbers, *check_charge_spin(*self._stated(atoms)))
            energies, forces, (virial,) = self._evaluate(atoms)
        energy = float(energies.sum())
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": energies,
            "forces": forces,
        }
        if atoms.cell.rank == 3:
            stress = -0.5 * (virial + virial.T) / atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)

    def _stated(self, atoms: Atoms) -> tuple[Any, Any]:
        """Charge and spin as options, structure or model say, checked or not."""
        return self._options.charge_and_spin(atoms.info, self.metadata.charge, self.metadata.spin)

    def _check_same(self, atoms: Atoms) -> None:
        """Refuse structures that are not the same on all ranks."""
        if self._ranks is None:
            return
        parts = {
            "atomic numbers": atoms.numbers,
            "cell": atoms.cell.array,
            "periodic directions": atoms.pbc,
            "charge or spin": self._stated(atoms),
            "positions": atoms.positions,
        }
        advice = "let all ranks read the same file and use the same random seed"
        self._ranks.check_same("structure", parts, advice)

    def _evaluate(self, atoms: Atoms) -> Properties:
        cell = np.asarray(atoms.cell.complete().array)
        system = System(atoms.positions, cell, atoms.pbc, atoms.numbers)
        if self._ranks is not None:
            from uma_md.ranks.spatial import SpatialEvaluator

            return SpatialEvaluator(self._ranks, self._potential)([system])
        limits = self.metadata.cutoff, self.metadata.max_neighbors
        return self._potential.properties(build_graph(*system, *limits, self.device))


def _check_known(options: dict[str, Any]) -> None:
    """Refuse keywords that neither this calculator nor ASE's ``Calculator`` knows."""
    known = {*RunOptions.names(), *signature(Calculator.__init__).parameters} - {"self", "kwargs"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(
            f"options of UMACalculator must be {', '.join(sorted(known))}; found {unknown[0]!r}"
        )
