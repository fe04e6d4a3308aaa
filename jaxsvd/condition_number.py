"""Condition numbers in float64 from the two extreme singular values alone.

A full singular value decomposition computes hundreds of numbers of which two are wanted. Here the
largest comes from Lanczos iteration on the Gram matrix, the smallest from Lanczos iteration on its
inverse, applied by two triangular solves with a factor R, where R^T R is the Gram matrix. R is its
Cholesky factor: then the relative error of the smallest singular value grows with the square of the
condition number. Where that would be too much, R comes from a QR decomposition of the matrix
itself, and the error grows with the condition number alone.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float, Float64
from scipy import linalg
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

EPSILON = float(np.finfo(np.float64).eps)

LARGEST_BY_CHOLESKY = 1e4
"""Condition numbers above it are computed by QR.

Rounding the Gram matrix moves its smallest eigenvalue by a few ``EPSILON`` of the largest (errors
of random sign; ``k EPSILON`` at the very worst, k the smaller side), and the singular value by half
of that: about 1e-8 at 1e4. Measured: 1e-11 at 1e3, 6e-8 at 1e5.
"""

LARGEST_BY_QR = 1e11
"""Condition numbers above it are computed by a full decomposition: nearly singular matrices."""

SMALLEST_SIDE = 128
"""Matrices with a smaller side are decomposed in full: nothing would be gained."""


def condition_number(
    matrix: Float[Array, "rows columns"] | Float[np.ndarray, "rows columns"],
) -> float:
    """sigma_max / sigma_min, to a relative error of at most 1e-8 up to 1e6 and 1e-6 up to 1e9.

    The paper's guide to the layer to truncate (Algorithm 1, step 2). Deterministic: the iterations
    start from a fixed vector.

    Args:
        matrix: finite numbers of any floating type; computed in float64.

    Returns:
        ``inf`` where the smallest singular value is rounding: at most float64's epsilon times the
        larger side times the largest singular value.
    """
    a = np.asarray(matrix, np.float64)
    scale = float(np.abs(a).max(initial=0.0))
    if scale == 0:
        return math.inf
    a = a / scale  # squares of tiny or huge numbers stay in range
    a = a.T if a.shape[0] < a.shape[1] else a
    if a.shape[1] < SMALLEST_SIDE:
        return _by_full_decomposition(a)
    try:
        return _by_extremes(a)
    except (ArpackError, linalg.LinAlgError):
        return _by_full_decomposition(a)


def ratio(singular_values: Float[np.ndarray, " k"], size: int) -> float:
    """The largest by the smallest of a matrix's singular values, descending, in float64.

    ``inf`` where the smallest is rounding: below float64's epsilon times ``size``, the matrix's
    larger side.
    """
    largest, smallest = float(singular_values[0]), float(singular_values[-1])
    if smallest <= largest * size * EPSILON:
        return math.inf
    return largest / smallest


def _by_full_decomposition(a: Float64[np.ndarray, "m k"]) -> float:
    return ratio(np.linalg.svd(a, compute_uv=False), max(a.shape))


def _by_extremes(a: Float64[np.ndarray, "m k"]) -> float:
    """Of a tall or square matrix."""
    gram = _gram(a)
    size = len(gram)
    start = np.random.default_rng(0).standard_normal(size)
    largest = math.sqrt(_largest_eigenvalue(lambda v: _SYMV(1.0, gram, v, lower=1), start))
    try:
        factor = linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
        number = largest / _smallest_singular_value(factor, start, lower=True)
    except linalg.LinAlgError:
        number = math.inf
    if number <= LARGEST_BY_CHOLESKY:
        return number
    factor = np.asarray(linalg.qr(a, mode="r", overwrite_a=True, check_finite=False)[0])
    factor = np.asfortranarray(factor[:size])
    if np.abs(np.diag(factor)).min() <= largest / LARGEST_BY_QR:
        return _by_full_decomposition(np.triu(factor))
    number = largest / _smallest_singular_value(factor, start, lower=False)
    return number if number <= LARGEST_BY_QR else _by_full_decomposition(np.triu(factor))


_SYRK, _SYMV, _TRSV = linalg.get_blas_funcs(("syrk", "symv", "trsv"), dtype=np.float64)


def _gram(a: Float64[np.ndarray, "m k"]) -> Float64[np.ndarray, "k k"]:
    """The lower triangle of a^T a, column-major; the upper one is not set."""
    if a.flags.c_contiguous:  # its transpose is column-major, as BLAS wants it: no copy is made
        return _SYRK(1.0, a.T, lower=1)
    return _SYRK(1.0, a, trans=1, lower=1)


def _largest_eigenvalue(
    apply: Callable[[np.ndarray], np.ndarray], start: Float64[np.ndarray, " k"]
) -> float:
    """Of a symmetric positive definite operator, to full precision."""
    size = len(start)
    operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)  # pyright: ignore
    values = eigsh(
        operator, k=1, which="LA", v0=start, ncv=min(size, 32), return_eigenvectors=False
    )
    return float(values[0])


def _smallest_singular_value(
    factor: Float64[np.ndarray, "k k"], start: Float64[np.ndarray, " k"], *, lower: bool
) -> float:
    """Of a triangular matrix: one by the root of the largest eigenvalue of (F F^T)^-1."""

    def apply_inverse(v: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        # lower: G = F F^T; upper: G = F^T F. Either way the inverse is two triangular solves.
        first = _TRSV(factor, v, lower=lower, trans=0 if lower else 1)
        return _TRSV(factor, first, lower=lower, trans=1 if lower else 0)

    return 1 / math.sqrt(_largest_eigenvalue(apply_inverse, start))
