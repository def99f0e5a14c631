# SPDX-License-Identifier: MIT
"""Numbers as integers whose sum has no rounding, and so no order: any all-reduce gives the same.

A number is a multiple of 2**-80 between -2**80 and 2**80, in four digits of 40 bits: room for
eight million ranks in integers of 64 bits.
"""

from __future__ import annotations

import math

import numpy as np

DIGIT = 40  # bits
DIGITS = 4
UNIT = 80  # bits after the point
LARGEST = 2.0 ** (DIGIT * DIGITS - UNIT)
_MASK = (1 << DIGIT) - 1


def encode(values: np.ndarray) -> np.ndarray:
    """Numbers as integers to be summed, (4 x values + 1,) int64.

    The last one counts numbers that are not finite or too large.

    Parameters
    ----------
    values : any shape, float64
    """
    digits = np.zeros((values.size, DIGITS), dtype=np.int64)
    bad = 0
    for row, value in zip(digits, values.ravel().tolist(), strict=True):
        if not abs(value) < LARGEST:
            bad += 1
            continue
        whole = int(math.ldexp(value, UNIT))
        for place in range(DIGITS - 1):
            row[place] = whole & _MASK
            whole >>= DIGIT
        row[-1] = whole
    return np.concatenate((digits.ravel(), [bad]))


def encoded_bytes(values: int) -> int:
    """Bytes that so many numbers take, encoded."""
    return 8 * (DIGITS * values + 1)


def decode(sums: np.ndarray) -> np.ndarray:
    """The numbers that summed integers stand for, rounded once; NaN where one was not finite.

    Parameters
    ----------
    sums : (4 x values + 1,) int64
    """
    digits = sums[:-1].reshape(-1, DIGITS).tolist()
    if sums[-1]:
        return np.full(len(digits), np.nan)
    unit = 1 << UNIT
    wholes = (sum(digit << (DIGIT * k) for k, digit in enumerate(row)) for row in digits)
    return np.array([whole / unit for whole in wholes])
