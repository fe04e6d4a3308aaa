"""Linear transformers trained on fresh prompts."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from theory.checks import require
from theory.implicit import Weights
from theory.regression.stacks import predict
from theory.regression.tasks import RandomKey, Task, sample, squared_loss

Form = Literal["full", "descent"]


class TrainedWeights(NamedTuple):
    """Weights, and the training loss of each step."""

    weights: Weights
    losses: Float[Array, " steps"]


@dataclass(frozen=True)
class Recipe:
    """How to train: Adam, its rate decaying to 0 by a cosine, gradients clipped to norm 1.

    Attributes:
        layers: of linear attention.
        form: ``full`` trains every entry of W_V, W_K, W_Q (von Oswald et al., 2023); ``descent``
            only a preconditioner per layer, W_V = diag(0, -1/N), W_K = diag(I, 0), W_Q = diag(A, 0)
            (the sparsity of Ahn et al., 2023, Theorem 3), which is plain preconditioned descent.
        steps: batches.
        batch: fresh prompts a step.
        rate: largest learning rate.
        scale: standard deviation of the initial entries.
        aligned: start as Zhang, Frei and Bartlett (2024) do to prove convergence: entries that mix
            x and y at 0, W_Q equal to W_K, and the y entry of W_V negative, so that the layer is a
            step downhill; everything is trained all the same. A fully random start can end in a
            layer that sees the widest direction of x only: with variances (2, 1, .5, .25) and
            N = 10 four seeds of eight did, 90 % above the optimum.
    """

    layers: int = 1
    form: Form = "full"
    steps: int = 3_000
    batch: int = 512
    rate: float = 1e-2
    scale: float = 0.1
    aligned: bool = True

    def __post_init__(self) -> None:
        """Check."""
        for name in ("layers", "steps", "batch"):
            value = getattr(self, name)
            require(value >= 1, name, "a whole number from 1 on", value)
        require(self.form in ("full", "descent"), "form", "full or descent", repr(self.form))
        require(0 < self.rate < math.inf, "rate", "positive", self.rate)
        require(0 < self.scale < math.inf, "scale", "positive", self.scale)


def train(
    key: RandomKey,
    task: Task,
    n: int,
    recipe: Recipe,
    advance: Callable[[int], None] = lambda steps: None,
    chunk: int = 500,
) -> TrainedWeights:
    """Train a linear transformer on fresh prompts of a task with n demonstrations.

    Args:
        key: decides the initial weights and every batch: equal keys give equal weights.
        task: what to train on.
        n: demonstrations.
        recipe: how.
        advance: called with the number of steps done since the last call.
        chunk: steps between two calls.
    """
    require(n >= 1, "n", "a whole number from 1 on", n)
    require(chunk >= 1, "chunk", "a whole number from 1 on", chunk)
    free, state, for_data = _begin(key, task, recipe)
    losses = []
    for first in range(0, recipe.steps, chunk):
        size = min(chunk, recipe.steps - first)
        numbers = np.arange(first, first + size)
        free, state, part = _train_chunk(free, state, for_data, numbers, task, n, recipe)
        losses.append(np.asarray(part))  # waits, so that the caller's progress is true
        advance(size)
    return TrainedWeights(_stack(free, n), jnp.asarray(np.concatenate(losses)))


@functools.partial(jax.jit, static_argnames=("task", "recipe"))
def _begin(key, task: Task, recipe: Recipe):
    for_weights, for_data = jax.random.split(key)
    free = _initial(for_weights, task, recipe)
    return free, _optimiser(recipe).init(free), for_data


def _initial(key: RandomKey, task: Task, recipe: Recipe) -> Weights | Float[Array, "L d d"]:
    if recipe.form == "full":
        shape = (recipe.layers, task.d + 1, task.d + 1)
        draws = (jax.random.normal(one, shape) for one in jax.random.split(key, 3))
        value, key, query = (recipe.scale * draw for draw in draws)
        if not recipe.aligned:
            return Weights(value, key, query)
        is_y = jnp.arange(task.d + 1) == task.d
        same = (is_y[:, None] == is_y[None, :])[None]
        value, key = jnp.where(same, value, 0), jnp.where(same, key, 0)
        value = value.at[:, -1, -1].set(-jnp.abs(value[:, -1, -1]))
        return Weights(value, key, key)
    return recipe.scale * jax.random.normal(key, (recipe.layers, task.d, task.d))


@functools.partial(jax.jit, static_argnames="n")
def _stack(free: Weights | Float[Array, "L d d"], n: int) -> Weights:
    if isinstance(free, Weights):
        return free
    d = free.shape[-1]
    padded = jnp.pad(free, ((0, 0), (0, 1), (0, 1)))
    only_y = jnp.zeros((d + 1, d + 1), free.dtype).at[d, d].set(1)
    only_x = jnp.eye(d + 1, dtype=free.dtype) - only_y
    value, key = (jnp.broadcast_to(m, padded.shape) for m in (-only_y / n, only_x))
    return Weights(value, key, padded)


def _optimiser(recipe: Recipe) -> optax.GradientTransformation:
    rate = optax.cosine_decay_schedule(recipe.rate, recipe.steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


@functools.partial(jax.jit, static_argnames=("task", "n", "recipe"))
def _train_chunk(free, state, key, numbers, task: Task, n: int, recipe: Recipe):
    optimiser = _optimiser(recipe)

    def objective(free, key):
        prompts = sample(key, task, n, (recipe.batch,))
        answers = jax.vmap(predict, (None, 0, 0))(
            _stack(free, n), prompts.demonstrations, prompts.query
        )
        return squared_loss(answers, prompts.target).mean()

    def step(carry, number):
        free, state = carry
        loss, gradient = jax.value_and_grad(objective)(free, jax.random.fold_in(key, number))
        updates, state = optimiser.update(gradient, state, free)
        return (optax.apply_updates(free, updates), state), loss

    (free, state), losses = jax.lax.scan(step, (free, state), numbers)
    return free, state, losses
