# SPDX-License-Identifier: MIT
"""UMA as an ASE calculator."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from uma_md.evaluator import Evaluator, Properties, atomic_forces, check_finite, virials
from uma_md.graph import Graph, build_graph
from uma_md.loading import DTYPES, counts_tensor, load_model
from uma_md.metadata import check_charge_spin, count_elements
from uma_md.placement import Placement, pick_device, place

if TYPE_CHECKING:
    from mpi4py import MPI

    from uma_md.ranks import Ranks

__all__ = ["UMACalculator", "pick_device"]


class UMACalculator(Calculator):
    """Energies, forces and stresses of one task of a UMA model.

    Charge and spin multiplicity of the system come from ``atoms.info["charge"]`` and
    ``atoms.info["spin"]``; without them they are 0, and 1 for omol or 0 for other tasks, or
    what the file was exported with. Any combination of periodic directions is allowed.

    Parameters
    ----------
    model
        Path of a checkpoint or of an exported file.
    task
        Such as ``omol``; needed for a checkpoint of several tasks.
    device
        ``cpu``, ``cuda``, or ``auto`` for an accelerator where there is one.
    dtype
        ``float32`` or ``float64``, for a checkpoint; an exported file has its own.
    chunk
        Edges handled at a time.
    recompute
        ``auto``, ``on`` or ``off``: see ``uma_md.evaluator.Evaluator``.
    trust_code
        Run the code of an exported file that ``uma-md export`` did not write, with your rights.
    comm
        A communicator of mpi4py, over whose ranks the atoms are spread. All its ranks make
        the calculator, change atoms and ask for properties alike; all get the same results,
        or the same error.

    Raises
    ------
    FileNotFoundError, ValueError
        When the file, the task, the device or the dtype is not to be had.
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
        chunk: int = 1024,
        recompute: str = "auto",
        trust_code: bool = False,
        comm: MPI.Intracomm | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._path = model
        self._dtype = dtype
        self._chunk = chunk
        self._recompute = recompute
        self._trust_code = trust_code
        self._ranks: Ranks | None = None
        if comm is None:
            self._placement = Placement(pick_device(device))
        else:
            from uma_md.ranks import Ranks

            self._ranks = Ranks(comm)
            with self._ranks.together():
                self._placement = place(self._ranks, device)
        self.device = self._placement.device
        with self._together():
            self._load(task)

    def _together(self) -> AbstractContextManager[None]:
        """Give a block in which an error on one rank becomes that of all."""
        return self._ranks.together() if self._ranks else nullcontext()

    def _load(self, task: str | None) -> None:
        arguments = (self._path, task, self._dtype, self.device)
        if self._ranks is None:
            self._model, self.metadata = load_model(*arguments, trust_code=self._trust_code)
        else:
            from uma_md.spatial import load_in_turn

            self._model, self.metadata = load_in_turn(
                self._ranks, self._placement, *arguments, trust_code=self._trust_code
            )
        self._evaluator = Evaluator(
            self._model,
            self.metadata.bytes_per_edge,
            chunk=self._chunk,
            recompute=self._recompute,
            sharers=self._placement.sharers,
        )
        self._merged_for: tuple[dict[str, int], int, int] | None = None

    @property
    def task(self) -> str:
        """The task whose energy is given; setting it, on all ranks, loads it from the file."""
        return self.metadata.task

    @task.setter
    def task(self, name: str) -> None:
        if name != self.metadata.task:
            with self._together():
                self._load(name)
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
            self._check_structure(atoms)
            self._merge(atoms)
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
        """Charge and spin as the structure says, checked or not."""
        about = self.metadata
        return atoms.info.get("charge", about.charge), atoms.info.get("spin", about.spin)

    def _charge_spin(self, atoms: Atoms) -> tuple[int, int]:
        return check_charge_spin(*self._stated(atoms))

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

    def _check_structure(self, atoms: Atoms) -> None:
        if len(atoms) == 0:
            raise ValueError("the structure must have atoms, found none")
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            raise ValueError(
                "positions and cell must be finite, found NaN or infinity: did the run go astray?"
            )
        lost = [axis for axis in range(3) if atoms.pbc[axis] and not atoms.cell[axis].any()]
        if lost:
            raise ValueError(
                f"a periodic direction needs a cell vector, found none along {'abc'[lost[0]]}"
            )
        if np.linalg.matrix_rank(atoms.cell.array[atoms.pbc]) < atoms.pbc.sum():
            raise ValueError(
                "cell vectors of periodic directions must be independent, found some in one plane "
                "or on one line: check the cell"
            )
        if len(atoms) == 1 and not atoms.pbc.any() and not self.metadata.supports_single_atoms:
            raise ValueError(
                f"{self.metadata.model_id} does not describe a single isolated atom: "
                "use its isolated-atom reference energy, or a model that supports single atoms"
            )
        self.metadata.check_elements(atoms.numbers)

    def _merge(self, atoms: Atoms) -> None:
        charge, spin = self._charge_spin(atoms)
        counts = count_elements(atoms.numbers)
        if self._merged_for != (counts, charge, spin):
            self.metadata.check_system(counts, charge, spin)
            table = counts_tensor(counts, self._model.max_num_elements)
            with torch.no_grad():
                self._model.merge(table, charge, spin)
            self._merged_for = (counts, charge, spin)

    def _evaluate(self, atoms: Atoms) -> Properties:
        if self._ranks is not None:
            from uma_md.spatial import SpatialEvaluator, System

            spread = SpatialEvaluator(self._ranks, self._evaluator, self.metadata, self.device)
            cell = atoms.cell.complete().array
            return spread([System(atoms.positions, cell, atoms.pbc, atoms.numbers)])
        graph = self._graph(atoms)
        energies, gradients = self._evaluator(graph)
        check_finite(energies, gradients)
        return Properties(
            energies.cpu().numpy(),
            atomic_forces(graph, gradients).cpu().numpy(),
            virials(graph, gradients).cpu().numpy(),
        )

    def _graph(self, atoms: Atoms) -> Graph:
        graph = build_graph(
            atoms.positions,
            atoms.cell.complete().array,
            atoms.pbc,
            atoms.numbers,
            self.metadata.cutoff,
            self.metadata.max_neighbors,
        )
        vectors = graph.vectors.to(DTYPES[self.metadata.dtype])
        return Graph(*(part.to(self.device) for part in graph._replace(vectors=vectors)))
