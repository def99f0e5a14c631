# SPDX-License-Identifier: MIT
"""Looking for mistakes in an input of i-PI before a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from ipi_driver.input.ipi_input import DEFAULT_LATENCY, ForceField, Input, System, read_input
from ipi_driver.options import Options
from ipi_driver.potential import BOHR, HARTREE, UMAPotential
from ipi_driver.template import read_template
from uma_md.files.structures import read_structure

FORMATS = {"xyz": "xyz", "pdb": "proteindatabank", "ase": None}  # i-PI's names, and ASE's


class Remark(NamedTuple):
    """A sentence about an input, and whether a run would fail by it."""

    is_error: bool
    text: str


def check(
    input_file: Path,
    model: Path,
    template: Path,
    address: dict[str, Any],
    options: dict[str, Any],
    report: Callable[[str], None],
) -> bool:
    """Report what is known to go wrong, and one point of the template.

    Parameters
    ----------
    input_file
        i-PI's.
    model, template
        As for a run.
    address
        Fields of ``ipi_driver.wire.address.Address``.
    options
        Fields of ``ipi_driver.options.Options``.
    report
        Takes each sentence.

    Returns
    -------
    bool
        Whether there are no errors, but for warnings.

    Raises
    ------
    OSError, TypeError, ValueError
        When a file cannot be read, or model, template and options do not go together.
    """
    given, atoms = read_input(input_file), read_template(template)
    field, remarks = choose_field(given, address)
    if field is not None:
        remarks += [*check_field(field, address), *check_batches(field, given.systems)]
    for system in given.systems:
        remarks += check_system(system, atoms, input_file.parent)
    for remark in remarks:
        report(f"{'error' if remark.is_error else 'warning'}: {remark.text}")
    if not remarks:
        report(f"nothing to remark on {input_file}")
    potential = UMAPotential(model, atoms, Options(**options), report)
    if field is not None:
        potential.configure(field.parameters if field.kind != "ffdirect" else {})
    report_point(potential, atoms, report)
    return not any(remark.is_error for remark in remarks)


def choose_field(given: Input, address: dict[str, Any]) -> tuple[ForceField | None, list[Remark]]:
    """Find the force field that a driver with these options would serve."""
    fields = [field for field in given.fields if _is_meant(field, address)]
    if len(fields) == 1 or (len(given.fields) == 1 and (fields := list(given.fields))):
        return fields[0], []
    names = ", ".join(field.name or field.kind for field in given.fields) or "none"
    text = f"one force field must have the address that uma-ipi is given, found {names}"
    return None, [Remark(True, text)]


def _is_meant(field: ForceField, address: dict[str, Any]) -> bool:
    if address["mpi"]:
        return field.kind == "ffmpi" and address["mpi_name"] in ("", field.name)
    if address["unix"] is not None:
        return field.mode != "inet" and field.address == address["unix"]
    if address["port"] is not None:
        return field.mode == "inet" and field.port == address["port"]
    return False


def check_field(field: ForceField, address: dict[str, Any]) -> Iterator[Remark]:
    """Compare a force field with how uma-ipi is started; name what is dangerous in it."""
    given = address["mpi"] or address["unix"] is not None or address["port"] is not None
    if given and not _is_meant(field, address):
        yield Remark(True, f"uma-ipi must be started with {_flags(field)}, to reach i-PI")
    if field.kind == "ffsocket":
        if given and (field.mode == "shm") != address["shm"]:
            yield Remark(True, f"mode is {field.mode!r}: --shm goes with mode='shm' only")
        if field.timeout == 0:
            yield Remark(
                False,
                "no <timeout>: a driver that hangs makes i-PI hang, and no signal but SIGKILL "
                "ends it; give ten times what an evaluation takes, in seconds",
            )
        socket = Path(address["prefix"] + field.address)
        if field.mode != "inet" and socket.exists():
            yield Remark(
                False,
                f"{socket} is there: either i-PI runs already, or the file is left over and "
                "i-PI will not start before it is removed",
            )
    if field.kind == "ffdirect" and field.pes_path == "":
        yield Remark(True, "ffdirect must have <pes_path>, which 'uma-ipi --pes-path' prints")


def _flags(field: ForceField) -> str:
    if field.kind == "ffmpi":
        return "--mpi"
    if field.kind == "ffdirect":
        return "no address (ffdirect needs no driver)"
    if field.mode == "inet":
        return f"--host {field.address} --port {field.port}"
    return f"--unix {field.address}" + (" --shm" if field.mode == "shm" else "")


def check_batches(field: ForceField, systems: tuple[System, ...]) -> Iterator[Remark]:
    """Name batches that i-PI would cut, fill up or wait for."""
    size = field.batch_size
    beads = [system.beads for system in systems if system.beads is not None]
    if size == 1:
        if max(beads, default=1) > 1:
            yield Remark(
                False,
                "batch_size is 1: beads are evaluated one after the other; "
                f"<batch_size>{max(beads)}</batch_size> evaluates them together",
            )
        return
    if field.kind == "ffsocket" and not field.consolidates:
        yield Remark(True, "batch_size must be 1 where consolidate_messages is false")
    if field.kind != "ffdirect" and field.latency <= DEFAULT_LATENCY:
        yield Remark(
            False,
            "default <latency> with batches: i-PI may send a batch in two parts; "
            "<latency>1e-2</latency> avoids it",
        )
    uneven = [count for count in beads if count % size]
    if uneven and field.kind == "ffdirect" and not field.threaded:
        yield Remark(
            True,
            f"{uneven[0]} beads are no multiple of batch_size {size}: i-PI would hang with "
            "ffdirect, unless threaded='true'",
        )
    elif uneven:
        yield Remark(
            False,
            f"{uneven[0]} beads are no multiple of batch_size {size}: batches stay part empty",
        )


def check_system(system: System, template: Atoms, folder: Path) -> Iterator[Remark]:
    """Compare the atoms that i-PI starts from with the template's."""
    for mode, name in system.files:
        if mode not in FORMATS:
            continue
        try:
            atoms = read_structure(folder / name, FORMATS[mode])
        except ValueError as error:
            yield Remark(True, str(error))
            continue
        if len(atoms) != len(template):
            yield Remark(
                True, f"{name} must have the template's {len(template)} atoms, found {len(atoms)}"
            )
        elif (atoms.numbers != template.numbers).any():
            row = int(np.flatnonzero(atoms.numbers != template.numbers)[0])
            yield Remark(
                False,
                f"atom {row + 1} is {atoms.symbols[row]} in {name} and {template.symbols[row]} in "
                "the template: the template decides",
            )
        if mode == "ase" and (atoms.pbc != template.pbc).any():
            yield Remark(
                True,
                f"{name} is periodic along {_axes(atoms)}, the template along {_axes(template)}: "
                "the template decides, and must be right",
            )
    if system.has_barostat and not template.pbc.all():
        yield Remark(True, "a barostat needs a template that is periodic in three directions")


def _axes(atoms: Atoms) -> str:
    return ", ".join(name for name, repeats in zip("abc", atoms.pbc, strict=True) if repeats) or "-"


def report_point(potential: UMAPotential, atoms: Atoms, report: Callable[[str], None]) -> None:
    """Compute the template, and say what came out and how long it took."""
    potential.warm_up()
    start = time.perf_counter()
    results = potential.warm_up()
    seconds = time.perf_counter() - start
    forces = results.forces[0] * (HARTREE / BOHR)
    largest = np.sqrt((forces**2).sum(axis=1).max())
    text = f"energy {results.energies[0] * HARTREE:.6f} eV, largest force {largest:.4f} eV/angstrom"
    if atoms.pbc.all():
        virial = results.virials[0].trace() * HARTREE / 3
        text += f", virial part of the pressure {virial / atoms.get_volume() * 160.21766:.4f} GPa"
    report(f"template: {text}, {seconds:.2f} s")
