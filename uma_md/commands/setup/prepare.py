# SPDX-License-Identifier: MIT
"""From a structure and wishes to a case, and from a case to a folder that runs."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from ase.data import atomic_masses
from ase.io import write

from uma_md.commands.setup import record
from uma_md.commands.setup.advice import Advice, Situation, advise, purpose
from uma_md.commands.setup.anatomy import Anatomy
from uma_md.commands.setup.ase_files import write_ase
from uma_md.commands.setup.case import (
    Case,
    Choice,
    Wishes,
    atom_types,
    choose_barostat,
    choose_thermostat,
    choose_timestep,
)
from uma_md.commands.setup.geometry import complete, standard_form
from uma_md.commands.setup.ipi_files import write_ipi
from uma_md.commands.setup.lammps_files import write_lammps
from uma_md.commands.setup.relaxation import relax
from uma_md.commands.setup.systems import load_system, set_periodic
from uma_md.export import STEPS, export
from uma_md.files import exported
from uma_md.files.metadata import Metadata, name_elements
from uma_md.files.whole_file import check_output
from uma_md.hub.download import resolve
from uma_md.loading import UMASource
from uma_md.options import RunOptions
from uma_md.progress import Progress
from uma_md.ranks.placement import pick_device, usable_cores
from uma_md.system import (
    check_charge_spin,
    check_geometry,
    count_elements,
    default_spin,
    formula,
    unread_moments,
)

ATOMS_PER_RANK = 20  # fewer, and ranks wait for each other
NEUTRAL = "taken as neutral, since neither the structure nor --charge says otherwise"
HELD = (
    "the file holds atoms where they are, and the run moves all atoms: to hold some in LAMMPS, "
    "give 'group mobile id ...' in in.run, and let 'velocity' and 'fix' act on it instead of all"
)


class Start(NamedTuple):
    """Atoms that are read, with total charge (e) and multiplicity, and what was chosen so far."""

    atoms: Atoms
    charge: int
    spin: int
    choices: list[Choice]
    advice: list[Advice]


def setup(structure: str, wishes: Wishes, output: Path, report: Callable[[str], None]) -> Case:
    """Write a folder that runs a structure.

    Parameters
    ----------
    structure
        A file, or a name: see ``systems.load_system``.
    wishes
    output
        The folder, new or empty. It is written whole or not at all.
    report
        Takes lines that say what is done.

    Raises
    ------
    OSError, TypeError, ValueError
        In one sentence, what must hold and what was found.
    """
    start = read_start(structure, wishes)
    with _whole_folder(output) as folder:
        metadata, tasks = put_model(start, wishes, folder / record.MODEL)
        if wishes.relax:
            atoms, choice = relax(start.atoms, folder / record.MODEL, start.charge, start.spin)
            start = start._replace(atoms=atoms, choices=[*start.choices, choice])
        case = make_case(start, wishes, metadata, tasks)
        write_folder(case, wishes.engine, folder, output.absolute().name)
    for choice in case.choices:
        report(f"{choice.what}: {choice.value} ({choice.why})")
    for advice in case.advice:
        report(f"{advice.kind}: {advice.text}")
    return case


def read_start(structure: str, wishes: Wishes) -> Start:
    """Read a structure, and settle its periodicity, charge and spin."""
    found, text = load_system(structure)
    if wishes.periodic is not None:
        set_periodic(found, wishes.periodic)
    check_geometry(found.positions, found.cell.array, found.pbc)
    atoms = Atoms(found.numbers, found.positions, cell=found.cell, pbc=found.pbc)
    if found.has("masses"):
        atoms.set_masses(found.get_masses())
    atoms.set_constraint([held for held in found.constraints if isinstance(held, FixAtoms)])
    if wishes.repeat != (1, 1, 1):
        atoms = complete(atoms) * wishes.repeat
    options = RunOptions(charge=wishes.charge, spin=wishes.spin)
    stated = options.charge_and_spin(found.info, 0, default_spin(wishes.task))
    charge, spin = check_charge_spin(*stated)
    choices = [
        Choice("structure", f"{len(atoms)} atoms, {formula(count_elements(atoms.numbers))}", text),
        Choice("charge", f"{charge:+d} e" if charge else "0", _why(found, wishes, "charge")),
        Choice("spin multiplicity", f"{spin}", _why(found, wishes, "spin")),
    ]
    advice = [Advice("moments", "warning", text) for text in unread_moments(found, options)]
    if found.constraints:
        advice.append(Advice("constraints", "warning", HELD))
    if "occupancy" in found.info:
        atoms.info["occupancy"] = found.info["occupancy"]
    return Start(atoms, charge, spin, choices, advice)


def _why(found: Atoms, wishes: Wishes, name: str) -> str:
    if getattr(wishes, name) is not None:
        return "as given"
    if name in found.info:
        return "as the structure says"
    if name == "charge":
        return NEUTRAL
    return "a closed shell" if wishes.task == "omol" else f"{wishes.task} has no multiplicities"


def put_model(start: Start, wishes: Wishes, path: Path) -> tuple[Metadata, tuple[str, ...]]:
    """Export the model for the structure; an exported file is copied."""
    source = resolve(wishes.model)
    if source.is_file() and exported.is_exported(source):
        metadata = exported.read_metadata(source)
        if metadata.task != wishes.task:
            raise ValueError(
                f"task must be {metadata.task}, for which {source} is exported, found "
                f"{wishes.task!r}"
            )
        counts = count_elements(start.atoms.numbers)
        metadata.check_elements(start.atoms.numbers)
        metadata.check_system(counts, start.charge, start.spin)
        shutil.copyfile(source, path)
        return metadata, (metadata.task,)
    opened = UMASource(source)
    _check_known(start.atoms, opened, wishes)
    merge_for = None
    if opened.config.num_experts and not wishes.all_experts:
        merge_for = formula(count_elements(start.atoms.numbers))
    with Progress(STEPS) as progress:
        export(
            source,
            path,
            wishes.task,
            start.charge,
            start.spin,
            merge_for,
            wishes.dtype,
            progress=progress,
        )
    return exported.read_metadata(path), tuple(opened.tasks)


def _check_known(atoms: Atoms, source: UMASource, wishes: Wishes) -> None:
    """Refuse elements that the task does not know, before a long export."""
    known = source.elements(source.task(wishes.task))
    strange = sorted(set(atoms.symbols) - set(known))
    if strange:
        raise ValueError(
            f"all elements must be known to {wishes.model} for the task {wishes.task} "
            f"({name_elements(known)}), found {', '.join(strange)}: take another task, or with "
            "--model a model that knows them, such as uma-s-1p2p1"
        )


def make_case(start: Start, wishes: Wishes, metadata: Metadata, tasks: tuple[str, ...]) -> Case:
    """Choose what is not given."""
    atoms, changes = start.atoms.copy(), list[str]()
    if wishes.engine != "ase":
        atoms, changes = standard_form(start.atoms, metadata.cutoff)
    atoms.info = {"charge": start.charge, "spin": start.spin}
    anatomy = Anatomy(complete(start.atoms))
    timestep = choose_timestep(atoms, wishes.timestep)
    thermostat = choose_thermostat(atoms, wishes.ensemble, wishes.engine)
    barostat = choose_barostat(anatomy, wishes.ensemble, wishes.engine)
    ranks = _ranks(atoms, wishes)
    types, type_of = atom_types(atoms)
    axes = Choice("axes", "; ".join(changes), "energies do not change")
    choices = [
        Choice("model", wishes.model, _file(metadata)),
        Choice("task", wishes.task, purpose(metadata.model_id, metadata.task) or "as given"),
        *start.choices,
        *([axes] if changes else []),
        Choice("atom types", " ".join(t.symbol for t in types), _masses(atoms)),
        Choice("ensemble", _ensemble(wishes), "as given"),
        *([thermostat] if wishes.ensemble != "nve" else []),
        *([barostat] if wishes.ensemble == "npt" else []),
        timestep,
        ranks,
    ]
    case = Case(
        atoms=atoms,
        task=wishes.task,
        model=wishes.model,
        charge=start.charge,
        spin=start.spin,
        types=types,
        type_of=type_of,
        ensemble=wishes.ensemble,
        temperature=wishes.temperature,
        pressure=wishes.pressure,
        timestep=float(timestep.value.split()[0]),
        steps=wishes.steps,
        beads=wishes.beads,
        ranks=int(ranks.value),
        thermostat=thermostat.value,
        barostat=barostat.value,
        choices=choices,
        advice=list(start.advice),
    )
    case.advice.extend(advise(_situation(case, start.atoms, anatomy, metadata, tasks)))
    return case


def _situation(
    case: Case, atoms: Atoms, anatomy: Anatomy, metadata: Metadata, tasks: tuple[str, ...]
) -> Situation:
    return Situation(
        atoms,
        anatomy,
        metadata.model_id,
        case.task,
        tasks,
        case.charge,
        case.spin,
        metadata.cutoff,
        case.timestep,
        case.ensemble,
    )


def _file(metadata: Metadata) -> str:
    if metadata.composition is None:
        return f"{metadata.model_id}, {metadata.dtype}, for any composition"
    return f"{metadata.model_id}, {metadata.dtype}, merged for these atoms"


def _masses(atoms: Atoms) -> str:
    usual = atomic_masses[atoms.numbers]
    if abs(atoms.get_masses() - usual).max() < 1e-3:
        return "in the order of atomic numbers, with the masses of the elements"
    return "by element and by the masses of the structure"


def _ensemble(wishes: Wishes) -> str:
    parts = [wishes.ensemble, f"{wishes.temperature:g} K"]
    if wishes.ensemble == "npt":
        parts.append(f"{wishes.pressure:g} bar")
    if wishes.beads > 1:
        parts.append(f"{wishes.beads} beads")
    return ", ".join(parts)


def _ranks(atoms: Atoms, wishes: Wishes) -> Choice:
    """How many MPI ranks: all cores or devices, but not for a handful of atoms each."""
    if wishes.ranks is not None:
        return Choice("ranks", f"{wishes.ranks}", "as given")
    if wishes.engine != "lammps":
        return Choice("ranks", "1", "its threads take the cores of this machine")
    device = pick_device("auto")
    if device.type != "cpu":
        return Choice("ranks", f"{torch.accelerator.device_count()}", "one for each accelerator")
    cores = min(psutil.cpu_count(logical=False) or 1, len(usable_cores()))
    ranks = max(1, min(cores, len(atoms) // ATOMS_PER_RANK))
    why = f"{cores} cores, and no fewer than {ATOMS_PER_RANK} atoms for each rank"
    return Choice("ranks", f"{ranks}", why)


def write_folder(case: Case, engine: str, folder: Path, name: str) -> None:
    """Write all files of a case, ``run.sh`` and the record included."""
    write(folder / record.STRUCTURE, case.atoms, format="extxyz", columns=_columns(case))
    if engine == "lammps":
        commands = write_lammps(case, folder)
    elif engine == "ipi":
        commands = write_ipi(case, folder, name)
    else:
        commands = write_ase(case, folder)
    lines = ["#!/bin/sh", "# Written by uma-md setup.", 'cd "$(dirname "$0")" || exit', *commands]
    (folder / "run.sh").write_text("\n".join(lines) + "\n")
    (folder / "run.sh").chmod(0o755)
    text = json.dumps(record.record_of(case, engine), indent=1)
    (folder / record.RECORD).write_text(text + "\n")


def _columns(case: Case) -> list[str]:
    """Masses are written where they are not those of the elements."""
    usual = abs(case.atoms.get_masses() - atomic_masses[case.atoms.numbers]).max() < 1e-6
    return ["symbols", "positions", *([] if usual else ["masses"])]


@contextmanager
def _whole_folder(output: Path) -> Iterator[Path]:
    """A folder beside ``output`` that takes its place when all went well."""
    output = output.absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(
            f"the output must be a new or an empty folder, found something in {output}: give "
            "another with --output"
        )
    check_output(output / record.RECORD)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as name:
        folder = Path(name) / "folder"
        folder.mkdir()
        yield folder
        if output.exists():
            output.rmdir()
        folder.rename(output)
