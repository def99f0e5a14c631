# SPDX-License-Identifier: MIT
"""The frame of an edge: features turned into it, sorted by order, and turned back."""

import torch
from torch import nn

from uma_md.nn.wigner import EdgeWigner


class EdgeFrame(nn.Module):
    """Turns coefficients between the laboratory and the frames of edges.

    In the frames, only orders up to ``mmax`` are kept, and they are sorted by order (see
    ``uma_md.nn.so2``): m = 0 of every degree, then, for each m > 0, m and -m of every degree.

    Parameters
    ----------
    lmax, mmax
        Degrees, and orders |m| kept in the edge's frame.
    """

    place: torch.Tensor

    def __init__(self, lmax: int, mmax: int) -> None:
        super().__init__()
        self.size = (lmax + 1) ** 2
        self.wigner = EdgeWigner(lmax)
        kept = [(degree, 0) for degree in range(lmax + 1)]
        for m in range(1, mmax + 1):
            kept += [(degree, sign * m) for sign in (1, -1) for degree in range(m, lmax + 1)]
        self.rows = len(kept)
        # Where the entries of all Wigner matrices, one after another, stand in the whole matrix.
        starts = [degree * (4 * degree**2 - 1) // 3 for degree in range(lmax + 2)]
        place = torch.zeros(starts[-1], self.rows, self.size, dtype=torch.float64)
        for row, (degree, m) in enumerate(kept):
            width = 2 * degree + 1
            for column in range(width):
                entry = starts[degree] + (degree + m) * width + column
                place[entry, row, degree * degree + column] = 1
        self.register_buffer("place", place.flatten(1), persistent=False)

    def forward(self, directions: torch.Tensor) -> torch.Tensor:
        """Rotations into the frames of edges along ``directions``, unit vectors (edges, 3).

        Returns
        -------
        (edges, kept orders, (lmax + 1)**2)
        """
        edges = directions.shape[0]
        entries = [torch.ones_like(directions[:, :1])]
        for matrix in self.wigner(directions):
            entries.append(matrix.flatten(1))  # noqa: PERF401  TorchScript
        return (torch.cat(entries, dim=1) @ self.place).view(edges, self.rows, self.size)


def turn_in(rotations: torch.Tensor, x: torch.Tensor, lmax: int, mmax: int) -> list[torch.Tensor]:
    """Turn features (edges, (lmax + 1)**2, channels) into the edges' frames, by order."""
    counts = [lmax + 1] + [2 * (lmax + 1 - m) for m in range(1, mmax + 1)]
    return [block.flatten(1) for block in torch.bmm(rotations, x).split(counts, dim=1)]


def turn_back(rotations: torch.Tensor, blocks: list[torch.Tensor], channels: int) -> torch.Tensor:
    """Turn features by order back: (edges, (lmax + 1)**2, channels)."""
    rows = torch.cat(blocks, dim=1).view(rotations.shape[0], rotations.shape[1], channels)
    return torch.bmm(rotations.transpose(1, 2), rows)
