# SPDX-License-Identifier: MIT
"""What i-PI would start a system from: its own code reads ``<initialize>``.

So units, formats and the order of what is given are as in a run.
"""

from __future__ import annotations

import io
import traceback
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from ipi_driver.units import BOHR
from uma_md.files.structures import MOST_BYTES

FILES = ("xyz", "pdb", "ase")
OF_NO_USE = ("gle",)  # to tell where atoms are


class Start(NamedTuple):
    """The first structures of a system.

    Attributes
    ----------
    labels
        i-PI's names of the atoms.
    cells : (beads, 3, 3), angstrom
        Rows are cell vectors.
    positions : (beads, atoms, 3), angstrom
    """

    labels: list[str]
    cells: np.ndarray
    positions: np.ndarray


class Unknowable(Exception):
    """A start that cannot be told before the run, and why."""


def read_start(system: ET.Element, folder: Path) -> Start:
    """Read what a system starts from.

    Parameters
    ----------
    system
        A ``<system>`` of i-PI's input.
    folder
        Where i-PI runs.

    Raises
    ------
    Unknowable
        When it starts from a checkpoint, or i-PI is not installed here.
    ValueError
        When i-PI would not start; the reason in its own words.
    """
    _refuse_checkpoints(system)
    for name in files_of(system):
        _check_file(folder / name)
    with _quiet():
        try:
            from ipi.engine.initializer import Initializer
        except ImportError:
            raise Unknowable("i-PI is not installed here, so that its start is not read") from None
        reason = ""
        try:
            state, queue, beads = _parse(system)
            for _, entry in queue:
                if entry.mode in FILES:
                    entry.value = str(folder / entry.value.strip())
            Initializer(beads, queue).init_stage1(state)
            return _start(state)
        except (Exception, SystemExit) as error:  # i-PI's own readers raise all kinds
            reason = _reason(error)
            traceback.clear_frames(error.__traceback__)  # they keep files open
    raise ValueError(reason)


def files_of(system: ET.Element) -> list[str]:
    """Names of the structure files that a system starts from."""
    return [
        (entry.text or "").strip()
        for entry in entries_of(system)
        if entry.get("mode", "").strip() in FILES
    ]


def entries_of(system: ET.Element) -> list[ET.Element]:
    """What ``<initialize>`` consists of."""
    start = system.find("initialize")
    return [] if start is None else list(start)


def _refuse_checkpoints(system: ET.Element) -> None:
    for entry in entries_of(system):
        default = "manual" if entry.tag in ("cell", "gle") else "chk"
        if entry.get("mode", default).strip() == "chk":
            raise Unknowable(
                f"a start from the checkpoint {(entry.text or '').strip()} is not read before a run"
            )


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{path} must be a file, found none")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} must have at most {MOST_BYTES} bytes")


def _parse(system: ET.Element) -> tuple[SimpleNamespace, list[tuple[str, Any]], int]:
    """State, entries and number of beads, as i-PI has them before it initializes."""
    from ipi.engine.beads import Beads
    from ipi.engine.cell import Cell
    from ipi.inputs.beads import InputBeads
    from ipi.inputs.cell import InputCell
    from ipi.inputs.initializer import InputInitializer

    found: dict[str, Any] = {"beads": Beads(0, 0), "cell": Cell()}
    for name, kind in (
        ("beads", InputBeads),
        ("cell", InputCell),
        ("initialize", InputInitializer),
    ):
        node = system.find(name)
        if node is not None:
            reader = kind()
            reader.parse(xml=_node(node))
            found[name] = reader.fetch()
    start = found.pop("initialize", None)
    queue = [] if start is None else [one for one in start.queue if _is_of_use(*one)]
    return SimpleNamespace(**found), queue, 0 if start is None else start.nbeads


def _is_of_use(name: str, entry: Any) -> bool:
    return name not in OF_NO_USE and entry.mode != "thermal"


def _node(node: ET.Element) -> Any:
    """A part of an input as i-PI's parser gives it."""
    from ipi.utils.io.inputs.io_xml import xml_node

    text = (node.text or "") + "".join(child.tail or "" for child in node)
    fields = [(child.tag, _node(child)) for child in node]
    return xml_node(dict(node.attrib), node.tag, [*fields, ("_text", text)])


def _start(state: SimpleNamespace) -> Start:
    from ipi.utils.depend import dstrip

    beads, cell = state.beads, np.array(dstrip(state.cell.h)).T * BOHR
    positions = np.array(dstrip(beads.q)).reshape(beads.nbeads, -1, 3) * BOHR
    cells = np.broadcast_to(cell, (len(positions), 3, 3))
    return Start([str(name).strip() for name in dstrip(beads.names)], cells, positions)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep i-PI from printing, and from warning of the files that it leaves open."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: BaseException) -> str:
    """The last line of what i-PI said, on one line."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    lines = str(error).strip().splitlines()
    return f"{lines[-1][:300]} ({type(error).__name__})" if lines else type(error).__name__
