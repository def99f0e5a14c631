# SPDX-License-Identifier: MIT
"""Looking for mistakes in an input of i-PI before a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ipi_driver.input.check_start import check_start
from ipi_driver.input.ipi_input import DEFAULT_LATENCY, ForceField, Input, System, read_input
from ipi_driver.input.remarks import Remark
from ipi_driver.input.start import entries_of
from ipi_driver.options import Options
from ipi_driver.potential import PARAMETERS, UMAPotential
from ipi_driver.template import read_template
from ipi_driver.units import BOHR, HARTREE
from uma_md.committee import Models
from uma_md.files.structures import read_structure


def check(
    input_file: Path,
    model: Models,
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
    _say(remarks, report)
    potential = UMAPotential(model, atoms, Options(**options), report)
    if field is not None:
        potential.configure(
            {
                name: text
                for name, text in field.parameters.items()
                if field.kind != "ffdirect" or name in PARAMETERS
            }
        )
    later: list[Remark] = []
    for system in given.systems:
        later += check_start(system, atoms, input_file.parent, potential.metadata.cutoff)
    _say(later, report)
    remarks += later
    if not remarks:
        report(f"nothing to remark on {input_file}")
    report_point(potential, atoms, report)
    report(
        "a driver that would give other energies is refused with <parameters> { fingerprint: "
        f"{potential.fingerprint} }} </parameters> in the force field"
    )
    return not any(remark.is_error for remark in remarks)


def _say(remarks: list[Remark], report: Callable[[str], None]) -> None:
    for remark in dict.fromkeys(remarks):  # systems of a template may have the same
        report(f"{'error' if remark.is_error else 'warning'}: {remark.text}")


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
    count = sum(beads)  # a batch may hold beads of several systems
    uneven = count % size > 0
    if uneven and field.kind == "ffdirect" and not field.threaded:
        yield Remark(
            True,
            f"{count} beads are no multiple of batch_size {size}: i-PI would hang with "
            "ffdirect, unless threaded='true'",
        )
    elif uneven:
        yield Remark(
            False,
            f"{count} beads are no multiple of batch_size {size}: batches stay part empty",
        )


def check_system(system: System, template: Atoms, folder: Path) -> Iterator[Remark]:
    """Look over a system without asking what it starts from."""
    if system.has_barostat and not template.pbc.all():
        yield Remark(True, "a barostat needs a template that is periodic in three directions")
    for entry in entries_of(system.node):
        name = (entry.text or "").strip()
        if entry.get("mode", "").strip() != "ase" or not (folder / name).is_file():
            continue
        try:
            atoms = read_structure(folder / name)
        except ValueError as error:
            yield Remark(True, str(error))
            continue
        if (atoms.pbc != template.pbc).any():
            yield Remark(
                True,
                f"{name} is periodic along {_axes(atoms)}, the template along {_axes(template)}: "
                "the template decides, and must be right",
            )


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
