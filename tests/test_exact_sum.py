# SPDX-License-Identifier: MIT
"""Sums over ranks as integers: exact, in any order, and marked where a number is not finite."""

import math

import numpy as np
import pytest

from uma_md.ranks.exact_sum import LARGEST, decode, encode, encoded_bytes


def summed(parts: list[np.ndarray]) -> np.ndarray:
    return decode(np.sum([encode(part) for part in parts], axis=0))


def test_sums_are_those_without_rounding_in_any_order():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1000, 3)) * 10.0 ** rng.integers(-9, 12, (1000, 3))
    values -= values[rng.permutation(1000)]  # so that much cancels
    expected = [math.fsum(column) for column in values.T]
    assert summed(list(values)).tolist() == pytest.approx(expected, rel=1e-15, abs=1e-20)
    assert summed(list(values)).tolist() == summed(list(values[::-1])).tolist()


def test_one_number_comes_back_as_it_was():
    values = np.array([0.0, -1.5, 1e-3, -7e20, 123456789.123456789, -(2.0**-70)])
    assert summed([values]).tolist() == values.tolist()


def test_there_is_room_for_millions_of_ranks():
    largest = np.array([LARGEST * (1 - 2**-53), -LARGEST * (1 - 2**-53)])
    ranks = 1 << 22
    assert decode(encode(largest) * ranks).tolist() == (largest * ranks).tolist()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, LARGEST])
def test_what_is_not_finite_or_too_large_makes_all_sums_nan(bad):
    assert np.isnan(summed([np.array([1.0, 2.0]), np.array([bad, 3.0])])).all()


def test_the_size_is_the_stated_one():
    assert encode(np.zeros((2, 3))).nbytes == encoded_bytes(6)
