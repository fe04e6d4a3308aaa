"""What truncation will do, before it is done: to first order, and by random-matrix ranks.

Truncating W = sum_i s_i u_i v_i^T to rank r takes away sum_{i>r} s_i u_i v_i^T. To first order in
that the loss l changes by

    dl(r) = - sum_{i>r} s_i u_i^T (grad_W l) v_i,

for all ranks of all matrices from one backward pass on some examples. s_i u_i^T (grad_W l) v_i is
s_i times the derivative of l in the singular value s_i, the quantity by which "Compress to
Impress" (2025) ranks components. It is right where what is cut is small; a deep cut is none of it.

The ranks of Gavish and Donoho (2014) and of Marchenko and Pastur ask of the spectrum alone which
components stand out of noise: predictions of the best rank that need no example.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.integrate import quad
from scipy.optimize import brentq

from theory.checks import Real, real, require, require_finite, require_whole


class FirstOrder(NamedTuple):
    """The predicted change of the loss by truncation.

    Attributes:
        ranks: kept.
        change: dl at each of them.
        shares: s_i u_i^T (grad_W l) v_i of each component, largest singular value first.
        values: singular values s_i.
    """

    ranks: Int[np.ndarray, " ranks"]
    change: Float[np.ndarray, " ranks"]
    shares: Float[np.ndarray, " min_m_n"]
    values: Float[np.ndarray, " min_m_n"]

    @property
    def best(self) -> int:
        """The rank of the lowest predicted loss, the largest one of equals."""
        lowest = np.flatnonzero(self.change == self.change.min())
        return int(self.ranks[lowest].max())


def first_order(
    matrix: Real, gradient: Real, ranks: Sequence[int] | Int[np.ndarray, " ranks"]
) -> FirstOrder:
    """dl(r) of one matrix.

    Args:
        matrix: W, ``[m, n]``.
        gradient: grad_W l, of the mean loss over some examples, ``[m, n]``.
        ranks: to keep, from 0 to min(m, n).

    Raises:
        ValueError: shapes that disagree, ranks that are not whole or out of range, or values that
            are not finite real numbers.
    """
    matrix, gradient = (np.asarray(a, np.float64) for a in real(matrix=matrix, gradient=gradient))
    require(matrix.ndim == 2, "matrix", "[m, n]", matrix.shape)
    require(gradient.shape == matrix.shape, "gradient", f"of shape {matrix.shape}", gradient.shape)
    for name, value in (("matrix", matrix), ("gradient", gradient)):
        require_finite(name, value)
    full = min(matrix.shape)
    for rank in ranks:
        require_whole("ranks", rank, 0)
        require(rank <= full, "ranks", f"at most {full}", rank)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    shares = s * np.einsum("mi,mn,in->i", u, gradient, vt)
    # Sums of what is cut, from the smallest component up.
    cut = np.append(np.cumsum(shares[::-1])[::-1], 0.0)
    kept = np.asarray(ranks, int)
    return FirstOrder(kept, -cut[kept], shares, s)


def marchenko_pastur_median(beta: float) -> float:
    """Median of the Marchenko-Pastur law of ratio beta: squared singular values over n.

    Of an m x n matrix of independent entries of variance 1, beta = m / n <= 1.

    Raises:
        ValueError: a ratio outside (0, 1].
    """
    require(0 < beta <= 1, "beta", "above 0 and at most 1", beta)
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2

    def below(x: float) -> float:
        """The distribution function, in an angle that takes the roots at both ends away."""
        middle, half = (low + high) / 2, (high - low) / 2
        end = math.acos(min(max((middle - x) / half, -1), 1))

        def density(angle: float) -> float:
            t = middle - half * math.cos(angle)
            return (half * math.sin(angle)) ** 2 / (2 * math.pi * beta * t) if t > 0 else 0.0

        return float(quad(density, 0, end, limit=200)[0])

    return float(brentq(lambda x: below(x) - 0.5, low, high, xtol=1e-13))  # pyright: ignore


def gavish_donoho_rank(values: Real, shape: tuple[int, int], sigma: float | None = None) -> int:
    """Singular values above the optimal hard threshold for a low-rank matrix in noise.

    Gavish and Donoho (2014): the threshold of least asymptotic squared error is
    lambda(beta) sqrt(n) sigma with lambda^2 = 2 (beta + 1) + 8 beta / (beta + 1 +
    sqrt(beta^2 + 14 beta + 1)), beta = m / n <= 1: 4 / sqrt 3 for square matrices. With unknown
    noise it is estimated from the median singular value: 2.858 times that for square ones.

    Args:
        values: all singular values.
        shape: of the matrix.
        sigma: standard deviation of the noise's entries, if known.

    Raises:
        ValueError: values that do not fit the shape, or a noise that is not positive.
    """
    spectrum, beta, n = _spectrum(values, shape)
    root = math.sqrt(beta**2 + 14 * beta + 1)
    scale = math.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + root))
    return int((spectrum > scale * math.sqrt(n) * _noise(spectrum, beta, n, sigma)).sum())


def marchenko_pastur_rank(values: Real, shape: tuple[int, int], sigma: float | None = None) -> int:
    """Singular values above the edge of the noise, sigma (sqrt m + sqrt n).

    Arguments and errors as in :func:`gavish_donoho_rank`. Never below its rank: what is just above
    the edge is signal, but too distorted to be worth keeping.
    """
    spectrum, beta, n = _spectrum(values, shape)
    edge = (1 + math.sqrt(beta)) * math.sqrt(n)
    return int((spectrum > edge * _noise(spectrum, beta, n, sigma)).sum())


def _spectrum(
    values: Real, shape: tuple[int, int]
) -> tuple[Float[np.ndarray, " min_m_n"], float, int]:
    (spectrum,) = real(values=values)
    spectrum = np.asarray(spectrum, np.float64)
    require(len(shape) == 2 and min(shape) >= 1, "shape", "(m, n)", shape)
    count = min(shape)
    require(spectrum.shape == (count,), "values", f"{count} singular values", spectrum.shape)
    require_finite("values", spectrum)
    require(bool((spectrum >= 0).all()), "values", "at least 0", spectrum.min())
    return spectrum, count / max(shape), max(shape)


def _noise(
    spectrum: Float[np.ndarray, " min_m_n"], beta: float, n: int, sigma: float | None
) -> float:
    if sigma is not None:
        require(0 < sigma < math.inf, "sigma", "positive", sigma)
        return sigma
    return float(np.median(spectrum)) / math.sqrt(n * marchenko_pastur_median(beta))
