"""The same measurements from Gram matrices alone, where the rank is far below D.

W_{t-1} = sum_{j<t} G_j has a rank of at most (t - 1) N, so that every norm and inner product
follows from those of the factors: 2 (M L N)^2 D operations, no D x D matrix.
"""

import functools
import operator
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float
from scipy.sparse.linalg import aslinearoperator, eigsh

from theory.implicit import Factors

Numbers = dict[str, Float[np.ndarray, "..."]]


def measure_low_rank(factors: Factors, *, spectral: bool) -> Numbers:
    """What :func:`theory.bounds.measured.measure` measures of noiseless states, in float64.

    Args:
        factors: each ``[M, L, N, D]``.
        spectral: the spectral norms too.
    """
    v, q, r = (np.asarray(factor, np.float64) for factor in factors)
    replicates, layers, n, width = v.shape
    flat = (replicates * layers * n, width)
    examples = (v.reshape(flat) @ v.reshape(flat).T) * (r.reshape(flat) @ r.reshape(flat).T)
    shape = (replicates, layers, n)
    # <G_{m,s}, G_{k,t}>, and <W_{m,t-1}, .> as its sums over the layers before t.
    inner = examples.reshape(*shape, *shape).sum((2, 5))
    state = _before(inner, 1)
    both = _before(state, 3)
    gradient, cross, size = (_same_layer(a) for a in (inner, state, both))
    traces = _before(np.einsum("mtid,mtid->mt", v, r), 1)
    own = np.arange(replicates)
    norms = gradient[:, own, own]
    frobenius = width + 2 * traces.T + size[:, own, own]
    # Centred over replicates in both arguments: inner products of deviations from the mean.
    off_mean, apart_off, apart = (_centred(a)[:, own, own] for a in (gradient, cross, size))
    moving = apart.sum(1) > 1e-12 * size[:, own, own].sum(1)
    slope = np.where(moving, apart_off.sum(1) / np.where(moving, apart.sum(1), 1), 0)
    off_state = off_mean - 2 * slope[:, None] * apart_off + slope[:, None] ** 2 * apart
    undone = replicates / max(replicates - 1, 1)
    measured = {
        "update": np.einsum(
            "mtij,mtij->tm", v @ np.swapaxes(v, -1, -2), q @ np.swapaxes(q, -1, -2)
        ),
        "frobenius": frobenius,
        "gradient": norms,
        "from_mean": undone * np.maximum(off_mean, 0),
        "from_state": undone * np.maximum(off_state, 0),
        "slope": slope,
    }
    if spectral:
        measured["spectral"] = squared_spectral_norms(factors)
    return measured


def _before(values: np.ndarray, axis: int) -> np.ndarray:
    """Sums over what comes before, along an axis."""
    return np.cumsum(values, axis=axis) - values


def _same_layer(values: np.ndarray) -> np.ndarray:
    """``[M, L, M, L]`` at one layer on both sides: ``[L, M, M]``."""
    return np.einsum("mtkt->tmk", values)


def _centred(values: np.ndarray) -> np.ndarray:
    half = values - values.mean(-1, keepdims=True)
    return half - half.mean(-2, keepdims=True)


def squared_spectral_norms(factors: Factors) -> Float[np.ndarray, "L M"]:
    """||I + sum_{j<t} G_j||_2^2 of every layer, in float64, without decomposing D x D.

    With V and R the stacked factors of the earlier layers (k rows), A = I + V^T R and
    A^T A - I = V^T R + R^T V + R^T (V V^T) R = B^T M B for B = [V; R]. What is not zero of its
    spectrum is that of T^T M T with B B^T = T T^T, a matrix of 2k x 2k. With the rows of B in the
    order of the layers, T and M of a layer are the leading blocks of the last layer's.

    Args:
        factors: each ``[M, L, N, D]``.
    """
    v, r = (np.asarray(a, np.float64) for a in (factors.v, factors.r))
    replicates, layers, n, _ = v.shape
    norms = np.ones((layers, replicates))
    for m in range(replicates):
        triangle, middle = _folding(v[m], r[m])
        for t in range(1, layers):
            side = 2 * t * n
            leading = (np.ascontiguousarray(a[:side, :side]) for a in (triangle, middle))
            norms[t, m] = 1 + max(_largest(*leading), 0.0)
    return norms


def _folding(v: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """T and M of all layers, from factors ``[L, N, D]``."""
    layers, n, width = v.shape
    k = layers * n
    size = np.sqrt([max((a**2).sum(), np.finfo(np.float64).tiny) for a in (v, r)])
    # The scale of V against R is arbitrary; balanced, rounding is small beside both.
    balanced = [a * np.sqrt(size.prod()) / own for a, own in zip((v, r), size, strict=True)]
    rows = np.stack(balanced, axis=1).reshape(2 * k, width)
    inner = rows @ rows.T
    kind = np.tile(np.repeat([0, 1], n), layers)
    ofv, ofr = np.flatnonzero(kind == 0), np.flatnonzero(kind == 1)
    middle = np.zeros((2 * k, 2 * k))
    middle[ofv, ofr] = middle[ofr, ofv] = 1
    middle[np.ix_(ofr, ofr)] = inner[np.ix_(ofv, ofv)]
    rounding = 4 * np.finfo(np.float64).eps * max(np.trace(inner), 1e-200)
    return np.linalg.cholesky(inner + rounding * np.eye(2 * k)), middle


def _largest(triangle: np.ndarray, middle: np.ndarray) -> float:
    """The largest eigenvalue of T^T M T."""
    side = len(middle)
    if side < 64:
        return float(scipy.linalg.eigvalsh(triangle.T @ middle @ triangle)[-1])
    # By products with vectors only. The eigenvalue is off by about the square of the residual.
    factors = (aslinearoperator(matrix) for matrix in (triangle.T, middle, triangle))
    folded = functools.reduce(operator.matmul, factors)
    start = np.random.default_rng(0).normal(size=side)
    tolerance: Any = 1e-6  # scipy's signature says int
    return float(eigsh(folded, k=1, which="LA", v0=start, tol=tolerance)[0][0])
