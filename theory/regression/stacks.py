"""What stacks of linear attention predict, and the gradient step that a layer amounts to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.checks import require, require_finite
from theory.implicit import Weights, check_weights
from theory.precision import by_input

Real = Array | np.ndarray


@by_input
def predict(
    weights: Weights, demonstrations: Float[Real, "N D"], query: Float[Real, "..."]
) -> Float[Real, ""]:
    """Minus the query's last entry after all layers of masked linear attention.

    As :func:`theory.implicit.masked_linear_stack` without what training does not need: the
    layers' tokens, and the demonstrations after the last layer. ``vmap`` for batches.

    Raises:
        ValueError: shapes that disagree, or values that are not finite.
    """
    width = demonstrations.shape[1]
    check_weights(weights, width)
    require(query.shape == (width,), "query", f"of shape {(width,)}", query.shape)
    for name, tokens in (("demonstrations", demonstrations), ("query", query)):
        require_finite(name, tokens)
    seen, test_input = jnp.asarray(demonstrations), jnp.asarray(query)
    layers = weights.value.shape[0]
    for layer in range(layers):
        value, key, question = (matrix[layer] for matrix in weights)
        keys, values = seen @ key.T @ question, seen @ value.T
        test_input = test_input + (keys @ test_input) @ values
        if layer < layers - 1:
            seen = seen + (seen @ keys.T) @ values
    return -test_input[-1]


@by_input
def implicit_regressor(weights: Weights, demonstrations: Float[Real, "N D"]) -> Float[Real, " D-1"]:
    """The w-hat with which the stack predicts <w-hat, x>: its prediction's sensitivity to x.

    Exact, since the prediction is linear in the query; for gradient descent, its iterate.
    """
    start = jnp.zeros(demonstrations.shape[-1], demonstrations.dtype)
    return jax.grad(predict, argnums=2)(weights, demonstrations, start)[:-1]


class LearnedStep(NamedTuple):
    """One layer read as a step of preconditioned gradient descent.

    Attributes:
        preconditioner: B of the prediction (1/N) sum_i y_i x_i^T B x.
        stray: the largest of the two ratios |p_x| / |p_y| and |q_y| / |Q_x| (see
            :func:`learned_step`): how much of the layer is anything else.
    """

    preconditioner: Float[Real, "d d"]
    stray: Float[Real, ""]


@by_input
def learned_step(weights: Weights, n: int) -> LearnedStep:
    """Read a trained stack of one layer as the step of Ahn et al. (2023, Theorem 1).

    With p = (p_x, p_y) the last row of W_V and W_K^T W_Q = [[Q_x, .], [q_y, .]], the prediction is
    -sum_i (p_x . x_i + p_y y_i)(x_i^T Q_x + y_i q_y) x: the terms in y_i x_i make
    B = -N (p_y Q_x + p_x q_y), those in x_i x_i^T and y_i^2 have no part in gradient descent.

    Raises:
        ValueError: more than one layer.
    """
    require(weights.value.shape[0] == 1, "weights", "one layer", weights.value.shape[0])
    p, q = jnp.asarray(weights.value)[0, -1], (weights.key[0].T @ weights.query[0])[:, :-1]
    norm = jnp.linalg.norm
    stray = jnp.maximum(norm(p[:-1]) / jnp.abs(p[-1]), norm(q[-1]) / norm(q[:-1]))
    return LearnedStep(-n * (p[-1] * q[:-1] + jnp.outer(p[:-1], q[-1])), stray)
