"""The noisy algorithm of the paper's Assumption 1, simulated."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from theory.checks import Real, real, require, require_finite
from theory.implicit import Factors, Weights, check_weights, has_heads, head_factors, with_heads
from theory.noise.ridge import Ridge, check_ridge
from theory.noise.spectrum import gram_by_head, kappa
from theory.precision import by_input
from theory.subspaces import MOVING, Subspace, check_subspace, indicator


class Noisy(NamedTuple):
    """Replicates of the noisy algorithm.

    Attributes:
        states: A_t from A_0 = I on, ``[M, L + 1, D, D]``.
        factors: of each layer at the noisy states, each ``[M, L, N, D]``; with several heads
            ``[M, L, N, H, D]``.
    """

    states: Float[Array | np.ndarray, "M layers D D"]
    factors: Factors


def layer_factors(demonstrations: Array, layer: Weights, state: Array) -> Factors:
    """v_i, q_i and r_i of one layer ``[H, ., D]``, the demonstrations' tokens being A_{t-1} h_i."""
    v, q = head_factors(demonstrations @ state.T, layer)
    return Factors(v, q, q @ state)


@by_input
def noisy_trajectory(
    key: PRNGKeyArray,
    demonstrations: Real,
    weights: Weights,
    b: int | None = None,
    *,
    threshold: int | None = None,
    subspace: Subspace = "full",
    ridge: Ridge = None,
) -> Noisy:
    """Run the noisy algorithm: A_t = A_{t-1} + G_t + C_t^{1/2} xi_t, and sqrt(lam_t) xi'_t.

    The first noise is drawn through the N gradients, sqrt(kappa/N) sum_i eps_i (g_i - G), which has
    covariance C; the ridge adds independent noise in every direction of the subspace. The
    demonstrations' tokens follow the noisy states, A_{t-1} h_i, as the moment recursion has it.

    A stack that diverges returns infinities or NaN, which :func:`theory.bounds.measure` reports.

    Args:
        key: of the noise.
        demonstrations: of M independent prompts, ``[M, N, D]``.
        weights: of every layer; one head or several.
        b: virtual subsample, see :func:`theory.noise.kappa`.
        threshold: the paper's reading, see :func:`theory.noise.kappa`.
        subspace: where the ridge's noise goes; with a ridge none that moves with the state.
        ridge: extra noise. At b = N and without one, the algorithm is the deterministic one.

    Raises:
        ValueError: shapes that disagree, values that are not finite real numbers, N < 2, b or
            threshold out of range, what is no ridge, or a ridge in a subspace that moves.
    """
    demonstrations, weights = real(demonstrations=demonstrations, weights=weights)
    require(demonstrations.ndim == 3, "demonstrations", "[M, N, D]", demonstrations.shape)
    require_finite("demonstrations", demonstrations)
    replicates, n, width = demonstrations.shape
    check_weights(weights, width)
    check_ridge(ridge)
    check_subspace(subspace, width)
    require(ridge is None or subspace not in MOVING, "subspace", "fixed with a ridge", subspace)
    kind, level = ridge or ("absolute", 0.0)
    variance = kappa(n, b, threshold=threshold)
    prompts = jnp.asarray(demonstrations)
    layers = weights.value.shape[0]
    for_gradients, for_ridge = jax.random.split(key)
    eps = jax.random.normal(for_gradients, (replicates, layers, n), prompts.dtype)
    extra = None
    if level > 0:
        inside = jnp.asarray(indicator(subspace, width), prompts.dtype)
        shape = (replicates, layers, width, width)
        extra = np.sqrt(level) * inside * jax.random.normal(for_ridge, shape, prompts.dtype)
    share = 1 + np.sqrt(variance / n) * (n * eps - eps.sum(-1, keepdims=True))
    scale = jnp.asarray(variance if kind == "relative" else 0.0, prompts.dtype)
    states, factors = _noisy(prompts, with_heads(weights), share, extra, scale)
    if not has_heads(weights):
        factors = Factors(*(factor[..., 0, :] for factor in factors))
    return Noisy(states, factors)


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
        after = state + jnp.einsum("nha,nhd->ad", factors.v * share[:, None, None], factors.r)
        if extra is not None:
            after = after + jnp.where(scale > 0, _root_of_trace(factors, scale), 1) * extra
        return after, (after, factors)

    start = jnp.eye(demonstrations.shape[1], dtype=demonstrations.dtype)
    _, (states, factors) = jax.lax.scan(layer, start, (weights, share, extra))
    return Noisy(jnp.concatenate([start[None], states]), factors)


def _root_of_trace(factors: Factors, scale: Array) -> Array:
    """The root of tr C, in scaled units: its square may be outside the floating-point range."""
    sizes = [jnp.abs(a).max() for a in (factors.v, factors.r)]
    v, r = (
        a / jnp.where(size > 0, size, 1)
        for a, size in zip((factors.v, factors.r), sizes, strict=True)
    )
    gram_matrix = gram_by_head(Factors(v, v, r))
    n = gram_matrix.shape[-1]
    whole = gram_matrix.sum((-2, -1)) / n
    trace = scale / n * (jnp.trace(gram_matrix, axis1=-2, axis2=-1) - whole)
    return sizes[0] * sizes[1] * jnp.sqrt(jnp.maximum(trace, 0))
