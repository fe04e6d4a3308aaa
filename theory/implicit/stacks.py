"""Stacks of linear attention run directly, and their implicit trajectories."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from theory.checks import Real, real, require, require_finite
from theory.implicit.weights import (
    Mlp,
    Weights,
    check_stack,
    check_weights,
    has_heads,
    with_heads,
)
from theory.precision import by_input

Activation = Literal["linear", "relu"]
ACTIVATIONS = ("linear", "relu")


class Updates(NamedTuple):
    """The implicit trajectory of the test token.

    Attributes:
        update: dW_t, ``[L, D, D]``.
        gradient: G_t = dW_t A_{t-1}, ``[L, D, D]``.
        state: A_t = I + W_t from A_0 = I on, ``[L + 1, D, D]``.
    """

    update: Float[Array | np.ndarray, "L D D"]
    gradient: Float[Array | np.ndarray, "L D D"]
    state: Float[Array | np.ndarray, "layers D D"]


class Factors(NamedTuple):
    """Each demonstration's share of every layer, as outer products; each ``[L, N, D]``.

    dW_t = sum_i v_i q_i^T and G_t = sum_i v_i r_i^T; example i's gradient is g_i = N v_i r_i^T.
    With several heads ``[L, N, H, D]``, and sums over heads too: g_i = N sum_h v_ih r_ih^T.
    """

    v: Float[Array | np.ndarray, "*layers N D"]
    q: Float[Array | np.ndarray, "*layers N D"]
    r: Float[Array | np.ndarray, "*layers N D"]


def attention_mask(n: int, causal: bool) -> Bool[Array, "queries keys"]:
    """Which keys each token sees: ``[N + 1, N + 1]``, the test token last and no one's key."""
    keys = jnp.arange(n + 1)
    visible = jnp.broadcast_to(keys < n, (n + 1, n + 1))
    return visible & (keys[None, :] <= keys[:, None]) if causal else visible


def _gate(z: Array, activation: Activation) -> Array:
    """The factor by which the activation multiplies each hidden feature."""
    return jnp.ones_like(z) if activation == "linear" else (z > 0).astype(z.dtype)


def _attend(tokens: Array, layer: Weights, mask: Array) -> Array:
    """What attention alone adds to every token; a layer's matrices are ``[H, ., D]``."""
    value, key, query = (jnp.einsum("nd,had->hna", tokens, matrix) for matrix in layer)
    scores = jnp.where(mask, jnp.einsum("hqa,hka->hqk", query, key), 0)
    return jnp.einsum("hqk,hka->qa", scores, value)


@by_input
def masked_linear_stack(
    tokens: Real,
    weights: Weights,
    *,
    causal: bool = False,
    mlp: Mlp | None = None,
    activation: Activation = "linear",
) -> Float[Array | np.ndarray, "layers tokens D"]:
    """Every layer's tokens, run directly: ``[L + 1, N + 1, D]``, the input first.

    Args:
        tokens: ``[N + 1, D]``, the test token last.
        weights: of every layer; one head or several.
        causal: each demonstration sees itself and those before it only. Theorem 1 still holds for
            the test token, but the demonstrations no longer follow A_t.
        mlp: applied to what attention adds, before the residual connection (the paper's A.3).
        activation: of the MLP. The paper drops it (``linear``).

    Raises:
        ValueError: shapes that disagree, no demonstration, an unknown activation, or values that
            are not finite real numbers.
    """
    tokens, weights, mlp = _checked(tokens, weights, mlp, activation)
    return _stack(tokens, with_heads(weights), mlp, causal, activation)


def _checked(
    tokens: Real, weights: Weights, mlp: Mlp | None, activation: Activation
) -> tuple[Array | np.ndarray, Weights, Mlp | None]:
    require(activation in ACTIVATIONS, "activation", "linear or relu", repr(activation))
    tokens, weights, mlp = real(tokens=tokens, weights=weights, mlp=mlp)
    check_stack(tokens, weights, mlp)
    return tokens, weights, mlp


@partial(jax.jit, static_argnames=("causal", "activation"))
def _stack(
    tokens: Array, weights: Weights, mlp: Mlp | None, causal: bool, activation: Activation
) -> Array:
    mask = attention_mask(tokens.shape[0] - 1, causal)

    def layer(h: Array, parameters: tuple[Weights, Mlp | None]) -> tuple[Array, Array]:
        attention, feed_forward = parameters
        added = _attend(h, attention, mask)
        if feed_forward is not None:
            hidden = added @ feed_forward.inner.T
            added = (hidden * _gate(hidden, activation)) @ feed_forward.outer.T
        return h + added, h + added

    tokens = jnp.asarray(tokens)
    _, later = jax.lax.scan(layer, tokens, (weights, mlp))
    return jnp.concatenate([tokens[None], later])


@by_input
def example_factors(
    tokens: Real,
    weights: Weights,
    *,
    causal: bool = False,
    mlp: Mlp | None = None,
    activation: Activation = "linear",
) -> Factors:
    """v_i, q_i and r_i of every demonstration in every layer, each ``[L, N, D]``.

    With several heads ``[L, N, H, D]``. Arguments and errors as in :func:`masked_linear_stack`.
    With an MLP v_i = W_MLP W_V h_i. With an activation W_MLP = W_2 diag(gate) W_1, and the gate is
    the *test token's*: the trajectory is then exact for this query and for no other (the paper
    drops the activation instead, A.3).
    """
    tokens, weights, mlp = _checked(tokens, weights, mlp, activation)
    factors = _trajectory(tokens, with_heads(weights), mlp, causal, activation)[0]
    return factors if has_heads(weights) else Factors(*(factor[:, :, 0] for factor in factors))


@by_input
def updates(
    tokens: Real,
    weights: Weights,
    *,
    causal: bool = False,
    mlp: Mlp | None = None,
    activation: Activation = "linear",
) -> Updates:
    """dW_t, G_t and A_t of Theorem 1, from the demonstrations' tokens of each layer.

    Arguments and errors as in :func:`masked_linear_stack`, the gate as in :func:`example_factors`.
    The test token matters for the gate only. rank dW_t <= min(N, D, the rank of each matrix) with
    one head; with several the ranks of the heads add.
    """
    tokens, weights, mlp = _checked(tokens, weights, mlp, activation)
    return _trajectory(tokens, with_heads(weights), mlp, causal, activation)[1]


@partial(jax.jit, static_argnames=("causal", "activation"))
def _trajectory(
    tokens: Array, weights: Weights, mlp: Mlp | None, causal: bool, activation: Activation
) -> tuple[Factors, Updates]:
    tokens = jnp.asarray(tokens)
    every = _stack(tokens, weights, mlp, causal, activation)[:-1]

    def layer(
        state: Array, inputs: tuple[Array, Weights, Mlp | None]
    ) -> tuple[Array, tuple[Factors, Updates]]:
        h, attention, feed_forward = inputs
        demonstrations, test = h[:-1], h[-1]
        v, q = head_factors(demonstrations, attention)
        if feed_forward is not None:
            inner, outer = feed_forward
            attended = jnp.einsum("nha,nh->a", v, q @ test)
            v = (v @ inner.T * _gate(jnp.asarray(inner @ attended), activation)) @ outer.T
        factors = Factors(v, q, q @ state)
        gradient = jnp.einsum("nha,nhd->ad", v, factors.r)
        after = state + gradient
        return after, (factors, Updates(jnp.einsum("nha,nhd->ad", v, q), gradient, after))

    start = jnp.eye(tokens.shape[1], dtype=tokens.dtype)
    _, (factors, steps) = jax.lax.scan(layer, start, (every, weights, mlp))
    return factors, steps._replace(state=jnp.concatenate([start[None], steps.state]))


def head_factors(demonstrations: Array, layer: Weights) -> tuple[Array, Array]:
    """v_i and q_i of one layer ``[H, ., D]`` by head, each ``[N, H, .]``."""
    v = jnp.einsum("nd,had->nha", demonstrations, layer.value)
    q = jnp.einsum("nd,had,hae->nhe", demonstrations, layer.key, layer.query)
    return v, q


@by_input
def moment_recursion(moment: Real, weights: Weights) -> Float[Array | np.ndarray, "layers D D"]:
    """A_t from S = H_s H_s^T alone: A_t = (I + W_V A S A^T W_K^T W_Q) A with A = A_{t-1}.

    So the trajectory depends on the demonstrations through S only: rotating them, H_s Q with Q
    orthogonal, or permuting them, changes nothing. Holds under the mask M (not with a causal one),
    where the demonstrations follow the same map as the test token, H^t = A_t H^0.

    Args:
        moment: S, ``[D, D]``.
        weights: of every layer; the heads of a layer add.

    Returns:
        ``[L + 1, D, D]``, the identity first.

    Raises:
        ValueError: shapes that disagree, or values that are not finite real numbers.
    """
    moment, weights = real(moment=moment, weights=weights)
    square = moment.ndim == 2 and moment.shape[0] == moment.shape[1]
    require(square, "moment", "a square matrix", moment.shape)
    require_finite("moment", moment)
    check_weights(weights, moment.shape[0])
    return _recursion(moment, with_heads(weights))


@jax.jit
def _recursion(moment: Array, weights: Weights) -> Array:
    def layer(a: Array, w: Weights) -> tuple[Array, Array]:
        after = a + (w.value @ a @ moment @ a.T @ w.key.swapaxes(-1, -2) @ w.query @ a).sum(0)
        return after, after

    moment = jnp.asarray(moment)
    start = jnp.eye(moment.shape[0], dtype=moment.dtype)
    return jnp.concatenate([start[None], jax.lax.scan(layer, start, weights)[1]])
