"""Distributions of regression problems, prompts drawn from them, and losses."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt32

from theory.checks import require
from theory.precision import by_input

Real = Array | np.ndarray
RandomKey = Key[Array, ""] | UInt32[Array, "2"]


@dataclass(frozen=True)
class Task:
    """A distribution of regression problems.

    Attributes:
        d: dimension of x.
        noise: standard deviation of the labels' noise, on demonstrations and on the target.
        inputs: ``gaussian``, or ``uniform`` on (-half_width, half_width)^d.
        covariance: variances of Gaussian inputs along the axes (a rotated covariance is the same
            problem in other coordinates); all 1 where it is None.
        weight_norm: w is uniform on the sphere of this radius; N(0, I) where it is None.
        half_width: of uniform inputs.
    """

    d: int
    noise: float = 0.0
    inputs: Literal["gaussian", "uniform"] = "gaussian"
    covariance: tuple[float, ...] | None = None
    weight_norm: float | None = None
    half_width: float = 1.0

    def __post_init__(self) -> None:
        """Check."""
        require(self.d >= 1, "d", "a whole number from 1 on", self.d)
        require(0 <= self.noise < math.inf, "noise", "at least 0", self.noise)
        known = ("gaussian", "uniform")
        require(self.inputs in known, "inputs", "gaussian or uniform", repr(self.inputs))
        require(self.half_width > 0, "half_width", "positive", self.half_width)
        if self.covariance is not None:
            require(self.inputs == "gaussian", "covariance", "None for uniform inputs", "variances")
            covariance = self.covariance
            require(
                len(covariance) == self.d,
                "covariance",
                f"a tuple of d = {self.d} variances",
                covariance,
            )
            require(all(0 < v < math.inf for v in covariance), "covariance", "positive", covariance)
        if self.weight_norm is not None:
            require(0 < self.weight_norm < math.inf, "weight_norm", "positive", self.weight_norm)

    @property
    def variances(self) -> tuple[float, ...]:
        """Of x, along the axes."""
        if self.inputs == "uniform":
            return (self.half_width**2 / 3,) * self.d
        return self.covariance or (1.0,) * self.d


class RegressionPrompt(NamedTuple):
    """What :func:`sample` draws."""

    demonstrations: Float[Array, "*batch N d+1"]
    query: Float[Array, "*batch d+1"]
    target: Float[Array, "*batch"]
    w: Float[Array, "*batch d"]


def sample(key: RandomKey, task: Task, n: int, batch: tuple[int, ...] = ()) -> RegressionPrompt:
    """Draw a prompt, or a batch of them (faster than ``vmap`` over keys).

    Args:
        key: decides everything.
        task: what to draw from.
        n: demonstrations.
        batch: leading axes of every array that is returned.

    Returns:
        demonstrations, rows [x_i, y_i]; the query [x, 0]; the target, noisy as the demonstrations
        are (the noiseless one is <w, x>); w. In JAX's current default precision.
    """
    require(n >= 1, "n", "a whole number from 1 on", n)
    # Rows [x_i, noise_i] and a last row [w, -]; one generator, since each takes long to compile.
    normal = jax.random.normal(key, (*batch, n + 2, task.d + 1))
    x, noise, w = normal[..., :-1, :-1], normal[..., :-1, -1], normal[..., -1, :-1]
    if task.inputs == "uniform":
        x = task.half_width * jax.lax.erf(x / math.sqrt(2))
    else:
        x = x @ jnp.diag(jnp.sqrt(jnp.asarray(task.variances)))
    if task.weight_norm is not None:
        w = task.weight_norm * w / jnp.linalg.norm(w, axis=-1, keepdims=True)
    y = jnp.einsum("...nd,...d->...n", x, w) + task.noise * noise
    tokens = jnp.concatenate([x, y[..., None]], axis=-1)
    query = tokens[..., n, :].at[..., -1].set(0)
    return RegressionPrompt(tokens[..., :n, :], query, y[..., n], w)


@by_input
def squared_loss(
    prediction: Float[Real, "*batch"], target: Float[Real, "*batch"]
) -> Float[Real, "*batch"]:
    """(prediction - target)^2; not sub-Gaussian on Gaussian data: no bound applies to it."""
    return jnp.square(prediction - target)


@by_input
def clipped_loss(
    prediction: Float[Real, "*batch"], target: Float[Real, "*batch"]
) -> Float[Real, "*batch"]:
    """The squared error clipped to [0, 1]: 1/2-sub-Gaussian, as the bounds need it (R = 1/2)."""
    return jnp.minimum(squared_loss(prediction, target), 1.0)
