# SPDX-License-Identifier: MIT
"""UMA as an ASE calculator."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from uma_md.batch_evaluation import BatchEvaluator
from uma_md.batching import Follower
from uma_md.committee import Models, is_committee
from uma_md.graph import Limits
from uma_md.hessian import Indices, check_step, hessian, moving_atoms
from uma_md.options import RunOptions
from uma_md.prediction import (
    STANDARD_DEVIATIONS,
    Prediction,
    Predictor,
    list_of_structures,
    predict_all,
    standard_deviations,
)
from uma_md.properties import Properties, ase_stress
from uma_md.ranks.placement import Placement, pick_device, place
from uma_md.shared_potential import AnyShared, load_shared
from uma_md.system import System, check_charge_spin, check_geometry, system_of, unread_moments

if TYPE_CHECKING:
    import torch
    from ase.vibrations.data import VibrationsData
    from mpi4py import MPI

    from uma_md.files.metadata import Metadata
    from uma_md.networks import Networks
    from uma_md.ranks.agreement import Ranks
    from uma_md.ranks.following import SpatialFollower

SKIN = 1.0  # angstrom: how far beyond the cutoff pairs are kept from one call to the next


class UMACalculator(Calculator):
    """Energies, forces and stresses of one task of a UMA model.

    Charge and spin multiplicity of the system come from ``atoms.info["charge"]`` and
    ``atoms.info["spin"]``; without them they are 0, and 1 for omol or 0 for other tasks, or
    what the file was exported with. Any combination of periodic directions is allowed.

    Copies share the network's weights. A pickle names the file and loads it again. Threads may
    share a calculator: they compute one after the other. ``predict`` evaluates many structures in
    batches, and ``get_vibrations`` gives a structure's vibrations.

    Of a list of models, a committee, all properties are means over the members. ``results`` then
    has their standard deviations, too (population, so divided by the number of members):
    ``energy_std``, of the energy per atom, eV; ``forces_std``, (atoms,), eV/angstrom, the square
    root of the mean over members of the squared length of the difference from the mean force; and
    ``stress_std``, (6,), eV/angstrom^3, of each component.

    Parameters
    ----------
    model
        Path of a checkpoint or of an exported file, or the name of a published model; or a list
        of these, of models with the same cutoff and elements.
    task
        Such as ``omol``; needed for a checkpoint of several tasks.
    device, dtype, **options
        As in ``uma_md.options.RunOptions``. A charge or a spin given here comes before that of
        the structure. What is no option goes to ASE's ``Calculator``.
    comm
        A communicator of mpi4py, over whose ranks the atoms are spread. All its ranks make
        the calculator, change atoms and ask for properties alike; all get the same results,
        or the same error.

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
        model: Models,
        task: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        *,
        comm: MPI.Intracomm | None = None,
        **options: Any,
    ) -> None:
        self._model = model
        self._ranks: Ranks | None = None
        if comm is not None:
            from uma_md.ranks.agreement import Ranks

            self._ranks = Ranks(comm)
        with self._together():
            given = {name: options.pop(name) for name in RunOptions.names() if name in options}
            _check_known(options)
            super().__init__(**options)
            # ASE's bound method would lead from the calculator to itself and keep its weights.
            self.__dict__.pop("get_spin_polarized", None)
            self._options = RunOptions(device=device, dtype=dtype, **given)
            if is_committee(model):
                self.implemented_properties = [*self.implemented_properties, *STANDARD_DEVIATIONS]
            self._potential = self._load(task)
        self._follower: Follower | None = None
        self._spatial: SpatialFollower | None = None
        self._computed_for: tuple[int, int] | None = None
        self._has_warned = False

    def _together(self) -> AbstractContextManager[None]:
        """Give a block in which an error on one rank becomes that of all."""
        return self._ranks.together() if self._ranks else nullcontext()

    def _load(self, task: str | None) -> AnyShared:
        ranks, name = self._ranks, self._options.device
        placement = place(ranks, name) if ranks else Placement(pick_device(name))

        def load(networks: Networks | None = None) -> AnyShared:
            where = placement.device, placement.sharers
            return load_shared(self._model, task, self._options, *where, networks)

        if ranks is None:
            return load()
        from uma_md.ranks.node_networks import load_together

        return load_together(ranks, load)

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds.

        Raises
        ------
        TypeError
            When the calculator belongs to ranks.
        """
        if self._ranks is not None:
            raise TypeError(
                "a calculator with comm cannot be pickled, since its ranks compute together: "
                "make it on each rank with the same arguments"
            )
        return {**self.__dict__, "_follower": None, "_spatial": None}

    def __copy__(self) -> UMACalculator:
        """Give a calculator with the same results and weights."""
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(
            self.__dict__, results=dict(self.results), _follower=None, _spatial=None
        )
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> UMACalculator:
        """Give a calculator of its own that shares the weights, and the ranks if there are."""
        other = self.__class__.__new__(self.__class__)
        memo[id(self)] = other
        memo[id(self._ranks)] = self._ranks
        memo[id(self._follower)] = memo[id(self._spatial)] = None
        for name, value in self.__dict__.items():
            setattr(other, name, copy.deepcopy(value, memo))
        return other

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self._potential.device

    @property
    def engine(self) -> str:
        """What computes messages, ``kernels`` or ``portable``."""
        return self._potential.engine

    @property
    def precision(self) -> str:
        """What products of matrices are computed in, as the option says, or ``float64``."""
        return self._potential.precision

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
        with self._together():
            if self._ranks is not None:
                self._ranks.check_same("task", {"task": name}, "set it on all ranks")
            if name != self.metadata.task:
                self._potential = self._load(name)
                self._follower = self._spatial = None
                self.reset()

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """List what changed since the last calculation, charge and spin included.

        A charge or a spin that is invalid is a change, so that ``calculate`` refuses it.
        """
        changes: list[str] = super().check_state(atoms, tol=tol)
        if not changes and self._computed_for is not None:
            try:
                same = check_charge_spin(*self._stated(atoms)) == self._computed_for
            except (TypeError, ValueError):
                same = False
            if not same:
                changes.append("info")
        return changes

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """Give a property; of several threads, one at a time computes and takes its results."""
        with self._potential.lock:
            return super().get_property(name, atoms, allow_calculation)

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
        with self._potential.lock:
            with self._together():
                super().calculate(atoms, properties or ["energy"], system_changes)
                assert self.atoms is not None
                self.results = {}  # of other atoms, should this fail
                results = self._compute(self.atoms)
            self.results = results  # on all ranks, or on none

    def _compute(self, atoms: Atoms) -> dict[str, Any]:
        """Check a structure and evaluate it."""
        system = system_of(atoms)
        serves = self._check_same(atoms, system)
        self._merge_on_ranks(atoms)
        with self._spatial.step(serves) if self._spatial is not None else nullcontext():
            check_geometry(*system[:3])
            charge, spin = check_charge_spin(*self._stated(atoms))
            self._warn(atoms)
            self._potential.merge(atoms.numbers, charge, spin)
            found = self._evaluate(system, serves)
        energy = float(found.energies.sum())
        results = {
            "energy": energy,
            "free_energy": energy,
            "energies": found.energies,
            "forces": found.forces,
        }
        stress = ase_stress(found.virials[0], atoms.cell)
        if stress is not None:
            results["stress"] = stress
        if found.members:
            results.update(standard_deviations(found, atoms.cell))
        self._computed_for = charge, spin
        return results

    def _merge_on_ranks(self, atoms: Atoms) -> None:
        """Merge for a structure that all ranks have, where one of a node does it for the others.

        This ends in an agreement, as must come before the ranks' step. There it would be too late.
        """
        stated = self._stated(atoms)
        if self._ranks is None or self._potential.is_merged_for(atoms.numbers, *stated):
            return
        check_geometry(atoms.positions, atoms.cell.array, atoms.pbc)
        self._potential.merge(atoms.numbers, *check_charge_spin(*stated))

    def _warn(self, atoms: Atoms) -> None:
        """Say once, on one rank, what of a structure is not read."""
        if self._has_warned or (self._ranks is not None and self._ranks.rank > 0):
            return
        for sentence in unread_moments(atoms, self._options):
            self._has_warned = True
            warnings.warn(sentence, stacklevel=2)

    def _stated(self, atoms: Atoms) -> tuple[Any, Any]:
        """Charge and spin as options, structure or model say, checked or not."""
        return self._options.charge_and_spin(atoms.info, self.metadata.charge, self.metadata.spin)

    def _check_same(self, atoms: Atoms, system: System) -> bool:
        """Refuse structures that are not the same on all ranks; whether all ranks' pairs serve."""
        if self._ranks is None:
            return True
        if self._spatial is None:
            from uma_md.ranks.following import SpatialFollower

            self._spatial = SpatialFollower(self._ranks, self._potential, SKIN)
        parts = {
            "atomic numbers": atoms.numbers,
            "cell": atoms.cell.array,
            "periodic directions": atoms.pbc,
            "charge or spin": self._stated(atoms),
            "positions": atoms.positions,
        }
        advice = "let all ranks read the same file and use the same random seed"
        vote = int(self._spatial.serves(system))
        return bool(self._ranks.check_same("structure", parts, advice, vote))

    def _evaluate(self, system: System, serves: bool) -> Properties:
        if self._spatial is not None:
            return self._spatial(system, divide=not serves)
        if self._follower is None:
            limits = Limits(self.metadata.cutoff, self.metadata.max_neighbors)
            self._follower = Follower(limits, self.device, SKIN)
        return self._potential.properties(self._follower.graph(system))

    def predict(
        self, structures: Iterable[Atoms], *, progress: bool | None = None
    ) -> list[Prediction]:
        """Evaluate many structures in batches, as ``uma_md.predict`` does.

        Raises
        ------
        PredictionError
            When some structures could not be evaluated; it holds what the others gave.
        PredictionInterrupt
            After Ctrl-C; it holds what was computed.
        TypeError
            When the calculator belongs to ranks.
        """
        self._check_alone("predict", "call it on each rank for a share of the structures")
        listed = list_of_structures(structures)
        return predict_all(Predictor(self._potential, self._options), listed, progress)

    def get_hessian(
        self, atoms: Atoms, step: float | None = None, indices: Indices | None = None
    ) -> np.ndarray:
        """Second derivatives of the energy, by central differences of forces in batches.

        Parameters
        ----------
        atoms
        step
            How far atoms are displaced to both sides, angstrom; by default 0.005 in float32
            and 0.00002 in float64.
        indices
            Atoms to displace; by default all but those that ``FixAtoms`` or ``FixCartesian``
            holds.

        Returns
        -------
        (3 indices, 3 indices), eV/angstrom^2
            Symmetric. Coordinates of an atom follow each other.

        Raises
        ------
        TypeError, ValueError
            When the structure is not one that the model can serve, the step or the indices are
            invalid, or the calculator belongs to ranks.
        """
        self._check_alone("get_hessian", "call it on a calculator without comm")
        check_geometry(atoms.positions, atoms.cell.array, atoms.pbc)
        moving = moving_atoms(atoms, indices)
        step = check_step(step, self.metadata.dtype)
        charge, spin = check_charge_spin(*self._stated(atoms))
        self.metadata.check_served(atoms.numbers, charge, spin)
        self._warn(atoms)
        evaluate = BatchEvaluator(self._potential)
        system = system_of(atoms)
        return hessian(system, moving, step, lambda systems: evaluate(systems, charge, spin))

    def get_vibrations(
        self, atoms: Atoms, step: float | None = None, indices: Indices | None = None
    ) -> VibrationsData:
        """Vibrations of a structure at rest, from its Hessian; see ``get_hessian``.

        Masses are those of ``atoms``, so that isotopes have their own frequencies.
        """
        from ase.vibrations.data import VibrationsData

        moving = moving_atoms(atoms, indices)
        found = self.get_hessian(atoms, step, moving)
        return VibrationsData(atoms, found.reshape(len(moving), 3, len(moving), 3), moving)

    def _check_alone(self, method: str, advice: str) -> None:
        if self._ranks is not None:
            raise TypeError(f"{method} must be called without comm, found ranks: {advice}")


def _check_known(options: dict[str, Any]) -> None:
    """Refuse keywords that neither this calculator nor ASE's ``Calculator`` knows."""
    known = {*RunOptions.names(), *signature(Calculator.__init__).parameters} - {"self", "kwargs"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(
            f"options of UMACalculator must be {', '.join(sorted(known))}; found {unknown[0]!r}"
        )
