"""Linear attention as gradient descent on an implicit weight (the paper's Lemma 1 and Theorem 1).

Tokens are rows here and columns in the paper: ``tokens[:-1]`` are the N demonstrations, transposed
H_s, and ``tokens[-1]`` is the test token. Matrices act on the left of a token, as in the paper.
With the mask M demonstrations attend to demonstrations and the test token to demonstrations
only. Then, writing A_t = I + W_t,

    h^t_{N+1} = A_t h^0_{N+1},   A_t = (I + dW_t) A_{t-1},   G_t = dW_t A_{t-1},
    dW_t = sum_i v_i q_i^T,   G_t = sum_i v_i r_i^T,   v_i = W_V h_i,   q_i = W_Q^T W_K h_i,
    r_i = A_{t-1}^T q_i,   with h_i the demonstrations' tokens of layer t - 1.

Slips of the paper that matter here: the "1" of its equations is the identity matrix, and the sum
over j of G_t in Theorem 2 is the sum of G_j, which is W_{t-1}.

Batches of prompts: ``jax.vmap``.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from theory.checks import require, require_finite
from theory.precision import by_input

Real = Float[Array | np.ndarray, "..."]
Activation = Literal["linear", "relu"]


class Weights(NamedTuple):
    """A stack of linear-attention layers: W_V, W_K and W_Q, each ``[L, D, D]``."""

    value: Float[Array | np.ndarray, "L D D"]
    key: Float[Array | np.ndarray, "L D D"]
    query: Float[Array | np.ndarray, "L D D"]


class Mlp(NamedTuple):
    """An MLP after each attention: outer activation(inner z); ``[L, F, D]`` and ``[L, D, F]``."""

    inner: Float[Array | np.ndarray, "L F D"]
    outer: Float[Array | np.ndarray, "L D F"]


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
    """

    v: Float[Array | np.ndarray, "*layers N D"]
    q: Float[Array | np.ndarray, "*layers N D"]
    r: Float[Array | np.ndarray, "*layers N D"]


def check_weights(weights: Weights, width: int) -> None:
    """Refuse stacks whose shapes disagree, and what is not finite.

    Raises:
        ValueError: naming the matrix.
    """
    layers = weights.value.shape[0]
    for name, matrix in zip(Weights._fields, weights, strict=True):
        wanted = (layers, width, width)
        require(matrix.shape == wanted, f"weights.{name}", f"of shape {wanted}", matrix.shape)
        require_finite(f"weights.{name}", matrix)


def check_tokens(argument: str, tokens: Real, fewest: int) -> None:
    """Refuse what is no matrix of at least ``fewest`` tokens, and what is not finite."""
    require(tokens.ndim == 2, argument, "a matrix with a token in each row", tokens.shape)
    require(tokens.shape[0] >= fewest, argument, f"at least {fewest} tokens", tokens.shape[0])
    require_finite(argument, tokens)


def _check(tokens: Real, weights: Weights, mlp: Mlp | None) -> None:
    check_tokens("tokens", tokens, 2)
    width = tokens.shape[1]
    check_weights(weights, width)
    if mlp is not None:
        layers, hidden = weights.value.shape[0], mlp.inner.shape[1]
        for name, matrix, wanted in (
            ("inner", mlp.inner, (layers, hidden, width)),
            ("outer", mlp.outer, (layers, width, hidden)),
        ):
            require(matrix.shape == wanted, f"mlp.{name}", f"of shape {wanted}", matrix.shape)
            require_finite(f"mlp.{name}", matrix)


def attention_mask(n: int, causal: bool) -> Bool[Array, "queries keys"]:
    """Which keys each token sees: ``[N + 1, N + 1]``, the test token last and no one's key."""
    keys = jnp.arange(n + 1)
    visible = jnp.broadcast_to(keys < n, (n + 1, n + 1))
    return visible & (keys[None, :] <= keys[:, None]) if causal else visible


def _gate(z: Array, activation: Activation) -> Array:
    """The factor by which the activation multiplies each hidden feature."""
    return jnp.ones_like(z) if activation == "linear" else (z > 0).astype(z.dtype)


def _attend(tokens: Array, layer: Weights, mask: Array) -> Array:
    """What attention alone adds to every token."""
    value, key, query = (tokens @ matrix.T for matrix in layer)
    return jnp.where(mask, query @ key.T, 0) @ value


@by_input
def masked_linear_stack(
    tokens: Float[Array | np.ndarray, "..."],
    weights: Weights,
    *,
    causal: bool = False,
    mlp: Mlp | None = None,
    activation: Activation = "linear",
) -> Float[Array | np.ndarray, "layers tokens D"]:
    """Every layer's tokens, run directly: ``[L + 1, N + 1, D]``, the input first.

    Args:
        tokens: ``[N + 1, D]``, the test token last.
        weights: of every layer.
        causal: each demonstration sees itself and those before it only. Theorem 1 still holds for
            the test token, but the demonstrations no longer follow A_t.
        mlp: applied to what attention adds, before the residual connection (the paper's A.3).
        activation: of the MLP. The paper drops it (``linear``).

    Raises:
        ValueError: shapes that disagree, no demonstration, or values that are not finite.
    """
    _check(tokens, weights, mlp)
    return _stack(tokens, weights, mlp, causal, activation)


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
    tokens: Float[Array | np.ndarray, "..."],
    weights: Weights,
    *,
    causal: bool = False,
    mlp: Mlp | None = None,
    activation: Activation = "linear",
) -> Factors:
    """v_i, q_i and r_i of every demonstration in every layer, each ``[L, N, D]``.

    Arguments and errors as in :func:`masked_linear_stack`. With an MLP v_i = W_MLP W_V h_i. With an
    activation W_MLP = W_2 diag(gate) W_1, and the gate is the *test token's*: the trajectory is
    then exact for this query and for no other (the paper drops the activation instead, A.3).
    """
    _check(tokens, weights, mlp)
    return _trajectory(tokens, weights, mlp, causal, activation)[0]


@by_input
def updates(
    tokens: Float[Array | np.ndarray, "..."],
    weights: Weights,
    *,
    causal: bool = False,
    mlp: Mlp | None = None,
    activation: Activation = "linear",
) -> Updates:
    """dW_t, G_t and A_t of Theorem 1, from the demonstrations' tokens of each layer.

    Arguments and errors as in :func:`masked_linear_stack`, the gate as in :func:`example_factors`.
    The test token matters for the gate only. rank dW_t <= min(N, D, the rank of each matrix).
    """
    _check(tokens, weights, mlp)
    return _trajectory(tokens, weights, mlp, causal, activation)[1]


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
        v = demonstrations @ attention.value.T
        q = demonstrations @ attention.key.T @ attention.query
        if feed_forward is not None:
            inner, outer = feed_forward
            v = (v @ inner.T * _gate(v.T @ (q @ test) @ inner.T, activation)) @ outer.T
        factors = Factors(v, q, q @ state)
        gradient = v.T @ factors.r
        after = state + gradient
        return after, (factors, Updates(v.T @ q, gradient, after))

    start = jnp.eye(tokens.shape[1], dtype=tokens.dtype)
    _, (factors, steps) = jax.lax.scan(layer, start, (every, weights, mlp))
    return factors, steps._replace(state=jnp.concatenate([start[None], steps.state]))


@by_input
def moment_recursion(
    moment: Float[Array | np.ndarray, "..."], weights: Weights
) -> Float[Array | np.ndarray, "layers D D"]:
    """A_t from S = H_s H_s^T alone: A_t = (I + W_V A S A^T W_K^T W_Q) A with A = A_{t-1}.

    So the trajectory depends on the demonstrations through S only: rotating them, H_s Q with Q
    orthogonal, changes nothing. Holds under the mask M (not with a causal one), where the
    demonstrations follow the same map as the test token, H^t = A_t H^0.

    Args:
        moment: S, ``[D, D]``.
        weights: of every layer.

    Returns:
        ``[L + 1, D, D]``, the identity first.

    Raises:
        ValueError: shapes that disagree, or values that are not finite.
    """
    square = moment.ndim == 2 and moment.shape[0] == moment.shape[1]
    require(square, "moment", "a square matrix", moment.shape)
    require_finite("moment", moment)
    check_weights(weights, moment.shape[0])
    return _recursion(moment, weights)


@jax.jit
def _recursion(moment: Array, weights: Weights) -> Array:
    def layer(a: Array, w: Weights) -> tuple[Array, Array]:
        after = a + w.value @ a @ moment @ a.T @ w.key.T @ w.query @ a
        return after, after

    moment = jnp.asarray(moment)
    start = jnp.eye(moment.shape[0], dtype=moment.dtype)
    return jnp.concatenate([start[None], jax.lax.scan(layer, start, weights)[1]])


def gd_weights(d: int, eta: float, n: int, *, layers: int = 1) -> Weights:
    """Layers that each take one step of gradient descent on in-context linear regression.

    The construction of von Oswald et al. (2023): with tokens [x, y], W_K = W_Q = diag(I_d, 0) and
    W_V = [[0, 0], [0, -eta / N]]. Then W_t[y, x] = -w_t, so the prediction is *minus* the test
    token's y entry; the demonstrations' y entries are the residuals; dW_t[y, x] is eta times the
    gradient of the mean halved squared error; and G_t = dW_t.

    Args:
        d: inputs; D = d + 1.
        eta: step size.
        n: demonstrations.
        layers: steps.

    Returns:
        In float64, as NumPy.

    Raises:
        ValueError: a count below 1, or a step size that is not finite.
    """
    for name, count in (("d", d), ("n", n), ("layers", layers)):
        require(count >= 1, name, "at least 1", count)
    require(bool(np.isfinite(eta)), "eta", "finite", eta)
    inputs = np.diag(np.append(np.ones(d), 0.0))
    value = np.zeros((d + 1, d + 1))
    value[d, d] = -eta / n
    value, inputs = (np.broadcast_to(m, (layers, d + 1, d + 1)).copy() for m in (value, inputs))
    return Weights(value, inputs, inputs.copy())
