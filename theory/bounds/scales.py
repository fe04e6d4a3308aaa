"""Factors in scaled units: gradients are products of four, and their squares of eight."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from theory.implicit import Factors

SAFE = 200
"""Binary exponents of G up to which its square is a float64 without being scaled."""


class Scaled(NamedTuple):
    """One layer's factors divided by powers of two, so that the largest entry of each is near 1.

    Attributes:
        factors: scaled, exactly.
        v: exponent of v's unit: the factor is 2^v times the scaled one.
        q: of q's.
        r: of r's.
    """

    factors: Factors
    v: int
    q: int
    r: int

    @property
    def gradient(self) -> int:
        """Exponent of the unit of G."""
        return self.v + self.r

    @property
    def update(self) -> int:
        """Exponent of the unit of dW."""
        return self.v + self.q


def scaled(factors: Factors) -> Scaled:
    """One layer of all replicates in scaled units."""
    arrays, exponents = zip(*(scaled_array(a) for a in factors), strict=True)
    return Scaled(Factors(*arrays), *exponents)


def scaled_array(
    a: Float[Array | np.ndarray, "..."],
) -> tuple[Float[Array | np.ndarray, "..."], int]:
    """An array divided by a power of two, and the exponent; zeros as they are."""
    host = np.asarray(a, np.float64)
    largest = float(np.abs(host).max()) if host.size else 0.0
    exponent = int(np.frexp(largest)[1]) if 0 < largest < np.inf else 0
    if exponent == 0:
        return a, 0
    # In two steps: 2^-exponent itself may be outside the range.
    half = -exponent // 2
    one = a.dtype.type(1) if isinstance(a, np.ndarray) else 1.0
    return a * (one * 2.0**half) * (one * 2.0 ** (-exponent - half)), exponent


def first_not_finite(*arrays: Float[Array | np.ndarray, "M L ..."]) -> int | None:
    """The first layer (axis 1) in which something is not finite; None if everything is."""
    layers = arrays[0].shape[1]
    finite = np.ones(layers, bool)
    for a in arrays:
        axes = (0, *range(2, a.ndim))
        finite &= np.isfinite(np.asarray(a)).all(axis=axes)
    return None if finite.all() else int(np.flatnonzero(~finite)[0])


def units(exponents: Int[np.ndarray, " L"]) -> Int[np.ndarray, " L"]:
    """The exponents to keep as units: 0 where squares fit in float64 as they are."""
    return np.where(np.abs(exponents) > SAFE, exponents, 0)
