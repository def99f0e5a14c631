# SPDX-License-Identifier: MIT
"""What an input of i-PI says about its force fields and its systems.

The file is read with expat alone: a document type, which could name other files or blow up
entities, is refused.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from ipi_driver.wire.protocol import parse_parameters

MOST_BYTES = 1 << 24
KINDS = ("ffsocket", "ffdirect", "ffmpi")
DEFAULT_LATENCY = 1e-4  # seconds, i-PI's


@dataclass(frozen=True)
class ForceField:
    """A force field that a driver may serve.

    Attributes
    ----------
    kind
        ``ffsocket``, ``ffdirect`` or ``ffmpi``.
    mode
        ``unix``, ``inet`` or ``shm``.
    wraps
        Whether i-PI puts atoms into the cell before it sends them.
    latency, timeout
        seconds
    """

    kind: str
    name: str
    mode: str
    address: str
    port: int
    batch_size: int
    latency: float
    timeout: float
    consolidates: bool
    threaded: bool
    wraps: bool
    pes_path: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class System:
    """A system.

    Attributes
    ----------
    beads
        As ``initialize`` says; None where a checkpoint or a label decides.
    has_barostat
        Whether the cell changes by the virial.
    node
        The part of the input.
    """

    beads: int | None
    has_barostat: bool
    node: ET.Element


@dataclass(frozen=True)
class Input:
    """An input of i-PI."""

    path: Path
    prefix: str | None
    fields: tuple[ForceField, ...]
    systems: tuple[System, ...]


def read_input(path: Path) -> Input:
    """Read an input of i-PI.

    Raises
    ------
    OSError
        When there is no such file.
    ValueError
        When it is not an input of i-PI, or could lead elsewhere.
    """
    root = _parse(path)
    if root.tag != "simulation":
        raise ValueError(f"i-PI's input must begin with <simulation>, found <{root.tag}> in {path}")
    try:
        fields = tuple(_field(node) for kind in KINDS for node in root.iter(kind))
        systems = tuple(_system(node) for node in _systems(root))
    except ValueError as error:
        raise ValueError(f"i-PI's input must have valid values, found in {path}: {error}") from None
    return Input(path, root.get("sockets_prefix"), fields, systems)


def _parse(path: Path) -> ET.Element:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"i-PI's input must have at most {MOST_BYTES} bytes, {path} has {size}")
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise ValueError(f"i-PI's input must be XML, found in {path}: {error}") from None
    return builder.close()


def _refuse_document_type(name: str, *_: object) -> None:
    raise ValueError(f"i-PI's input must have no document type, found <!DOCTYPE {name}: remove it")


def _field(node: ET.Element) -> ForceField:
    return ForceField(
        kind=node.tag,
        name=node.get("name", "").strip(),
        mode=node.get("mode", "inet").strip(),
        address=_text(node, "address", "localhost"),
        port=int(_text(node, "port", "65535")),
        batch_size=int(_text(node, "batch_size", "1")),
        latency=float(_text(node, "latency", f"{DEFAULT_LATENCY}")),
        timeout=float(_text(node, "timeout", "0")),
        consolidates=_is_true(_text(node, "consolidate_messages", "true")),
        threaded=_is_true(node.get("threaded", "false")),
        wraps=_is_true(node.get("pbc", "false")),
        pes_path=_text(node, "pes_path", ""),
        parameters=parse_parameters(_text(node, "parameters", "").strip("{} ")),
    )


def _systems(root: ET.Element) -> Iterator[ET.Element]:
    """The systems, also those that i-PI makes from templates: a label's text becomes another's."""
    yield from root.findall("system")
    for node in root.findall("system_template"):
        labels = _list(node.findtext("labels"))
        text = "".join(ET.tostring(one, "unicode") for one in node.findall("template/system"))
        for instance in node.findall("instance"):
            made, values = text, _list(instance.text)
            # as i-PI does it, so that a label that begins another one comes after it
            for label, value in sorted(zip(labels, values, strict=False), reverse=True):
                made = made.replace(label, value)
            try:
                yield ET.fromstring(made)
            except ET.ParseError as error:
                raise ValueError(f"a <system_template> that makes no XML: {error}") from None


def _list(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").strip().strip("[]").split(",")]


def _system(node: ET.Element) -> System:
    start = node.find("initialize")
    beads = "" if start is None else start.get("nbeads", "")
    return System(
        beads=int(beads) if beads.strip().isdecimal() else None,
        has_barostat=node.find(".//barostat") is not None,
        node=node,
    )


def _text(node: ET.Element, tag: str, default: str) -> str:
    return (node.findtext(tag) or default).strip()


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", ".true.", "1")
