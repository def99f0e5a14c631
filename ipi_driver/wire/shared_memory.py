# SPDX-License-Identifier: MIT
"""Structures and results in memory that i-PI shares, while the socket carries the words.

i-PI makes six segments for each driver and removes them at the end. They are opened as the
files that they are on Linux: Python's own ``SharedMemory`` would, up to 3.12, remove segments
at the end of a process that only visited them.
"""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ipi_driver.wire.protocol import (
    Results,
    Stream,
    Structures,
    check_natoms,
    extras_bytes,
    header_bytes,
    read_array,
    read_bytes,
)

FOLDER = Path("/dev/shm")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")


class _Segments(NamedTuple):
    """What i-PI shares with one driver, in the order in which it names it."""

    positions: np.ndarray
    cells: np.ndarray
    inverse_cells: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray


class SharedMemoryPayload:
    """Structures and results that travel through i-PI's shared memory."""

    def __init__(self) -> None:
        self._segments: _Segments | None = None

    def read_structures(self, stream: Stream, batch_size: int, natoms: int) -> Structures:
        """Read what follows POSDATA, at the first time the segments' names.

        The arrays are i-PI's own memory; they stay as they are until it has the results.

        Raises
        ------
        ValueError
            When i-PI has another number of atoms, or shares no memory.
        """
        check_natoms(int(read_array(stream, np.int32, 1)[0]), natoms)
        if self._segments is None:
            self._segments = _open(stream, batch_size, natoms)
        return Structures(self._segments.cells.transpose(0, 2, 1), self._segments.positions)

    def write_results(self, stream: Stream, results: Results) -> None:
        """Answer GETFORCE: the numbers first, then the word that they are there."""
        assert self._segments is not None
        self._segments.energies[:] = results.energies
        self._segments.forces[:] = results.forces
        self._segments.virials[:] = results.virials
        stream.write(header_bytes("FORCEREADY") + extras_bytes(results.extras))


def _open(stream: Stream, batch_size: int, natoms: int) -> _Segments:
    shapes = ((natoms, 3), (3, 3), (3, 3), (), (natoms, 3), (3, 3))
    return _Segments(*(_map(_read_name(stream), (batch_size, *shape)) for shape in shapes))


def _read_name(stream: Stream) -> str:
    length = int(read_array(stream, np.int32, 1)[0])
    name = read_bytes(stream, length).decode("utf-8", "replace") if 0 < length < 256 else ""
    if not NAME.fullmatch(name):
        raise ValueError(
            "i-PI and uma-ipi must use the same mode, found no name of shared memory: write "
            "mode='shm' in i-PI's input, or start uma-ipi without --shm"
        )
    return name


def _map(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The segment as an array of float64."""
    count = int(np.prod(shape))
    try:
        handle = os.open(FOLDER / name, os.O_RDWR | os.O_NOFOLLOW)
        try:
            memory = mmap.mmap(handle, 8 * count)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"i-PI's shared memory must be {8 * count} bytes at {FOLDER / name}, found none: "
            "run i-PI and uma-ipi on one machine"
        ) from error
    return np.frombuffer(memory, np.float64, count).reshape(shape)
