"""The frame of an edge: features turned into it, sorted by order, and turned back."""

import torch
from torch import nn

from uma_md.nn.wigner import EdgeWigner


class EdgeFrame(nn.Module):
    """Turns coefficients between the laboratory and the frames of the edges.

    Parameters
    ----------
    lmax, mmax
        Degrees kept, and orders |m| kept in the edge's frame.
    """

    rows: torch.Tensor

    def __init__(self, lmax: int, mmax: int) -> None:
        super().__init__()
        self.lmax = lmax
        self.mmax = mmax
        self.wigner = EdgeWigner(lmax)
        rows = [degree * degree + degree for degree in range(lmax + 1)]
        for m in range(1, mmax + 1):
            for sign in (1, -1):
                rows += [ell * ell + ell + sign * m for ell in range(m, lmax + 1)]
        self.register_buffer("rows", torch.tensor(rows), persistent=False)

    def matrices(self, directions: torch.Tensor) -> torch.Tensor:
        """Rotations into the edges' frames, rows sorted by order: (edges, kept, (lmax + 1)**2)."""
        size = (self.lmax + 1) * (self.lmax + 1)
        blocks = [torch.ones_like(directions[:, :1]).unsqueeze(2)] + self.wigner(directions)
        strips: list[torch.Tensor] = []
        for degree, block in enumerate(blocks):
            start = degree * degree
            width = 2 * degree + 1
            strips.append(nn.functional.pad(block, (start, size - start - width)))
        return torch.cat(strips, dim=1)[:, self.rows]


def to_orders(x: torch.Tensor, lmax: int, mmax: int) -> list[torch.Tensor]:
    """Cut features in the edges' frames, (edges, kept, channels), into one block per order."""
    blocks = [x[:, : lmax + 1].flatten(1)]
    start = lmax + 1
    for m in range(1, mmax + 1):
        width = 2 * (lmax + 1 - m)
        blocks.append(x[:, start : start + width].flatten(1))
        start += width
    return blocks


def from_orders(blocks: list[torch.Tensor], channels: int) -> torch.Tensor:
    """Join blocks by order to (edges, kept, channels)."""
    parts = [block.view(block.shape[0], -1, channels) for block in blocks]
    return torch.cat(parts, dim=1)
