# SPDX-License-Identifier: MIT
"""The bytes that i-PI and a driver exchange, over any stream.

Numbers are in the machine's own byte order, integers of 4 bytes and floats of 8. Every
message begins with a header of 12 characters. All is in atomic units: bohr, hartree.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np

HEADER_BYTES = 12
MOST_PARAMETER_BYTES = 1 << 20  # of the text in INIT
MOST_BATCH_BYTES = 1 << 32  # of one batch's positions


class Disconnected(ConnectionError):
    """The other end is gone."""


class Stream(Protocol):
    """What the protocol needs of a connection."""

    def read_into(self, data: memoryview) -> None:
        """Fill ``data``; waits for all of it, raises ``Disconnected`` at the end."""

    def write(self, *parts: bytes | memoryview) -> None:
        """Send all parts; raises ``Disconnected`` when nobody receives them."""

    def at_end(self) -> bool:
        """Whether EXIT or the end comes next, without waiting."""

    def watched(self) -> AbstractContextManager[None]:
        """Within it, ``Interrupted`` is raised as soon as EXIT or the end is there."""


class Interrupted(Exception):
    """i-PI said EXIT, or is gone, while nobody was reading."""


class Structures(NamedTuple):
    """A batch of structures with the same atoms.

    Attributes
    ----------
    cells : (batch, 3, 3), bohr
        Rows are cell vectors.
    positions : (batch, atoms, 3), bohr
    """

    cells: np.ndarray
    positions: np.ndarray


class Results(NamedTuple):
    """What i-PI asks of each structure of a batch.

    Attributes
    ----------
    energies : (batch,), hartree
    forces : (batch, atoms, 3), hartree/bohr
    virials : (batch, 3, 3), hartree
        -dE/dstrain, symmetric.
    extras : list of str
        A JSON object each, or nothing.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray
    extras: list[str]


def read_header(stream: Stream) -> str:
    """Read the word that a message begins with, such as ``POSDATA``."""
    return read_bytes(stream, HEADER_BYTES).decode("ascii", "replace").rstrip()


def write_header(stream: Stream, word: str) -> None:
    """Send a message that is a header alone."""
    stream.write(header_bytes(word))


def read_parameters(stream: Stream) -> dict[str, str]:
    """Read what follows INIT: a request's number, which says nothing here, and parameters.

    Raises
    ------
    ValueError
        When their length is beyond reason.
    """
    _, length = read_array(stream, np.int32, 2)
    if not 0 <= length <= MOST_PARAMETER_BYTES:
        raise ValueError(
            f"parameters must have at most {MOST_PARAMETER_BYTES} bytes, i-PI announced {length}"
        )
    return parse_parameters(read_bytes(stream, int(length)).decode("utf-8", "replace"))


def parse_parameters(text: str) -> dict[str, str]:
    """Parameters as i-PI writes them: ``key : value , key : value , , batch_size:2``."""
    pairs = (part.partition(":") for part in text.split(","))
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def pop_batch_size(parameters: dict[str, str], natoms: int) -> int:
    """Take the number of structures in a batch out of INIT's parameters.

    Raises
    ------
    ValueError
        When it is no number, or the batch would be beyond reason.
    """
    text = parameters.pop("batch_size", "1")
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise ValueError(f"batch_size must be a whole number, 1 or more, found {text!r}")
    if int(text) * natoms * 24 > MOST_BATCH_BYTES:
        raise ValueError(
            f"a batch must have at most {MOST_BATCH_BYTES // (24 * natoms)} structures of "
            f"{natoms} atoms, found batch_size {text}"
        )
    return int(text)


class SocketPayload:
    """Structures and results that travel through the stream itself.

    The structures last until the next ones are read into the same memory.
    """

    def __init__(self) -> None:
        self._cells = np.empty(0)
        self._positions = np.empty(0)

    def read_structures(self, stream: Stream, batch_size: int, natoms: int) -> Structures:
        """Read what follows POSDATA; its layout depends on the batch size agreed in INIT.

        The inverse cells that i-PI sends along are passed over.

        Raises
        ------
        ValueError
            When i-PI has another number of atoms, or sends names of shared memory.
        """
        if len(self._positions) != batch_size:
            self._cells = np.empty((batch_size, 2, 3, 3))
            self._positions = np.empty((batch_size, natoms, 3))
        if batch_size > 1:
            check_natoms(int(read_array(stream, np.int32, 1)[0]), natoms)
        self._read_cells(stream)
        if batch_size == 1:
            check_natoms(int(read_array(stream, np.int32, 1)[0]), natoms)
        stream.read_into(_memory(self._positions))
        # the columns that i-PI sends are vectors
        return Structures(self._cells[:, 0].transpose(0, 2, 1), self._positions)

    def _read_cells(self, stream: Stream) -> None:
        memory = _memory(self._cells)
        stream.read_into(memory[:16])
        if b"ipi_shm" in bytes(memory[:16]):
            raise ValueError(
                "i-PI and uma-ipi must use the same mode, found mode='shm' in i-PI's input: start "
                "uma-ipi with --shm"
            )
        stream.read_into(memory[16:])

    def write_results(self, stream: Stream, results: Results) -> None:
        """Answer GETFORCE. A batch of one has the layout of a single structure."""
        natoms = np.int32(results.forces.shape[1]).tobytes()
        stream.write(
            header_bytes("FORCEREADY") + results.energies.tobytes() + natoms,
            _memory(np.ascontiguousarray(results.forces)),
            results.virials.tobytes() + extras_bytes(results.extras),
        )


def without_padding(structures: Structures) -> Structures:
    """Structures of a batch that are not copies to fill it up.

    i-PI repeats the last structure of a batch that it cannot fill.
    """
    cells, positions = structures
    count = len(positions)
    while count > 1 and (
        np.array_equal(positions[count - 1], positions[count - 2])
        and np.array_equal(cells[count - 1], cells[count - 2])
    ):
        count -= 1
    return Structures(cells[:count], positions[:count])


def repeat_last(results: Results, size: int) -> Results:
    """Results of ``size`` structures, where those that were not computed equal the last one."""
    if len(results.energies) == size:
        return results
    rows = np.minimum(np.arange(size), len(results.energies) - 1)
    energies, forces, virials = (array[rows] for array in results[:3])
    return Results(energies, forces, virials, [results.extras[row] for row in rows])


def header_bytes(word: str) -> bytes:
    """The header of a message."""
    return word.ljust(HEADER_BYTES).encode("ascii")


def extras_bytes(extras: list[str]) -> bytes:
    """Texts, each behind its length in bytes."""
    texts = [extra.encode() for extra in extras]
    return b"".join(np.int32(len(text)).tobytes() + text for text in texts)


def read_bytes(stream: Stream, count: int) -> bytes:
    """Read ``count`` bytes."""
    data = bytearray(count)
    stream.read_into(memoryview(data))
    return bytes(data)


def read_array(stream: Stream, dtype: type, count: int) -> np.ndarray:
    """Read ``count`` numbers."""
    values: np.ndarray = np.empty(count, dtype)
    stream.read_into(_memory(values))
    return values


def check_natoms(found: int, natoms: int) -> None:
    """Refuse another number of atoms than the template's."""
    if found != natoms:
        raise ValueError(
            f"i-PI and the template must have the same atoms, found {found} atoms in i-PI and "
            f"{natoms} in the template: give the template of this run, and --shm only where "
            "i-PI's input says mode='shm'"
        )


def _memory(values: np.ndarray) -> memoryview:
    return values.data.cast("B")
