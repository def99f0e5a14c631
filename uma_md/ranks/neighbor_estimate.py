# SPDX-License-Identifier: MIT
"""About how many neighbors each atom has, without looking for pairs: the weights of a bisection.

Atoms are counted in bins, and the counts summed over a sphere's worth of bins around each bin: a
convolution, by Fourier transforms. The time grows with the atoms, as that of a sort.
"""

from __future__ import annotations

import itertools

import numpy as np

from uma_md.frame import Frame

BINS_PER_REACH = 3
BINS_PER_ATOM = 16  # at most: bins are made wider where a structure is mostly empty
FEWEST_BINS = 4096
MOST_NEAR = 1e6  # bins around a bin
PARTS = 3  # of a bin along each axis, for the share of two bins' points that are within reach


def estimate_neighbors(coordinates: np.ndarray, frame: Frame, reach: float) -> np.ndarray:
    """Number of atoms within a distance of each atom, images included, (atoms,) int64, about.

    A cell twice as long has twice the bins, so that it gives twice the same numbers.

    Parameters
    ----------
    coordinates : (atoms, 3)
        In cell vectors, wrapped.
    frame
    reach
        angstrom.
    """
    if len(coordinates) == 0:
        return np.zeros(0, dtype=np.int64)
    low = np.where(frame.pbc, 0.0, coordinates.min(axis=0))
    width = reach / BINS_PER_REACH
    spread = np.maximum(np.ptp(coordinates, axis=0) * (1 + 1e-9), width / frame.heights)
    lengths = np.where(frame.pbc, 1.0, spread)
    most = max(BINS_PER_ATOM * len(coordinates), FEWEST_BINS)
    bins = _bins(lengths * frame.heights, width)
    while bins.prod(dtype=float) > most:
        width *= 1.5
        bins = _bins(lengths * frame.heights, width)
    heights = frame.heights * lengths / bins
    if np.prod(2 * reach / heights + 3) > MOST_NEAR:  # the search for pairs will refuse such a cell
        return np.ones(len(coordinates), dtype=np.int64)
    place = np.minimum(((coordinates - low) * (bins / lengths)).astype(np.int64), bins - 1)
    place = np.ravel_multi_index(tuple(place.T), tuple(bins))
    counts = np.bincount(place, minlength=bins.prod()).reshape(bins)
    kernel = _shares(frame.vectors * (lengths / bins)[:, np.newaxis], heights, reach)
    around = _convolve(counts, kernel, frame.pbc) - kernel[tuple(np.array(kernel.shape) // 2)]
    return np.maximum(np.rint(around.ravel()[place]), 0).astype(np.int64)


def _bins(lengths: np.ndarray, width: float) -> np.ndarray:
    """Bins no narrower than a width along each direction: 1 to 15, times a power of two."""
    doubled = 2.0 ** np.maximum(np.floor(np.log2(np.maximum(lengths / (8 * width), 1))), 0)
    return (np.maximum(np.floor(lengths / doubled / width), 1) * doubled).astype(np.int64)


def _shares(sides: np.ndarray, heights: np.ndarray, reach: float) -> np.ndarray:
    """Of the pairs of points of two bins, the share within reach, by whole bins between the two.

    Parameters
    ----------
    sides : (3, 3), angstrom
        Of a bin.
    heights : (3,), angstrom
        Of a bin.
    reach
        angstrom.
    """
    most = np.ceil(reach / heights).astype(int) + 1
    between = np.stack(np.meshgrid(*[np.arange(-m, m + 1) for m in most], indexing="ij"), axis=-1)
    steps = np.arange(1 - PARTS, PARTS)
    shares = np.zeros(between.shape[:3])
    for step in itertools.product(steps, repeat=3):
        weight = np.prod(PARTS - np.abs(step)) / PARTS**6
        vectors = (between + np.array(step) / PARTS) @ sides
        shares += weight * (np.einsum("...i,...i", vectors, vectors) < reach**2)
    return shares


def _convolve(counts: np.ndarray, kernel: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Sum counts, weighted by a kernel around each bin; open directions have nothing beyond."""
    half = np.array(kernel.shape) // 2
    shape = np.where(pbc, counts.shape, np.array(counts.shape) + half)
    wrapped = np.zeros(shape)
    index = [(np.arange(n) - m) % s for n, m, s in zip(kernel.shape, half, shape, strict=True)]
    np.add.at(wrapped, np.ix_(*index), kernel)
    padded = np.zeros(shape)
    padded[tuple(map(slice, counts.shape))] = counts
    product = np.fft.rfftn(padded) * np.fft.rfftn(wrapped)
    whole = np.fft.irfftn(product, s=tuple(shape), axes=(0, 1, 2))
    return whole[tuple(map(slice, counts.shape))]
