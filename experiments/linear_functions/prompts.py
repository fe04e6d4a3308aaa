"""Prompts of linear functions, and the estimators that need no training.

Shape letters, beside those of :mod:`jaxsvd.models.config`: B prompts, P points of a prompt, d
dimensions of x. A prediction at point i has seen the i points before it, its *examples*.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from theory import reference, regression
from theory.regression.tasks import RandomKey


class RegressionPrompts(NamedTuple):
    """x ~ N(0, I), w ~ N(0, I), a fresh w for every prompt, and y = <w, x> without noise."""

    x: Float[Array, "B P d"]
    y: Float[Array, "B P"]
    w: Float[Array, "B d"]


def draw(key: RandomKey, batch: int, points: int, d: int) -> RegressionPrompts:
    """A batch of prompts; the key decides everything."""
    drawn = regression.sample(key, regression.Task(d), points - 1, (batch,))
    tokens = jnp.concatenate([drawn.demonstrations, drawn.query[:, None]], axis=1)
    y = jnp.concatenate([drawn.demonstrations[..., -1], drawn.target[:, None]], axis=1)
    return RegressionPrompts(tokens[..., :-1], y, drawn.w)


def errors(predictions: Float[Array, "B P"], prompts: RegressionPrompts) -> Float[Array, "B P"]:
    """The normalised squared error (prediction - <w, x>)^2 / d: 1 on average for predicting 0."""
    return (predictions - prompts.y) ** 2 / prompts.x.shape[-1]


def baseline_errors(baseline: str, prompts: RegressionPrompts) -> Float64[np.ndarray, "B P"]:
    """The normalised squared error of one of :data:`BASELINES`, in float64 throughout.

    y is computed anew: where d examples happen to be nearly dependent, fitting y rounded to
    float32 exactly is no longer fitting w.
    """
    x, w = np.asarray(prompts.x, np.float64), np.asarray(prompts.w, np.float64)
    y = np.einsum("bpd,bd->bp", x, w)
    return (BASELINES[baseline](x, y) - y) ** 2 / x.shape[-1]


def zero(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Predicts 0; expected error 1."""
    del x
    return np.zeros_like(y)


def averaging(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """<w', x> with w' the mean of y_j x_j over the examples; expected error (d + 1) / examples."""
    return _by_regressor(x, y, lambda x, y: np.einsum("bkd,bk->bd", x, y) / max(1, x.shape[1]))


def least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """<w', x> with w' the w of least norm among those that fit the examples best.

    Expected error max(0, 1 - examples / d): the part of w outside the examples' span.
    """
    return _by_regressor(x, y, _least_norm)


def _by_regressor(
    x: np.ndarray, y: np.ndarray, fit: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    fitted = [fit(x[:, :k], y[:, :k]) for k in range(x.shape[1])]
    return np.stack([np.einsum("bd,bd->b", w, x[:, k]) for k, w in enumerate(fitted)], axis=1)


def _least_norm(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    examples, d = x.shape[1:]
    if examples == d:
        return np.linalg.solve(x, y[..., None])[..., 0]
    # Gram matrices of Gaussian examples are regular away from examples = d, and far quicker than
    # a pseudo-inverse for every prompt.
    if examples < d:
        dual = np.linalg.solve(x @ x.mT, y[..., None])
        return (x.mT @ dual)[..., 0]
    return np.linalg.solve(x.mT @ x, x.mT @ y[..., None])[..., 0]


BASELINES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "least squares": least_squares,
    "averaging": averaging,
    "zero": zero,
}
"""Name -> predictions ``[B, P]`` of x ``[B, P, d]`` and y ``[B, P]``, in float64."""


def expected_error(baseline: str, examples: int, d: int) -> float:
    """The closed form of a baseline's normalised error (:mod:`theory.reference`)."""
    if baseline == "zero" or examples == 0:
        return reference.zero_loss()  # no examples: every baseline predicts 0
    if baseline == "averaging":
        return reference.averaging_loss(examples, d)
    return reference.least_squares_loss(examples, d)
