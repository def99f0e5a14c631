# SPDX-License-Identifier: MIT
"""Comparing what i-PI would start from with the template: atoms, units and cell."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from ipi_driver.input.ipi_input import System
from ipi_driver.input.remarks import Remark
from ipi_driver.input.start import Start, Unknowable, entries_of, files_of, read_start
from ipi_driver.template import check_volume, compare_cells
from ipi_driver.units import find_wrong_unit
from uma_md.system import check_finite_geometry

ISOTOPES = {"D": "H", "T": "H"}  # i-PI's labels, and the elements that a model knows


def check_start(system: System, template: Atoms, folder: Path, cutoff: float) -> Iterator[Remark]:
    """Compare what i-PI starts from with the template."""
    files = " and ".join(dict.fromkeys(files_of(system.node)))
    names = files or "i-PI's start"
    try:
        start = read_start(system.node, folder)
    except Unknowable as error:
        yield Remark(False, f"{error}: uma-ipi compares its first positions with the template")
        return
    except ValueError as error:
        advice = " and ".join(_is_extended(system.node, folder))
        given = f"<initialize> ({files})" if files else "<initialize>"
        yield Remark(True, f"i-PI would not start from {given}: {error}{advice}")
        return
    found = start.positions.shape[1]
    if found != len(template):
        yield Remark(True, f"{names} must have the template's {len(template)} atoms, found {found}")
        return
    yield from _check_labels(start.labels, template, names)
    yield from _check_geometry(start, template, system.node, cutoff)


def _check_labels(labels: list[str], template: Atoms, names: str) -> Iterator[Remark]:
    for number, (label, symbol) in enumerate(zip(labels, template.symbols, strict=True), 1):
        if ISOTOPES.get(label, label) != symbol:
            yield Remark(
                False,
                f"atom {number} is {label} in {names} and {symbol} in the template: the template "
                "decides",
            )
            return


def _check_geometry(
    start: Start, template: Atoms, system: ET.Element, cutoff: float
) -> Iterator[Remark]:
    try:
        check_finite_geometry(start.positions, start.cells)
        check_volume(start.cells[0])
        mistake = find_wrong_unit(template, start.cells, start.positions)
        if mistake is None:
            for cell, positions in zip(start.cells, start.positions, strict=True):
                compare_cells(template, cell, positions, cutoff)
            return
    except ValueError as error:
        yield Remark(True, str(error))
        return
    advice = [_advice(system, which) for which in ("positions", "cell") if getattr(mistake, which)]
    yield Remark(
        True,
        f"i-PI would start with a wrong unit, {mistake.text}; {' and '.join(advice)}, or mend the "
        "template if its own unit is wrong",
    )


def _advice(system: ET.Element, which: str) -> str:
    """Where the unit of positions or of the cell is to be written."""
    entries = [entry for entry in entries_of(system) if entry.tag in ("file", which)]
    if not entries:
        return f"check the units of <{which}>"
    entry = entries[-1]
    mode = entry.get("mode", "manual").strip()
    if entry.tag == "positions" and mode == "manual":
        return "give <positions> in bohr, since i-PI reads them so whatever their units say"
    key = "cell_units" if entry.tag == "file" and which == "cell" else "units"
    if mode == "xyz":
        return f"write <{entry.tag} mode='xyz' {key}='angstrom'>, since the default is bohr"
    return f"write <{entry.tag} mode='{mode}' {key}='...'> with the unit of the numbers"


def _text(entry: ET.Element) -> str:
    return (entry.text or "").strip()


def _is_extended(system: ET.Element, folder: Path) -> Iterator[str]:
    """What to do with extended XYZ that i-PI is told to read as plain XYZ."""
    for entry in entries_of(system):
        path = folder / _text(entry)
        if entry.get("mode", "").strip() == "xyz" and path.is_file():
            with path.open(errors="replace") as file:
                comment = [file.readline(1 << 12) for _ in range(2)][1]
            if "Lattice=" in comment or "Properties=" in comment:
                yield (
                    f"; {path.name} is extended XYZ, which mode='xyz' does not read: write "
                    f"<{entry.tag} mode='ase'>"
                )
