"""Arithmetic with the same bits on every machine, for whatever decides a draw or an identity.

A sum of floats depends on its order, which differs by BLAS kernel, SIMD level and number of threads; logarithms differ
by library. This module therefore uses integers, the operations that IEEE 754 rounds correctly (+ - * / and the square
root), and numbers on a grid so coarse that their products and sums are exact in float64 in any order.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Shape = int | tuple[int, ...]
BELL_BITS = 16
UNIT_BITS = 20
"""Grid of unit rows: a product of two has 40 fractional bits, and no partial sum exceeds 1."""
ODD = (13, 11, 9, 7, 5, 3, 1)
"""Terms of the logarithm's series; those left out sum to at most 1.1e-8."""


def decimal(value: float) -> Fraction:
    """The decimal number that was typed: 0.1, not the closest binary fraction."""
    return Fraction(repr(float(value)))


def exact_share(share: float | Fraction, count: int) -> int:
    """floor(share * count) with the decimal number that was typed: 0.29 of 100 is 29, not 28.

    Args:
        share: 0 to 1; the complement of a share is ``1 - decimal(share)``.
        count: the number that is divided.
    """
    return math.floor((share if isinstance(share, Fraction) else decimal(share)) * count)


def on_grid(values: NDArray[np.floating], bits: int) -> FloatArray:
    """The nearest multiples of 2^-bits."""
    return np.rint(values * 2.0**bits) * 2.0**-bits


def product(left: FloatArray, right: FloatArray) -> FloatArray:
    """Matrix product of numbers on a grid: exact as long as it and its partial sums have at most 53 bits.

    The sign of a zero is the kernel's choice, so all zeros are made positive.
    """
    return left @ right + 0.0


def unit_rows_on_grid(rows_ND: NDArray[np.floating]) -> FloatArray:
    """Rows scaled to length 1 at any finite scale, on the grid of `UNIT_BITS`; zero rows stay zero."""
    _, exponent_N1 = np.frexp(np.abs(rows_ND).max(axis=1, keepdims=True, initial=0))
    whole_ND = np.rint(np.ldexp(rows_ND.astype(np.float64), UNIT_BITS - exponent_N1)).astype(np.int64)
    length_N1 = np.sqrt((whole_ND * whole_ND).sum(axis=1, keepdims=True))
    return on_grid(whole_ND / np.where(length_N1 > 0, length_N1, np.inf), UNIT_BITS)


def logarithm(values: NDArray[np.floating]) -> FloatArray:
    """Natural logarithm of positive numbers: 2 artanh((m - 1) / (m + 1)) for the mantissa m; error below 1.1e-8."""
    mantissa, exponent = np.frexp(values)
    ratio = (mantissa - 1) / (mantissa + 1)
    square, series = ratio * ratio, np.zeros_like(ratio)
    for odd in ODD:
        series *= square
        series += 1 / odd
    series *= 2 * ratio
    series += exponent * math.log(2)
    return series


def exponential(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Exponential variates of rate 1, between 1e-10 and 23, never 0."""
    return -logarithm((rng.integers(0, 1 << 32, shape, dtype=np.uint32) + 0.5) * 2.0**-32)


def bell(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Nearly normal variates of mean 0 and variance 1: sums of 12 uniform ones, on the grid of `BELL_BITS`."""
    total = np.zeros(shape, dtype=np.int32)
    for _ in range(12):
        total += rng.integers(0, 1 << BELL_BITS, shape, dtype=np.uint16)
    return (total - 6 * ((1 << BELL_BITS) - 1)).astype(np.float64) * 2.0**-BELL_BITS


def weighted(rng: np.random.Generator, weights: NDArray[np.int64], shape: Shape) -> NDArray[np.int64]:
    """Positions drawn with replacement in proportion to whole weights, not all 0, whose sum is below 2^63."""
    ends = np.cumsum(weights)
    return np.searchsorted(ends, rng.integers(0, ends[-1], shape), side="right")
