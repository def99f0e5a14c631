# SPDX-License-Identifier: MIT
"""The frame of an edge: features rotated into it, sorted by order, and rotated back."""

import torch
from torch import nn

from uma_md.nn.wigner import EdgeWigner


class EdgeFrame(nn.Module):
    """Rotates coefficients between the laboratory and the frames of edges.

    In the frames, only orders up to ``mmax`` are kept, and they are sorted by order (see
    ``uma_md.nn.so2``): m = 0 of every degree, then, for each m > 0, m and -m of every degree.

    Parameters
    ----------
    lmax, mmax
        Largest degree, and largest order |m| kept in the edge's frame.
    """

    entries: torch.Tensor

    def __init__(self, lmax: int, mmax: int) -> None:
        super().__init__()
        self.size = (lmax + 1) ** 2
        self.wigner = EdgeWigner(lmax)
        kept = [(degree, 0) for degree in range(lmax + 1)]
        for m in range(1, mmax + 1):
            kept += [(degree, sign * m) for sign in (1, -1) for degree in range(m, lmax + 1)]
        self.rows = len(kept)
        # Position of the entries of all Wigner matrices, one after another, in the whole matrix.
        starts = [degree * (4 * degree**2 - 1) // 3 for degree in range(lmax + 2)]
        entries = torch.zeros(starts[-1], self.rows, self.size, dtype=torch.float64)
        for row, (degree, m) in enumerate(kept):
            width = 2 * degree + 1
            for column in range(width):
                entry = starts[degree] + (degree + m) * width + column
                entries[entry, row, degree * degree + column] = 1
        self.register_buffer("entries", entries.flatten(1), persistent=False)

    def forward(self, directions: torch.Tensor) -> torch.Tensor:
        """Rotations into the frames of edges along ``directions``, unit vectors (edges, 3).

        Returns
        -------
        (edges, kept orders, (lmax + 1)**2)
        """
        edges = directions.shape[0]
        values = [torch.ones_like(directions[:, :1])]
        for matrix in self.wigner(directions):
            values.append(matrix.flatten(1))  # noqa: PERF401  TorchScript
        return (torch.cat(values, dim=1) @ self.entries).view(edges, self.rows, self.size)


def rotate_in(rotations: torch.Tensor, x: torch.Tensor, lmax: int, mmax: int) -> list[torch.Tensor]:
    """Rotate features (edges, (lmax + 1)**2, channels) into the edges' frames, by order."""
    counts = [lmax + 1] + [2 * (lmax + 1 - m) for m in range(1, mmax + 1)]
    return [block.flatten(1) for block in torch.bmm(rotations, x).split(counts, dim=1)]


def rotate_back(rotations: torch.Tensor, blocks: list[torch.Tensor], channels: int) -> torch.Tensor:
    """Rotate features by order back: (edges, (lmax + 1)**2, channels)."""
    rows = torch.cat(blocks, dim=1).view(rotations.shape[0], rotations.shape[1], channels)
    return torch.bmm(rotations.transpose(1, 2), rows)
