"""Eigenvalues and log-determinants of the noise covariance C, which is never formed.

C = kappa / N sum_i (g_i - G)(g_i - G)^T has D^2 x D^2 entries and a rank of at most
min(N - 1, D (D + 1) / 2). With the centred gradients as the N rows of a matrix, its eigenvalues
are kappa / N times that matrix's squared singular values. Taken so, and not from the Gram matrix
of the gradients, they are right down to eps^2 of the largest and not only to eps: a nearly
singular C keeps its determinant.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from theory.checks import real, require, require_finite, require_whole
from theory.implicit import Factors
from theory.precision import by_input

ROUNDING = 1024
"""Singular values below this many eps of the gradients' size are what rounding leaves of zeros:
the factors are products of several matrices, with an error of some eps themselves."""

LARGEST = 2**24
"""Entries of centred gradients that are held at once."""


def kappa(n: int, b: int | None = None, *, threshold: int | None = None) -> float:
    """The variance of a mean of few drawn from many without replacement, per unit of variance.

    Two readings of the paper's Assumption 1, which speaks of b shots that the model has and of a
    threshold N > b at which its gradient would be best. ``b``: the prompt's N shots are the many,
    and b is a virtual subsample of them: (N - b) / (b (N - 1)). ``threshold``: the paper's own, the
    prompt's shots are the few and the threshold the many, with N and b in exchanged places. No
    model fixes the virtual number in either; C is estimated from the shots there are.

    Args:
        n: the prompt's shots.
        b: virtual subsample, 1 to n.
        threshold: the paper's N, from n on.

    Raises:
        ValueError: fewer than two examples, b outside 1 .. n, a threshold below n, what is not
            whole, or both or neither of ``b`` and ``threshold``.
    """
    one = (b is None) != (threshold is None)
    require(one, "b", "given, or threshold, and not both", (b, threshold))
    if threshold is not None:
        require_whole("n", n, 1)
        require_whole("threshold", threshold, max(n, 2))
        return (threshold - n) / (n * (threshold - 1))
    assert b is not None
    require_whole("n", n, 2)
    require_whole("b", b, 1)
    require(b <= n, "b", f"at least 1 and at most N = {n}", b)
    return (n - b) / (b * (n - 1))


def check_factors(factors: Factors, heads: bool = False) -> None:
    """Refuse factors whose shapes disagree, and what is not finite."""
    fewest = 3 if heads else 2
    shape = factors.v.shape
    wanted = "at least [N, H, D]" if heads else "at least a matrix [N, D]"
    require(factors.v.ndim >= fewest, "factors.v", wanted, shape)
    for name, factor in zip(Factors._fields, factors, strict=True):
        require(factor.shape == shape, f"factors.{name}", f"of shape {shape}", factor.shape)
        require_finite(f"factors.{name}", factor)


def by_head(factors: Factors, heads: bool) -> Factors:
    """Factors with an axis of heads, ``[*layers, N, H, D]``."""
    return factors if heads else Factors(*(factor[..., None, :] for factor in factors))


@by_input
def gram(factors: Factors, *, heads: bool = False) -> Float[Array | np.ndarray, "*layers N N"]:
    """K = N^2 (V V^T) o (R R^T): the inner products of the per-example gradients.

    Args:
        factors: each ``[*layers, N, D]``; with ``heads`` ``[*layers, N, H, D]``.
        heads: whether there is an axis of heads.

    Raises:
        ValueError: shapes that disagree, or values that are not finite real numbers.
    """
    (factors,) = real(factors=factors)
    check_factors(factors, heads)
    return gram_by_head(by_head(factors, heads))


@jax.jit
def gram_by_head(factors: Factors) -> Array:
    """The same of factors ``[*layers, N, H, D]``."""
    n = factors.v.shape[-3]
    v, r = (jnp.einsum("...ihd,...jkd->...ijhk", a, a) for a in (factors.v, factors.r))
    return n**2 * (v * r).sum((-2, -1))


@by_input
def eigenvalues(
    factors: Factors,
    b: int | None = None,
    *,
    threshold: int | None = None,
    heads: bool = False,
) -> Float[Array | np.ndarray, "*layers N"]:
    """The largest N eigenvalues of C, descending; the other D^2 - N are 0, as may be some of these.

    What rounding leaves of a zero eigenvalue is set to 0. tr C is their sum. At b = N all are 0.
    They are squares of squares: of factors near 1e-90 in float64 or 1e-10 in float32 they vanish,
    and :func:`theory.bounds.measure` works in scaled units instead.

    Args:
        factors: each ``[*layers, N, D]``; with ``heads`` ``[*layers, N, H, D]``.
        b: virtual subsample, see :func:`kappa`.
        threshold: the paper's reading, see :func:`kappa`.
        heads: whether there is an axis of heads.

    Raises:
        ValueError: shapes that disagree, values that are not finite real numbers, N < 2, or b or
            threshold out of range.
    """
    (factors,) = real(factors=factors)
    check_factors(factors, heads)
    factors = by_head(factors, heads)
    n = factors.v.shape[-3]
    scale = kappa(n, b, threshold=threshold) / n
    return scale * squared_singular_values(factors.v, factors.r)


def squared_singular_values(v: Array | np.ndarray, r: Array | np.ndarray) -> Array:
    """Of the N x D^2 matrix of centred gradients N sum_h v_ih r_ih^T: ``[*layers, N]``, descending.

    Args:
        v: ``[*layers, N, H, D]``.
        r: of the same shape.
    """
    if isinstance(v, Tracer) or isinstance(r, Tracer):
        return _squared_singular_values(v, r)
    # Features that are zero throughout (gradient descent on regression writes one) do not count.
    v, r = v[..., _active(v)], r[..., _active(r)]
    *layers, n, heads, _ = v.shape
    if 0 in (*v.shape, *r.shape):
        return jnp.zeros((*layers, n), jnp.asarray(v).dtype)
    v, r = (a.reshape(-1, n, heads, a.shape[-1]) for a in (v, r))
    entries = n * math.prod(min(a.shape[-1], n * heads) for a in (v, r))
    at_once = max(LARGEST // max(entries, 1), 1)
    parts = [
        _squared_singular_values(v[i : i + at_once], r[i : i + at_once])
        for i in range(0, len(v), at_once)
    ]
    return jnp.concatenate(parts).reshape(*layers, n)


def _active(factor: Array | np.ndarray) -> np.ndarray:
    return np.flatnonzero((np.asarray(factor) != 0).any(tuple(range(factor.ndim - 1))))


@jax.jit
def _squared_singular_values(v: Array, r: Array) -> Array:
    n = v.shape[-3]
    g = n * jnp.einsum("...iha,...ihb->...iab", _coordinates(v), _coordinates(r))
    g = g.reshape(*g.shape[:-2], -1)
    size = jnp.sqrt((g**2).sum((-2, -1)))
    values = jnp.linalg.svd(g - g.mean(-2, keepdims=True), compute_uv=False)[..., : n - 1]
    # Centred, the N rows add to zero: the last value is one of rounding.
    values = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, n - values.shape[-1])])
    rounding = ROUNDING * jnp.finfo(g.dtype).eps * size
    return jnp.where(values > rounding[..., None], values, 0) ** 2


def _coordinates(a: Array) -> Array:
    """Vectors ``[..., N, H, D]`` in an orthonormal basis of their span, where that is smaller."""
    *_, n, heads, width = a.shape
    if n * heads >= width:
        return a
    triangle = jnp.linalg.qr(a.reshape(*a.shape[:-3], n * heads, width).swapaxes(-1, -2), mode="r")
    return triangle.swapaxes(-1, -2).reshape(*a.shape[:-1], n * heads)


@by_input
def log_determinant(
    spectrum: Float[Array | np.ndarray, "*layers N"],
    directions: int,
    ridge: Float[Array | np.ndarray, "*layers"] | float = 0.0,
) -> Float[Array | np.ndarray, "*layers"]:
    """The log of det(C + lam I) over a subspace that holds the gradients; -inf where singular.

    Args:
        spectrum: from :func:`eigenvalues`.
        directions: of the subspace, :func:`theory.noise.dimension`.
        ridge: lam, one number or one for each matrix.

    Raises:
        ValueError: no direction, or a negative ridge.
    """
    require_whole("directions", directions, 1)
    spectrum, level = real(spectrum=spectrum, ridge=ridge)
    spectrum, level = jnp.asarray(spectrum), jnp.asarray(level)
    if not isinstance(level, Tracer):
        require(bool((level >= 0).all()), "ridge", "at least 0", ridge)
    level = jnp.broadcast_to(level, spectrum.shape[:-1])
    return _log_determinant(spectrum, jnp.log(level), directions)


@partial(jax.jit, static_argnames="directions")
def _log_determinant(spectrum: Array, log_level: Array, directions: int) -> Array:
    values = jnp.log(spectrum[..., : min(directions, spectrum.shape[-1])])
    missing = directions - values.shape[-1]
    ridged = jnp.logaddexp(values, log_level[..., None]).sum(-1)
    return ridged + (missing * log_level if missing else 0)
