# SPDX-License-Identifier: MIT
"""Pairs of atoms that may become edges, kept where edges are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch


class Candidates(NamedTuple):
    """Pairs of points: the atoms' rows, followed by images of rows in other cells.

    An image is one point, however many pairs it is in, so that few are computed in each step.

    Attributes
    ----------
    receivers, senders : (pairs,) int32
        Points; the receivers are rows.
    num_rows
    image_rows : (images,) int64
        Row of each image.
    image_shifts : (images, 3) float64
        Whole cells to each image.
    image_systems : (images,) int64
        The system that each image belongs to.
    shells : (rows, shells + 1) int64, optional
        On the host, where a row's pairs are sorted by distance into shells: the first pair of each
        shell, and the end.
    """

    receivers: torch.Tensor
    senders: torch.Tensor
    num_rows: int
    image_rows: torch.Tensor
    image_shifts: torch.Tensor
    image_systems: torch.Tensor
    shells: torch.Tensor | None = None

    def to(self, device: torch.device) -> Candidates:
        """The same on a device."""
        return Candidates(
            self.receivers.to(device),
            self.senders.to(device),
            self.num_rows,
            self.image_rows.to(device),
            self.image_shifts.to(device),
            self.image_systems.to(device),
            self.shells,
        )

    def points(self, positions: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Coordinates of all points, (points, 3), from those of rows and the systems' cells."""
        if len(cells) == 1:
            shifts = self.image_shifts @ cells[0]
        else:
            boxes = cells.index_select(0, self.image_systems)
            shifts = (self.image_shifts.unsqueeze(1) @ boxes).squeeze(1)
        return torch.cat((positions, positions.index_select(0, self.image_rows) + shifts))

    def ranges(self, shells: int) -> torch.Tensor | None:
        """First pair and end of each row's first shells, (rows, 2); None where there are none."""
        if self.shells is None:
            return None
        return torch.stack((self.shells.select(1, 0), self.shells.select(1, shells)), dim=1)

    def rows(self) -> torch.Tensor:
        """The row of each point, (points,) int32."""
        own = torch.arange(self.num_rows, dtype=torch.int32, device=self.image_rows.device)
        return torch.cat((own, self.image_rows.int()))


def candidates_of(
    num_rows: int,
    receivers: np.ndarray,
    senders: np.ndarray,
    shifts: np.ndarray,
    systems: np.ndarray | None,
    device: torch.device,
) -> Candidates:
    """Pairs of rows with whole cells between them, as pairs of points on a device.

    Parameters
    ----------
    num_rows
    receivers, senders : (pairs,)
        Rows.
    shifts : (pairs, 3)
        Whole cells between the two.
    systems : (pairs,), optional
        The system that each pair belongs to, where there are several.
    device
    """
    away = _has_shift(shifts)
    points, images = _as_points(num_rows, senders, away, shifts[away])
    system_of = np.zeros(len(images), dtype=np.int64)
    if systems is not None and len(away):
        system_of[points[away] - num_rows] = systems[away]
    return _on_device(receivers, points, num_rows, images, system_of, None, device)


def candidates_in_shells(
    num_rows: int,
    ends: np.ndarray,
    shifts: np.ndarray,
    shells: np.ndarray,
    number: int,
    device: torch.device,
) -> Candidates:
    """Both ways of one system's pairs, sorted by receiver, and for each receiver by shell.

    Parameters
    ----------
    num_rows
    ends : (2, pairs)
        Rows.
    shifts : (pairs, 3)
        Whole cells from the first to the second.
    shells : (pairs,)
        Of each pair.
    number
        Of shells.
    device
    """
    from scipy.sparse import coo_array  # takes a fifth of a second

    away = _has_shift(shifts)
    points, images = _as_points(
        num_rows,
        ends[::-1].ravel(),
        np.concatenate((away, away + len(shifts))),
        np.concatenate((shifts[away], -shifts[away])),
    )
    keys = (ends * number + shells).astype(np.int32).ravel()
    shape = num_rows * number, num_rows + len(images)
    by_key = coo_array((np.ones(len(keys), dtype=np.int8), (keys, points)), shape=shape)
    by_key.has_canonical_format = True  # no pair is there twice
    by_key = by_key.tocsr()
    starts = by_key.indptr.astype(np.int64)
    table = np.column_stack((starts[:-1].reshape(num_rows, number), starts[number::number]))
    receivers = np.repeat(np.arange(num_rows), table[:, -1] - table[:, 0])
    system_of = np.zeros(len(images), dtype=np.int64)
    return _on_device(receivers, by_key.indices, num_rows, images, system_of, table, device)


def _on_device(
    receivers: np.ndarray,
    points: np.ndarray,
    num_rows: int,
    images: np.ndarray,
    systems: np.ndarray,
    shells: np.ndarray | None,
    device: torch.device,
) -> Candidates:
    def tensor(array: np.ndarray, dtype: type) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=dtype)).to(device)

    return Candidates(
        tensor(receivers, np.int32),
        tensor(points, np.int32),
        num_rows,
        tensor(images[:, 0], np.int64),
        tensor(images[:, 1:], np.float64),
        tensor(systems, np.int64),
        None if shells is None else torch.from_numpy(shells),
    )


def _has_shift(shifts: np.ndarray) -> np.ndarray:
    """Numbers of the pairs that have one."""
    return np.flatnonzero((shifts[:, 0] != 0) | (shifts[:, 1] != 0) | (shifts[:, 2] != 0))


def _as_points(
    num_rows: int, senders: np.ndarray, away: np.ndarray, shifts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Senders as points, (pairs,) int32, and the images among these: rows and whole cells.

    Parameters
    ----------
    num_rows
    senders : (pairs,)
        Rows.
    away : (shifted,)
        Numbers of the pairs whose sender is in another cell.
    shifts : (shifted, 3)
        Whole cells to it.
    """
    points = senders.astype(np.int32)
    if not len(away):
        return points, np.zeros((0, 4))
    images, number = _unique_rows(np.column_stack((senders[away], shifts)))
    points[away] = num_rows + number
    return points, images


def _unique_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of whole numbers that differ, and for each row of the table the number of its own."""
    whole = table.astype(np.int64)
    spans = np.ptp(whole, axis=0) + 1
    possible = np.prod(spans, dtype=float)
    if possible > 2**62:
        unique, number = np.unique(whole, axis=0, return_inverse=True)
        return unique, number.ravel()
    low = whole.min(axis=0)
    keys = np.ravel_multi_index(tuple((whole - low).T), tuple(spans))
    if possible > 4 * len(table):
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        return whole[first], number
    is_there = np.zeros(int(possible), dtype=bool)
    is_there[keys] = True
    unique = np.column_stack(np.unravel_index(np.flatnonzero(is_there), tuple(spans))) + low
    return unique, np.cumsum(is_there, dtype=np.int32)[keys] - 1


def side_by_side(parts: Sequence[Candidates]) -> Candidates:
    """Candidates of several systems as those of one graph; each part is one system's."""
    if len(parts) == 1:
        return parts[0]
    rows = np.array([part.num_rows for part in parts])
    images = np.array([len(part.image_rows) for part in parts])
    first_row, first_image = np.cumsum(rows) - rows, np.cumsum(images) - images
    total = int(rows.sum())
    senders, systems = [], []
    for number, part in enumerate(parts):
        to_image = total + int(first_image[number]) - part.num_rows
        is_row = part.senders < part.num_rows
        points = torch.where(is_row, part.senders + int(first_row[number]), part.senders + to_image)
        senders.append(points)
        systems.append(torch.full_like(part.image_rows, number))
    starts = [(part, int(start)) for part, start in zip(parts, first_row, strict=True)]
    pairs = np.array([len(part.senders) for part in parts])
    first_pair = (np.cumsum(pairs) - pairs).tolist()
    shells = [
        part.shells + first
        for part, first in zip(parts, first_pair, strict=True)
        if part.shells is not None
    ]
    return Candidates(
        torch.cat([part.receivers + start for part, start in starts]),
        torch.cat(senders),
        total,
        torch.cat([part.image_rows + start for part, start in starts]),
        torch.cat([part.image_shifts for part in parts]),
        torch.cat(systems),
        torch.cat(shells) if len(shells) == len(parts) else None,
    )
