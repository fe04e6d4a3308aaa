"""Training on fresh prompts: the state between two steps, and many steps in one call.

A step's batch is a function of the seed and the step's number, and nothing else is random, so
that a run that was killed and resumed ends with the weights of one that was not, however the
steps were cut into calls.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.linear_functions.model import Parameters, split, structure
from experiments.linear_functions.prompts import RegressionPrompts, draw, errors
from experiments.linear_functions.sizes import Size

BINS = 200
"""Points of the learning curve, or a few less."""


class RegressionTrainState(NamedTuple):
    """Of a run, between two steps.

    Attributes:
        step: done so far.
        parameters: the weights.
        optimizer: Adam's moments.
        losses: the learning curve: in each :func:`stretch` of the run the sum, over its steps, of
            the batch's normalised squared error, averaged over the points.
    """

    step: Int[Array, ""]
    parameters: Parameters
    optimizer: optax.OptState
    losses: Float[Array, " bins"]


def start(size: Size, seed: int) -> RegressionTrainState:
    """The state before the first step."""
    _, parameters = split(size, jax.random.fold_in(jax.random.key(seed), 0))
    losses = jnp.zeros(-(-size.steps // stretch(size)))
    return RegressionTrainState(
        jnp.int32(0), parameters, optimizer(size).init(cast(Any, parameters)), losses
    )


def evaluation_key(seed: int) -> Array:
    """For prompts that training never sees."""
    return jax.random.fold_in(jax.random.key(seed), 2)


def stretch(size: Size) -> int:
    """Steps that make one point of the learning curve; the last may have fewer."""
    return -(-size.steps // BINS)


def learning_curve(size: Size, losses: Float[np.ndarray, " bins"]) -> tuple[list[int], list[float]]:
    """The last step of every stretch, and its mean loss."""
    length = stretch(size)
    ends = [min(length * (part + 1), size.steps) for part in range(len(losses))]
    counts = np.diff(ends, prepend=0)
    return ends, (np.asarray(losses, float) / counts).tolist()


def schedule(size: Size) -> optax.Schedule:
    """Constant, after a linear rise and before a linear fall to zero where the size has them."""
    fall = max(1.0, size.decay * size.steps)
    rise = max(1, min(size.warm_up, size.steps // 4))

    def rate(step: Any) -> Any:
        ends = (size.steps - step) / fall if size.decay else 1.0
        return size.learning_rate * jnp.minimum(jnp.minimum((step + 1) / rise, ends), 1.0)

    return rate


def optimizer(size: Size) -> optax.GradientTransformation:
    """Adam."""
    adam = optax.adam(schedule(size))
    return optax.chain(optax.clip_by_global_norm(size.clip), adam) if size.clip else adam


def grown(size: Size, step: Int[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Dimensions and points in use at a step under the curriculum.

    Garg et al. begin with 5 dimensions of 20 and 11 points of 41 and add 1 and 2 every 2,000 of
    500,000 steps. Here dimensions begin at a quarter and points at two a dimension and one, and
    all are in use after the same 6 % of the run: the same numbers at the paper's size.
    """
    first = max(1, size.d // 4)
    stages = max(1, size.d - first)
    stage = jnp.minimum(step // max(1, round(0.06 * size.steps / stages)), stages)
    dimensions = jnp.minimum(first + stage, size.d)
    points = jnp.minimum(2 * dimensions + 1, size.points)
    return dimensions, jnp.where(stage == stages, size.points, points)


def batch_at(
    size: Size, seed: int, step: Int[Array, ""]
) -> tuple[RegressionPrompts, Float[Array, " P"]]:
    """The prompts of a step, and the weights of their points in the loss.

    Under the curriculum the unused dimensions of x are 0, and the unused points have no weight:
    what comes later is not seen by what comes before, so this is as if they were not there.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), step)
    prompts = draw(key, size.batch, size.points, size.d)
    if not size.curriculum:
        return prompts, jnp.full(size.points, 1 / size.points)
    dimensions, points = grown(size, step)
    x = prompts.x * (jnp.arange(size.d) < dimensions)
    y = jnp.einsum("bpd,bd->bp", x, prompts.w)
    return RegressionPrompts(x, y, prompts.w), (jnp.arange(size.points) < points) / points


@functools.lru_cache(maxsize=8)
def make_steps(
    size: Size, seed: int
) -> Callable[[RegressionTrainState, int], RegressionTrainState]:
    """The jitted ``(state, count)`` to the state ``count`` steps later; it compiles once.

    The state that is given is donated: it cannot be used again.
    """
    graph, adam = structure(size), optimizer(size)
    length = stretch(size)

    def loss(
        parameters: Parameters, prompts: RegressionPrompts, weights: Array
    ) -> tuple[Array, Array]:
        model = nnx.merge(graph, parameters)
        value = errors(model(prompts.x, prompts.y), prompts).mean(axis=0) @ weights
        # Undivided by d, as Garg et al. train: Adam does not mind, a clip does.
        return size.d * value, value

    def one(_: Array, state: RegressionTrainState) -> RegressionTrainState:
        prompts, weights = batch_at(size, seed, state.step)
        gradients, value = jax.grad(loss, has_aux=True)(state.parameters, prompts, weights)
        updates, moments = adam.update(gradients, state.optimizer)
        parameters = cast(Any, optax.apply_updates(cast(Any, state.parameters), updates))
        losses = state.losses.at[state.step // length].add(value)
        return RegressionTrainState(state.step + 1, parameters, moments, losses)

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(state: RegressionTrainState, count: int | Int[Array, ""]) -> RegressionTrainState:
        return jax.lax.fori_loop(0, count, one, state)

    return steps
