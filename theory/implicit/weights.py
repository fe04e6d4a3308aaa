"""Weights of stacks of linear attention: one head or several, square or rectangular."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.checks import Real, real, require, require_finite, require_whole
from theory.precision import by_input


class Weights(NamedTuple):
    """A stack of linear-attention layers.

    One head: W_V ``[L, D, D]``, W_K and W_Q ``[L, w, D]`` (w = D in the paper's main text). Several
    heads, whose outputs add: W_V ``[L, H, D, D]``, W_K and W_Q ``[L, H, w, D]``; see
    :func:`multi_head` for heads with an output matrix. With an :class:`Mlp` behind it W_V may end
    in another width than D (the paper's A.3): ``[L, d, D]``.
    """

    value: Float[Array | np.ndarray, "L *H D D"]
    key: Float[Array | np.ndarray, "L *H w D"]
    query: Float[Array | np.ndarray, "L *H w D"]


class Mlp(NamedTuple):
    """An MLP after each attention: outer activation(inner z); ``[L, F, d]`` and ``[L, D, F]``."""

    inner: Float[Array | np.ndarray, "L F d"]
    outer: Float[Array | np.ndarray, "L D F"]


def has_heads(weights: Weights) -> bool:
    """Whether the stack has an axis of heads."""
    return weights.value.ndim == 4


def with_heads(weights: Weights) -> Weights:
    """The same stack with an axis of heads."""
    if has_heads(weights):
        return weights
    return Weights(*(matrix[:, None] for matrix in weights))


@by_input
def multi_head(value: Real, key: Real, query: Real, output: Real) -> Weights:
    """A stack of multi-head layers from the matrices that a transformer stores.

    W_V of a head becomes M W_V, M its columns of W_O: D x D of rank w at most. The layer's update
    is the sum of the heads', and so is Theorem 1's.

    Args:
        value: ``[L, H, w, D]``.
        key: ``[L, H, w, D]``.
        query: ``[L, H, w, D]``.
        output: W_O by head, ``[L, H, D, w]``.

    Raises:
        ValueError: shapes that disagree.
    """
    value, key, query, output = real(value=value, key=key, query=query, output=output)
    require(value.ndim == 4, "value", "[L, H, w, D]", value.shape)
    layers, heads, width, model = value.shape
    for name, matrix in (("key", key), ("query", query)):
        agrees = matrix.ndim == 4 and matrix.shape == (layers, heads, matrix.shape[2], model)
        require(agrees, name, f"[{layers}, {heads}, w, {model}]", matrix.shape)
    wanted = (layers, heads, model, width)
    require(output.shape == wanted, "output", f"of shape {wanted}", output.shape)
    return Weights(jnp.asarray(output) @ value, jnp.asarray(key), jnp.asarray(query))


def check_weights(weights: Weights, width: int, *, output: int | None = None) -> None:
    """Refuse stacks whose shapes disagree, and what is not finite.

    Args:
        weights: arrays, not lists (:func:`theory.checks.real`).
        width: D.
        output: rows of W_V; D where it is None.

    Raises:
        ValueError: naming the matrix.
    """
    several = weights.value.ndim == 4
    require(weights.value.ndim in (3, 4), "weights.value", "[L, D, D]", weights.value.shape)
    first = weights.value.shape[: 2 if several else 1]
    inner = weights.key.shape[-2] if weights.key.ndim >= 2 else width
    shapes = ((output or width, width), (inner, width), (inner, width))
    for name, matrix, last in zip(Weights._fields, weights, shapes, strict=True):
        wanted = (*first, *last)
        require(matrix.shape == wanted, f"weights.{name}", f"of shape {wanted}", matrix.shape)
        require_finite(f"weights.{name}", matrix)


def check_tokens(argument: str, tokens: Array | np.ndarray, fewest: int) -> None:
    """Refuse what is no matrix of at least ``fewest`` tokens, and what is not finite."""
    require(tokens.ndim == 2, argument, "a matrix with a token in each row", tokens.shape)
    require(tokens.shape[0] >= fewest, argument, f"at least {fewest} tokens", tokens.shape[0])
    require_finite(argument, tokens)


def check_stack(tokens: Array | np.ndarray, weights: Weights, mlp: Mlp | None) -> None:
    """Refuse tokens, weights and an MLP that do not fit together."""
    check_tokens("tokens", tokens, 2)
    width = tokens.shape[1]
    if mlp is None:
        check_weights(weights, width)
        return
    require(weights.value.ndim in (3, 4), "weights.value", "[L, d, D]", weights.value.shape)
    layers, between = weights.value.shape[0], weights.value.shape[-2]
    check_weights(weights, width, output=between)
    require(mlp.inner.ndim == 3, "mlp.inner", "[L, F, d]", mlp.inner.shape)
    hidden = mlp.inner.shape[1]
    for name, matrix, wanted in (
        ("inner", mlp.inner, (layers, hidden, between)),
        ("outer", mlp.outer, (layers, width, hidden)),
    ):
        require(matrix.shape == wanted, f"mlp.{name}", f"of shape {wanted}", matrix.shape)
        require_finite(f"mlp.{name}", matrix)


def gd_weights(d: int, eta: float, n: int, *, layers: int = 1) -> Weights:
    """Layers that each take one step of gradient descent on in-context linear regression.

    The construction of von Oswald et al. (2023): with tokens [x, y], W_K = W_Q = diag(I_d, 0) and
    W_V = [[0, 0], [0, -eta / N]]. Then W_t[y, x] = -w_t, so the prediction is *minus* the test
    token's y entry; the demonstrations' y entries are the residuals; dW_t[y, x] is eta times the
    gradient of the mean halved squared error; and G_t = dW_t.

    The 1 / N stands in W_V because the paper's dW is a *sum* over demonstrations: without it the
    step grows with N, and a deep stack diverges.

    Args:
        d: inputs; D = d + 1.
        eta: step size.
        n: demonstrations.
        layers: steps; 0 for the empty stack.

    Returns:
        In float64, as NumPy.

    Raises:
        ValueError: a count that is too small or not whole, or a step size that is not finite.
    """
    for name, count, lowest in (("d", d, 1), ("n", n, 1), ("layers", layers, 0)):
        require_whole(name, count, lowest)
    require(bool(np.isfinite(eta)), "eta", "finite", eta)
    inputs = np.diag(np.append(np.ones(d), 0.0))
    value = np.zeros((d + 1, d + 1))
    value[d, d] = -eta / n
    value, inputs = (np.broadcast_to(m, (layers, d + 1, d + 1)).copy() for m in (value, inputs))
    return Weights(value, inputs, inputs.copy())
