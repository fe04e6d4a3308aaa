"""Tasks and linear transformers: draws, predictions, and what training finds."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import reference, regression
from theory.implicit import Weights, gd_weights, masked_linear_stack, updates
from theory.precision import double
from theory.regression import Recipe, Task

MANY = (40_000,)


def random_weights(layers: int, width: int, seed: int = 0) -> Weights:
    keys = jax.random.split(jax.random.key(seed), 3)
    return Weights(*(0.3 * jax.random.normal(key, (layers, width, width)) for key in keys))


@pytest.mark.parametrize(
    "task",
    [
        Task(3),
        Task(3, noise=0.5),
        Task(3, covariance=(4.0, 1.0, 0.25)),
        Task(3, inputs="uniform", half_width=0.5),
        Task(3, weight_norm=2.0, noise=0.1),
    ],
)
def test_draws(task: Task) -> None:
    """Shapes, moments within 5 standard errors, labels that follow from x and w."""
    n = 4
    prompts = regression.sample(jax.random.key(0), task, n, MANY)
    x, y = prompts.demonstrations[..., :-1], prompts.demonstrations[..., -1]
    assert x.shape == (*MANY, n, 3)
    assert not prompts.query[:, -1].any()
    clean = jnp.einsum("rnd,rd->rn", x, prompts.w)
    noise = np.stack([*(y - clean).T, prompts.target - (prompts.query[:, :-1] * prompts.w).sum(1)])
    if task.noise:
        assert noise.std() == pytest.approx(task.noise, rel=5 / math.sqrt(2 * noise.size))
        assert abs(np.corrcoef(noise)[0, 1]) < 5 / math.sqrt(MANY[0])
    else:
        np.testing.assert_allclose(noise, 0, atol=1e-5)
    inputs = np.concatenate([x.reshape(-1, 3), prompts.query[:, :-1]])
    covariance = np.cov(inputs.T)
    largest = max(task.variances)
    np.testing.assert_allclose(
        covariance, np.diag(task.variances), atol=5 * largest * math.sqrt(2 / len(inputs))
    )
    if task.inputs == "uniform":
        assert 0.49 < abs(inputs).max() <= 0.5
    if task.weight_norm is not None:
        np.testing.assert_allclose(jnp.linalg.norm(prompts.w, axis=1), 2, rtol=1e-5)
    else:
        assert (prompts.w**2).mean() == pytest.approx(1, abs=5 * math.sqrt(2 / prompts.w.size))


def test_draws_depend_on_the_key_alone() -> None:
    one, same = (regression.sample(jax.random.key(3), Task(2), 5) for _ in range(2))
    other = regression.sample(jax.random.key(4), Task(2), 5)
    for mine, equal, unequal in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(mine, equal)
        assert (mine != unequal).any()
    with double():
        assert regression.sample(jax.random.key(3), Task(2), 5).w.dtype == jnp.float64
    assert one.w.dtype == jnp.float32


@pytest.mark.long
@pytest.mark.parametrize("layers", [1, 3])
def test_prediction_is_the_stack(layers: int) -> None:
    """Against the tokens run directly and the implicit weight, in both precisions."""
    with double():
        prompt = regression.sample(jax.random.key(1), Task(3, noise=0.2), 6)
        weights = random_weights(layers, 4)
        tokens = jnp.concatenate([prompt.demonstrations, prompt.query[None]])
        wanted = -masked_linear_stack(tokens, weights)[-1, -1, -1]
        answer = regression.predict(weights, prompt.demonstrations, prompt.query)
        assert answer == pytest.approx(float(wanted), rel=1e-12)
        regressor = regression.implicit_regressor(weights, prompt.demonstrations)
        implicit = -updates(tokens, weights).state[-1, -1, :-1]
        np.testing.assert_allclose(regressor, implicit, rtol=1e-12)
        assert regressor @ prompt.query[:-1] == pytest.approx(float(answer), rel=1e-12)
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (weights, prompt))
    low = regression.predict(single[0], single[1].demonstrations, single[1].query)
    scale = abs(float(wanted)) + 1
    assert float(low) == pytest.approx(float(wanted), abs=1e-5 * scale)


@pytest.mark.long
def test_gradient_descent() -> None:
    """The construction's regressor is the iterate, and its loss the closed form."""
    n, d, eta, steps = 10, 5, 0.3, 3
    with double():
        weights = jax.tree.map(jnp.asarray, gd_weights(d, eta, n, layers=steps))
        prompts = regression.sample(jax.random.key(2), Task(d), n, MANY)
        x, y = prompts.demonstrations[..., :-1], prompts.demonstrations[..., -1]
        w = jnp.zeros_like(prompts.w)
        for _ in range(steps):
            w = w + eta / n * jnp.einsum("rnd,rn->rd", x, y - jnp.einsum("rnd,rd->rn", x, w))
        actual = jax.vmap(regression.implicit_regressor, (None, 0))(weights, prompts.demonstrations)
        np.testing.assert_allclose(actual, w, atol=1e-13)
        answers = jax.vmap(regression.predict, (None, 0, 0))(
            weights, prompts.demonstrations, prompts.query
        )
        errors = np.asarray(regression.squared_loss(answers, prompts.target))
    standard_error = errors.std() / math.sqrt(errors.size)
    assert errors.mean() == pytest.approx(
        d * reference.gd_loss(steps, eta, n, d), abs=5 * standard_error
    )
    assert 5 * standard_error < 0.1 * errors.mean()


def test_numpy_is_computed_in_double() -> None:
    """Without a switch: float64 in, float64 out; and the caller's setting is left alone."""
    weights, rng = gd_weights(2, 0.5, 3), np.random.default_rng(0)
    demonstrations, query = rng.normal(size=(3, 3)), np.array([1.0, 2.0, 0.0])
    regressor = regression.implicit_regressor(weights, demonstrations)
    wanted = 0.5 / 3 * demonstrations[:, :2].T @ demonstrations[:, 2]
    np.testing.assert_allclose(regressor, wanted, rtol=1e-14)
    answer = regression.predict(weights, demonstrations, query)
    assert float(answer) == pytest.approx(wanted @ query[:2], rel=1e-14)
    assert not jax.config.read("jax_enable_x64")


def test_losses() -> None:
    prediction, target = jnp.array([0.0, 2.0, -1.0]), jnp.array([0.5, 0.0, -1.0])
    np.testing.assert_array_equal(regression.squared_loss(prediction, target), [0.25, 4, 0])
    np.testing.assert_array_equal(regression.clipped_loss(prediction, target), [0.25, 1, 0])


def test_learned_step_of_the_construction() -> None:
    weights = jax.tree.map(jnp.asarray, gd_weights(3, 0.7, 8))
    step = regression.learned_step(weights, 8)
    np.testing.assert_allclose(step.preconditioner, 0.7 * np.eye(3), rtol=1e-6)
    assert step.stray == 0
    value = weights.value.at[0, -1, 0].set(0.35 / 8)  # half of the y entry, and of its sign
    assert regression.learned_step(weights._replace(value=value), 8).stray == pytest.approx(0.5)


def test_learned_step_of_any_layer() -> None:
    """B is the part of the regressor that is linear in the labels: odd under y -> -y."""
    n = 6
    with double():
        weights = random_weights(1, 4)
        there = regression.sample(jax.random.key(0), Task(3), n).demonstrations
        back = there.at[:, -1].multiply(-1)
        odd = [regression.implicit_regressor(weights, tokens) for tokens in (there, back)]
        step = there[:, -1] @ there[:, :-1] / n @ regression.learned_step(weights, n).preconditioner
        np.testing.assert_allclose((odd[0] - odd[1]) / 2, step, rtol=1e-12)


@pytest.mark.long
def test_training_is_determined_by_its_key() -> None:
    recipe = Recipe(steps=20, batch=16)
    seen: list[int] = []
    first = regression.train(jax.random.key(0), Task(2), 5, recipe, seen.append, chunk=10)
    again = regression.train(jax.random.key(0), Task(2), 5, recipe)
    other = regression.train(jax.random.key(1), Task(2), 5, recipe)
    assert seen == [10, 10]
    assert first.losses.shape == (20,)
    for mine, same, different in zip(first.weights, again.weights, other.weights, strict=True):
        np.testing.assert_allclose(mine, same, rtol=1e-5)
        assert (mine != different).any()


@pytest.mark.long
def test_starts() -> None:
    """An aligned start mixes no x with y and points downhill; a random one does neither."""
    for aligned in (True, False):
        recipe = Recipe(layers=2, steps=1, batch=8, rate=1e-6, aligned=aligned)
        weights = regression.train(jax.random.key(0), Task(2), 5, recipe).weights
        for matrix in weights:
            mixed = np.concatenate([matrix[:, :-1, -1], matrix[:, -1, :-1]])
            assert (abs(mixed) < 1e-5).all() == aligned
        downhill = -weights.value[:, -1, -1, None, None] * (
            weights.key.transpose(0, 2, 1) @ weights.query
        )
        assert (np.linalg.eigvalsh(downhill[:, :2, :2]) > -1e-5).all() or not aligned


@pytest.mark.long
def test_descent_has_its_form() -> None:
    recipe = Recipe(layers=2, form="descent", steps=5, batch=8)
    weights = regression.train(jax.random.key(0), Task(2), 5, recipe).weights
    y, x = np.diag([0.0, 0.0, 1.0]), np.diag([1.0, 1.0, 0.0])
    np.testing.assert_allclose(weights.value, np.stack([-y / 5] * 2), rtol=1e-6)
    np.testing.assert_array_equal(weights.key, np.stack([x] * 2))
    assert not weights.query[:, 2].any()
    assert not weights.query[:, :, 2].any()
    assert weights.query[:, :2, :2].all()


@pytest.mark.long
def test_training_finds_the_optimum() -> None:
    """Ahn et al.'s preconditioner, from random weights, all entries free."""
    task, n = Task(3, covariance=(2.0, 1.0, 0.5), noise=0.3), 8
    optimum = reference.preconditioned_optimum((2.0, 1.0, 0.5), n, 0.3)
    weights = regression.train(jax.random.key(0), task, n, Recipe(steps=1_500)).weights
    prompts = regression.sample(jax.random.key(5), task, n, MANY)
    actual = jax.vmap(regression.implicit_regressor, (None, 0))(weights, prompts.demonstrations)
    best = jnp.einsum(
        "rnd,rn->rd", prompts.demonstrations[..., :-1], prompts.demonstrations[..., -1]
    )
    best = best * jnp.asarray(optimum.diagonal) / n
    lam = jnp.asarray(task.variances)

    def losses(regressor: jax.Array) -> np.ndarray:
        return np.asarray((lam * (regressor - prompts.w) ** 2).sum(axis=1))

    # Paired with the optimal predictor, whose loss is known: what is left is how far training is.
    excess = losses(actual) - losses(best)
    assert abs(excess.mean()) + 5 * excess.std() / math.sqrt(excess.size) < 0.01 * optimum.loss
    step = regression.learned_step(weights, n)
    np.testing.assert_allclose(jnp.diag(step.preconditioner), optimum.diagonal, rtol=0.05)
    assert step.stray < 0.05


NAN = np.full((2, 3), math.nan)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: Task(0), "d"),
        (lambda: Task(2, noise=-0.1), "noise"),
        (lambda: Task(2, noise=math.nan), "noise"),
        (lambda: Task(2, covariance=(1.0,)), "covariance"),
        (lambda: Task(2, covariance=(1.0, 0.0)), "covariance"),
        (lambda: Task(1, inputs="uniform", covariance=(1.0,)), "covariance"),
        (lambda: Task(2, weight_norm=0.0), "weight_norm"),
        (lambda: Task(2, half_width=0.0), "half_width"),
        (lambda: regression.sample(jax.random.key(0), Task(2), 0), "n"),
        (lambda: dataclasses.replace(Recipe(), layers=0), "layers"),
        (lambda: dataclasses.replace(Recipe(), steps=0), "steps"),
        (lambda: dataclasses.replace(Recipe(), batch=0), "batch"),
        (lambda: dataclasses.replace(Recipe(), rate=0.0), "rate"),
        (lambda: dataclasses.replace(Recipe(), scale=math.inf), "scale"),
        (lambda: regression.train(jax.random.key(0), Task(2), 0, Recipe()), "n"),
        (lambda: regression.train(jax.random.key(0), Task(2), 3, Recipe(), chunk=0), "chunk"),
        (lambda: regression.learned_step(random_weights(2, 3), 5), "weights"),
        (lambda: regression.predict(random_weights(1, 3), np.ones((2, 4)), np.ones(4)), "weights"),
        (lambda: regression.predict(random_weights(1, 3), np.ones((2, 3)), np.ones(4)), "query"),
        (lambda: regression.predict(gd_weights(2, 1.0, 2), NAN, np.ones(3)), "demonstrations"),
    ],
)
def test_mistakes(call, argument: str) -> None:
    with pytest.raises(ValueError, match=rf"^{argument}(\.\w+)? must be"):
        call()
