"""The gradient noise of the paper's Assumption 1, and the noisy algorithm that its bounds bound.

C = kappa / N sum_i (g_i - G)(g_i - G)^T with kappa = (N - b) / (b (N - 1)) and g_i = N v_i r_i^T
(:class:`theory.implicit.Factors`) has D^2 x D^2 entries and a rank of at most
min(N - 1, D (D + 1) / 2), so it is never formed: with K = N^2 (V V^T) o (R R^T), the Gram matrix of
the g_i, and J = I - 1/N, its eigenvalues are those of kappa J K J / N. N^2 D + N^3 operations.

The noisy algorithm is W_t = W_{t-1} + G_t + C_t^{1/2} xi_t (the paper's step size stands inside the
weights, its sign too). N is the number of shots; b, the paper's number of shots "the model has", is
a virtual subsample that nothing in a model fixes: sweep it, and say which was taken.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from theory.checks import require, require_finite
from theory.implicit import Factors, Weights, check_weights
from theory.precision import by_input
from theory.subspaces import Block, Subspace, dimension, indicator, regression_block

__all__ = [
    "Block",
    "Noisy",
    "Ridge",
    "Subspace",
    "check_ridge",
    "dimension",
    "eigenvalues",
    "gram",
    "kappa",
    "layer_factors",
    "log_determinant",
    "noisy_trajectory",
    "regression_block",
    "ridge_level",
]

Ridge = tuple[Literal["absolute", "relative"], float] | None
"""Extra isotropic noise of variance lam in each direction: lam itself, or as a share of tr C."""


class Noisy(NamedTuple):
    """Replicates of the noisy algorithm.

    Attributes:
        states: A_t from A_0 = I on, ``[M, L + 1, D, D]``.
        factors: of each layer at the noisy states, each ``[M, L, N, D]``.
    """

    states: Float[Array | np.ndarray, "M layers D D"]
    factors: Factors


def kappa(n: int, b: int) -> float:
    """(N - b) / (b (N - 1)): the variance of a mean of b drawn from N without replacement.

    Raises:
        ValueError: fewer than two demonstrations, or b outside 1 .. N.
    """
    require(n >= 2, "n", "at least 2", n)
    require(1 <= b <= n, "b", f"at least 1 and at most N = {n}", b)
    return (n - b) / (b * (n - 1))


def check_ridge(ridge: Ridge) -> None:
    """Refuse a ridge that is negative or not finite, or of an unknown kind."""
    if ridge is None:
        return
    kind, level = ridge
    require(kind in ("absolute", "relative"), "ridge", "absolute or relative", kind)
    require(bool(np.isfinite(level)) and level >= 0, "ridge", "finite and at least 0", level)


def ridge_level(
    ridge: Ridge, trace: Float[Array | np.ndarray, "..."]
) -> Float[Array | np.ndarray, "..."]:
    """lam, for each tr C.

    Raises:
        ValueError: a ridge that is negative or not finite.
    """
    check_ridge(ridge)
    kind, level = ridge or ("absolute", 0.0)
    return level * trace if kind == "relative" else 0 * trace + level


def _check_factors(factors: Factors) -> None:
    require(factors.v.ndim >= 2, "factors.v", "at least a matrix [N, D]", factors.v.shape)
    for name, factor in zip(Factors._fields, factors, strict=True):
        shape = factors.v.shape
        require(factor.shape == shape, f"factors.{name}", f"of shape {shape}", factor.shape)
        require_finite(f"factors.{name}", factor)


@by_input
def gram(factors: Factors) -> Float[Array | np.ndarray, "*layers N N"]:
    """K = N^2 (V V^T) o (R R^T): the inner products of the per-example gradients.

    Raises:
        ValueError: shapes that disagree, or values that are not finite.
    """
    _check_factors(factors)
    return _gram(factors)


@jax.jit
def _gram(factors: Factors) -> Array:
    n = factors.v.shape[-2]
    v, r = (jnp.einsum("...id,...jd->...ij", a, a) for a in (factors.v, factors.r))
    return n**2 * v * r


@by_input
def eigenvalues(factors: Factors, b: int) -> Float[Array | np.ndarray, "*layers N"]:
    """The largest N eigenvalues of C, descending; the other D^2 - N are 0, as may be some of these.

    What rounding leaves of a zero eigenvalue is set to 0. tr C is their sum. At b = N all are 0.

    Raises:
        ValueError: shapes that disagree, values that are not finite, N < 2, or b outside 1 .. N.
    """
    _check_factors(factors)
    n = factors.v.shape[-2]
    scale = kappa(n, b) / n
    if not isinstance(factors.v, Tracer):
        rows, columns = (_active(factor) for factor in (factors.v, factors.r))
        if len(rows) * len(columns) < n:
            return scale * _spectrum_of_features(factors.v[..., rows], factors.r[..., columns])
    return scale * _spectrum_of_gram(_gram(factors))


def _active(factor: Array | np.ndarray) -> np.ndarray:
    """Features that are not zero throughout (gradient descent on regression writes one)."""
    return np.flatnonzero((np.asarray(factor) != 0).any(tuple(range(factor.ndim - 1))))


@jax.jit
def _spectrum_of_gram(gram_matrix: Array) -> Array:
    half = gram_matrix - gram_matrix.mean(-1, keepdims=True)
    centred = half - half.mean(-2, keepdims=True)
    size = jnp.trace(gram_matrix, axis1=-2, axis2=-1)
    return _without_rounding(jnp.linalg.eigvalsh(centred)[..., ::-1], size)


@jax.jit
def _spectrum_of_features(v: Array, r: Array) -> Array:
    """The same by the gradients' few coordinates, where they are fewer than the demonstrations."""
    n = v.shape[-2]
    g = n * jnp.einsum("...ia,...ib->...iab", v, r).reshape(*v.shape[:-1], -1)
    centred = g - g.mean(-2, keepdims=True)
    products = jnp.einsum("...ia,...ib->...ab", centred, centred)
    found = _without_rounding(jnp.linalg.eigvalsh(products)[..., ::-1], (g**2).sum((-2, -1)))
    return jnp.pad(found, [(0, 0)] * (found.ndim - 1) + [(0, n - found.shape[-1])])


def _without_rounding(spectrum: Array, size: Array) -> Array:
    """Zero where an eigenvalue is what rounding leaves of a sum of squares ``size``."""
    rounding = 16 * spectrum.shape[-1] * jnp.finfo(spectrum.dtype).eps * size
    return jnp.where(spectrum > rounding[..., None], spectrum, 0)


@by_input
def log_determinant(
    spectrum: Float[Array | np.ndarray, "*layers N"],
    directions: int,
    ridge: Float[Array | np.ndarray, "*layers"] | float = 0.0,
) -> Float[Array | np.ndarray, "*layers"]:
    """The log of det(C + lam I) over a subspace that holds the gradients; -inf where singular.

    Args:
        spectrum: from :func:`eigenvalues`.
        directions: of the subspace, :func:`dimension`.
        ridge: lam, one number or one for each matrix.

    Raises:
        ValueError: no direction, or a negative ridge.
    """
    require(directions >= 1, "directions", "at least 1", directions)
    spectrum, level = jnp.asarray(spectrum), jnp.asarray(ridge)
    if not isinstance(level, Tracer):
        require(bool((level >= 0).all()), "ridge", "at least 0", ridge)
    return _log_determinant(spectrum, jnp.broadcast_to(level, spectrum.shape[:-1]), directions)


@partial(jax.jit, static_argnames="directions")
def _log_determinant(spectrum: Array, level: Array, directions: int) -> Array:
    if directions <= spectrum.shape[-1]:
        plain = jnp.log(spectrum[..., :directions]).sum(-1)
    else:
        plain = jnp.full(spectrum.shape[:-1], -jnp.inf, spectrum.dtype)
    positive = jnp.where(level > 0, level, 1)
    ridged = directions * jnp.log(positive) + jnp.log1p(spectrum / positive[..., None]).sum(-1)
    return jnp.where(level > 0, ridged, plain)


def layer_factors(demonstrations: Array, layer: Weights, state: Array) -> Factors:
    """v_i, q_i and r_i of one layer ``[D, D]`` where the demonstrations' tokens are A_{t-1} h_i."""
    tokens = demonstrations @ state.T
    q = tokens @ layer.key.T @ layer.query
    return Factors(tokens @ layer.value.T, q, q @ state)


@by_input
def noisy_trajectory(
    key: PRNGKeyArray,
    demonstrations: Float[Array | np.ndarray, "..."],
    weights: Weights,
    b: int,
    *,
    subspace: Subspace = "full",
    ridge: Ridge = None,
) -> Noisy:
    """Run the noisy algorithm: A_t = A_{t-1} + G_t + C_t^{1/2} xi_t, and sqrt(lam_t) xi'_t.

    The first noise is drawn through the N gradients, sqrt(kappa/N) sum_i eps_i (g_i - G), which has
    covariance C; the ridge adds independent noise in every direction of the subspace. The
    demonstrations' tokens follow the noisy states, A_{t-1} h_i, as the moment recursion has it.

    Args:
        key: of the noise.
        demonstrations: of M independent prompts, ``[M, N, D]``.
        weights: of every layer.
        b: virtual subsample.
        subspace: where the ridge's noise goes; not ``symmetric``, which moves.
        ridge: extra noise. At b = N and without one, the algorithm is the deterministic one.

    Raises:
        ValueError: shapes that disagree, values that are not finite, N < 2, b outside 1 .. N,
            a negative ridge, or a ridge in the symmetric subspace.
    """
    require(demonstrations.ndim == 3, "demonstrations", "[M, N, D]", demonstrations.shape)
    require_finite("demonstrations", demonstrations)
    replicates, n, width = demonstrations.shape
    check_weights(weights, width)
    check_ridge(ridge)
    require(ridge is None or subspace != "symmetric", "subspace", "fixed with a ridge", subspace)
    dimension(subspace, width)
    kind, level = ridge or ("absolute", 0.0)
    prompts = jnp.asarray(demonstrations)
    layers = weights.value.shape[0]
    for_gradients, for_ridge = jax.random.split(key)
    eps = jax.random.normal(for_gradients, (replicates, layers, n), prompts.dtype)
    extra = None
    if level > 0:
        inside = jnp.asarray(indicator(subspace, width), prompts.dtype)
        shape = (replicates, layers, width, width)
        extra = np.sqrt(level) * inside * jax.random.normal(for_ridge, shape, prompts.dtype)
    share = 1 + np.sqrt(kappa(n, b) / n) * (n * eps - eps.sum(-1, keepdims=True))
    scale = jnp.asarray(kappa(n, b) if kind == "relative" else 0.0, prompts.dtype)
    return _noisy(prompts, weights, share, extra, scale)


@jax.jit
@partial(jax.vmap, in_axes=(0, None, 0, 0, None))
def _noisy(
    demonstrations: Array, weights: Weights, share: Array, extra: Array | None, scale: Array
) -> Noisy:
    """One replicate; ``extra`` in units of tr C_t where ``scale``, kappa, is not 0."""

    def layer(
        state: Array, inputs: tuple[Weights, Array, Array | None]
    ) -> tuple[Array, tuple[Array, Factors]]:
        weight, share, extra = inputs
        factors = layer_factors(demonstrations, weight, state)
        after = state + (factors.v * share[:, None]).T @ factors.r
        if extra is not None:
            trace = jnp.where(scale > 0, _trace(_gram(factors), scale), 1)
            after = after + jnp.sqrt(trace) * extra
        return after, (after, factors)

    start = jnp.eye(demonstrations.shape[1], dtype=demonstrations.dtype)
    _, (states, factors) = jax.lax.scan(layer, start, (weights, share, extra))
    return Noisy(jnp.concatenate([start[None], states]), factors)


def _trace(gram_matrix: Array, scale: Array) -> Array:
    """The trace of C from the uncentred Gram matrix."""
    n = gram_matrix.shape[-1]
    whole = gram_matrix.sum((-2, -1)) / n
    return scale / n * (jnp.trace(gram_matrix, axis1=-2, axis2=-1) - whole)
