# SPDX-License-Identifier: MIT
"""Rotation of spherical-harmonic coefficients into the frame of an edge."""

import math

import numpy as np
import torch
from torch import nn


def real_spherical_harmonics(lmax: int, directions: np.ndarray) -> list[np.ndarray]:
    """Evaluate orthonormal real spherical harmonics with y as the polar axis.

    The convention is e3nn's: no Condon-Shortley phase, orders m = -l..l, l = 1
    proportional to (x, y, z).

    Parameters
    ----------
    lmax
        Largest degree.
    directions : (points, 3)
        Unit vectors.

    Returns
    -------
    list of (points, 2 l + 1), one array per degree.
    """
    x, y, z = directions.T
    sine = np.hypot(x, z)
    azimuth = np.arctan2(x, z)
    legendre = _legendre(lmax, y, sine)
    harmonics = []
    for degree in range(lmax + 1):
        columns = []
        for order in range(-degree, degree + 1):
            m = abs(order)
            norm = math.sqrt(
                (2 * degree + 1)
                / (4 * math.pi)
                * math.factorial(degree - m)
                / math.factorial(degree + m)
            )
            if m > 0:
                norm *= math.sqrt(2.0)
            angular = np.sin(m * azimuth) if order < 0 else np.cos(m * azimuth)
            columns.append(norm * legendre[degree][m] * angular)
        harmonics.append(np.stack(columns, axis=1))
    return harmonics


def _legendre(lmax: int, cosine: np.ndarray, sine: np.ndarray) -> list[list[np.ndarray]]:
    """Associated Legendre functions P[l][m], by upward recursion, without the (-1)^m phase."""
    table: list[list[np.ndarray]] = []
    for degree in range(lmax + 1):
        row: list[np.ndarray] = []
        for order in range(degree + 1):
            if degree == 0:
                value = np.ones_like(cosine)
            elif order == degree:
                value = (2 * degree - 1) * sine * table[degree - 1][degree - 1]
            elif order == degree - 1:
                value = (2 * degree - 1) * cosine * table[degree - 1][order]
            else:
                value = (
                    (2 * degree - 1) * cosine * table[degree - 1][order]
                    - (degree + order - 1) * table[degree - 2][order]
                ) / (degree - order)
            row.append(value)
        table.append(row)
    return table


def coupling(degree: int) -> np.ndarray:
    """Isometry that couples degrees 1 and ``degree - 1`` to ``degree``.

    Its entries are the integrals of three real spherical harmonics, by a quadrature that
    is exact for them, scaled so that the rows are orthonormal. By Schur's lemma this map
    is the only one that commutes with rotations, up to its sign, which cancels in use.

    Returns
    -------
    (2 degree + 1, 3 (2 degree - 1))
    """
    nodes, weights = np.polynomial.legendre.leggauss(degree + 2)
    azimuths = np.arange(2 * degree + 4) * 2 * math.pi / (2 * degree + 4)
    y, azimuth = (grid.ravel() for grid in np.meshgrid(nodes, azimuths, indexing="ij"))
    sine = np.sqrt(1 - y * y)
    points = np.stack((sine * np.sin(azimuth), y, sine * np.cos(azimuth)), axis=1)
    weight = np.repeat(weights, len(azimuths))
    harmonics = real_spherical_harmonics(degree, points)
    integrals = np.einsum(
        "p,pm,pa,pb->mab", weight, harmonics[degree], harmonics[1], harmonics[degree - 1]
    ).reshape(2 * degree + 1, -1)
    return integrals / np.linalg.norm(integrals[0])


class _Raise(nn.Module):
    """The Wigner matrix of one degree from those of degree 1 and the degree below.

    D(l) = M (D(1) x D(l-1)) M^T with the coupling isometry M: a product of
    orthogonal maps, so rounding errors do not grow with the degree.
    """

    coupling_pair: torch.Tensor

    def __init__(self, degree: int) -> None:
        super().__init__()
        matrix = coupling(degree)
        self.size = 2 * degree + 1
        split = matrix.reshape(self.size, 3, self.size - 2)
        pair = np.einsum("map,nbq->abpqmn", split, split).reshape(-1, self.size**2)
        self.register_buffer("coupling_pair", torch.from_numpy(pair), persistent=False)

    def forward(self, first: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        edges = first.shape[0]
        product = first.reshape(edges, -1, 1) * below.reshape(edges, 1, -1)
        return (product.flatten(1) @ self.coupling_pair).view(edges, self.size, self.size)


class EdgeWigner(nn.Module):
    """Wigner matrices of the rotation of an edge onto the y axis, one per degree.

    The rotation about the edge's own axis is free, as all that happens in the frame commutes
    with it. Edges of the upper half space are rotated the short way onto +y; those of the
    lower half space the short way onto -y and then over, by 180 degrees about x. Each
    chart is smooth on its half, poles included, and energies do not see the seam.
    """

    def __init__(self, lmax: int) -> None:
        super().__init__()
        self.lmax = lmax
        self.raises = nn.ModuleList([_Raise(degree) for degree in range(2, lmax + 1)])

    def forward(self, directions: torch.Tensor) -> list[torch.Tensor]:
        """Matrices of the degrees 1..lmax.

        Parameters
        ----------
        directions : (edges, 3)
            Unit vectors.

        Returns
        -------
        list of (edges, 2 l + 1, 2 l + 1)
        """
        wigner = [self._rotation(directions)]
        for step in self.raises:
            wigner.append(step(wigner[0], wigner[-1]))
        return wigner

    def _rotation(self, directions: torch.Tensor) -> torch.Tensor:
        x, y, z = directions.unbind(1)
        sign = torch.where(y >= 0, torch.ones_like(y), -torch.ones_like(y))
        scale = 1 / (1 + sign * y)
        # Rodrigues' rotation of the direction onto (0, sign, 0); where sign is -1,
        # the rotation by 180 degrees about x then negates the rows of y and z.
        rows = (
            (1 - x * x * scale, -sign * x, -x * z * scale),
            (x, y, z),
            (-sign * x * z * scale, -z, sign * (1 - z * z * scale)),
        )
        return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
