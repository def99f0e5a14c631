"""UMA as an ASE calculator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from uma_md.evaluator import Evaluator, atomic_forces, virials
from uma_md.graph import Graph, build_graph
from uma_md.loading import DTYPES, counts_tensor, load_model
from uma_md.metadata import check_charge_spin, count_elements


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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._path = model
        self._dtype = dtype
        self._chunk = chunk
        self._recompute = recompute
        self.device = pick_device(device)
        self._load(task)

    def _load(self, task: str | None) -> None:
        self._model, self.metadata = load_model(self._path, task, self._dtype, self.device)
        self._evaluator = Evaluator(
            self._model,
            self.metadata.bytes_per_edge,
            chunk=self._chunk,
            recompute=self._recompute,
        )
        self._merged_for: tuple[dict[str, int], int, int] | None = None

    @property
    def task(self) -> str:
        """The task whose energy is given; setting it loads that task of the checkpoint."""
        return self.metadata.task

    @task.setter
    def task(self, name: str) -> None:
        if name != self.metadata.task:
            self._load(name)
            self.reset()

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """List what changed since the last calculation, charge and spin included."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if not changes and self.atoms and self._charge_spin(self.atoms) != self._charge_spin(atoms):
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
        self._check_structure(atoms)
        self._merge(atoms)
        graph = self._graph(atoms)
        energies, gradients = self._evaluator(graph)
        self._check_finite(energies, gradients)
        energy = float(energies.sum())
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": energies.cpu().numpy(),
            "forces": atomic_forces(graph, gradients).cpu().numpy(),
        }
        if atoms.cell.rank == 3:
            virial = virials(graph, gradients)[0].cpu().numpy()
            stress = -0.5 * (virial + virial.T) / atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)

    def _charge_spin(self, atoms: Atoms) -> tuple[int, int]:
        charge = atoms.info.get("charge", self.metadata.charge)
        return check_charge_spin(charge, atoms.info.get("spin", self.metadata.spin))

    def _check_structure(self, atoms: Atoms) -> None:
        if len(atoms) == 0:
            raise ValueError("the structure must have atoms, found none")
        lost = [axis for axis in range(3) if atoms.pbc[axis] and not atoms.cell[axis].any()]
        if lost:
            raise ValueError(
                f"a periodic direction needs a cell vector, found none along {'abc'[lost[0]]}"
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

    def _check_finite(self, energies: torch.Tensor, gradients: torch.Tensor) -> None:
        if not (torch.isfinite(energies).all() and torch.isfinite(gradients).all()):
            raise ValueError(
                "energy and forces must be finite, the model gave NaN or infinity: "
                "is the structure sound?"
            )


def pick_device(name: str) -> torch.device:
    """The device that a user's word stands for.

    Raises
    ------
    ValueError
        When torch has no such device.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device must be auto, cpu or cuda, found {name!r}") from None
    if device.type != "cpu" and (accelerator is None or device.type != accelerator.type):
        raise ValueError(f"device {name} is not available to torch here: use device cpu")
    return device
