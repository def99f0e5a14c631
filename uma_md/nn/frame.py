"""The frame of an edge: features turned into it, sorted by order, and turned back."""

import torch
from torch import nn

from uma_md.nn.wigner import EdgeWigner


class EdgeFrame(nn.Module):
    """Turns coefficients between the laboratory and the frames of edges.

    In the frames, only orders up to ``mmax`` are kept, and features are sorted by order
    (see ``uma_md.nn.so2``). Degree 0 does not turn and needs no matrix.

    Parameters
    ----------
    lmax, mmax
        Degrees, and orders |m| kept in the edge's frame.
    """

    def __init__(self, lmax: int, mmax: int) -> None:
        super().__init__()
        self.lmax = lmax
        self.mmax = mmax
        self.wigner = EdgeWigner(lmax)
        self.widths = [2 * degree + 1 for degree in range(lmax + 1)]

    def forward(self, directions: torch.Tensor) -> list[torch.Tensor]:
        """Rotations into the frames of edges along ``directions``, unit vectors (edges, 3).

        Returns
        -------
        list of (edges, kept orders, 2 l + 1), for the degrees 1..lmax
        """
        rotations = self.wigner(directions)
        for index, matrix in enumerate(rotations):
            degree = index + 1
            if degree > self.mmax:
                rotations[index] = matrix.narrow(1, degree - self.mmax, 2 * self.mmax + 1)
        return rotations


def turn_in(
    rotations: list[torch.Tensor], x: torch.Tensor, widths: list[int], mmax: int
) -> list[torch.Tensor]:
    """Turn features (edges, (lmax + 1)**2, channels) into the edges' frames, by order."""
    degrees = x.split(widths, dim=1)
    rows = [[degrees[0].squeeze(1)]]
    for rotation, coefficients in zip(rotations, degrees[1:]):  # noqa: B905  TorchScript
        rows.append(list(torch.bmm(rotation, coefficients).unbind(1)))
    blocks: list[torch.Tensor] = []
    for m in range(mmax + 1):
        parts: list[torch.Tensor] = []
        for kept in rows[m:]:
            parts.append(kept[len(kept) // 2 + m])  # noqa: PERF401  TorchScript
        if m > 0:
            for kept in rows[m:]:
                parts.append(kept[len(kept) // 2 - m])  # noqa: PERF401  TorchScript
        blocks.append(torch.cat(parts, dim=1))
    return blocks


def turn_back(
    rotations: list[torch.Tensor], blocks: list[torch.Tensor], channels: int
) -> torch.Tensor:
    """Turn features by order back: (edges, (lmax + 1)**2, channels)."""
    edges = blocks[0].shape[0]
    rows = [list(block.view(edges, -1, channels).unbind(1)) for block in blocks]
    degrees = [rows[0][0].unsqueeze(1)]
    for index, rotation in enumerate(rotations):
        degree = index + 1
        kept = [rows[0][degree]]
        for m in range(1, rotation.shape[1] // 2 + 1):
            half = len(rows[m]) // 2
            real, imaginary = rows[m][degree - m], rows[m][half + degree - m]
            kept = [imaginary] + kept + [real]
        degrees.append(torch.bmm(rotation.transpose(1, 2), torch.stack(kept, dim=1)))
    return torch.cat(degrees, dim=1)
