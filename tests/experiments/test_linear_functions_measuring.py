"""Prompts, baselines, causality, truncation and its statistics, on small transformers."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from float64 import float64
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, decoder_sums

from experiments.linear_functions import (
    RegressionPrompts,
    Size,
    TrainedModel,
    baseline_errors,
    draw,
)
from experiments.linear_functions.measuring import (
    Measurement,
    chosen,
    corrected,
    holm,
    paired,
    verdict,
)
from experiments.linear_functions.model import Regressor
from experiments.linear_functions.prompts import BASELINES, errors, expected_error
from jaxsvd import UserError
from jaxsvd.edits.edit import Edit
from jaxsvd.models.attention import Places
from jaxsvd.models.matrices import matrices, part
from jaxsvd.svd import RATES

MANY, COUNT = 20_000, 400
SIZE = Size(
    d=3,
    points=5,
    layers=2,
    width=16,
    heads=2,
    positions="learned",
    steps=1,
    batch=1,
    learning_rate=1e-3,
    initial=0.3,
)


def random_model(size: Size, seed: int = 0) -> TrainedModel:
    """With weights, biases and positions large enough that every part of it matters."""
    model, generator = nnx.eval_shape(lambda: Regressor(size, rngs=nnx.Rngs(0))), np_normal(seed)
    for _, parameter in nnx.to_flat_state(nnx.state(model)):
        parameter.set_value(jnp.asarray(generator(parameter.get_value().shape), jnp.float32))
    return TrainedModel(size, seed, size.steps, model)


def np_normal(seed: int) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Draws of standard deviation 0.6, without a compilation for every shape."""
    generator = np.random.default_rng(seed)
    return lambda shape: 0.6 * generator.standard_normal(shape)


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return random_model(SIZE)


@pytest.fixture(scope="module", params=["learned", "rotary"])
def either(request: pytest.FixtureRequest) -> TrainedModel:
    return random_model(dataclasses.replace(SIZE, positions=request.param))


def prompts_of(trained: TrainedModel, batch: int = COUNT) -> RegressionPrompts:
    """The first of always the same: another shape would compile anew."""
    drawn = draw(jax.random.key(5), COUNT, trained.size.points, trained.size.d)
    return RegressionPrompts(*(jnp.asarray(np.asarray(a)[:batch]) for a in drawn))


SUMS = [SIZE.d, *decoder_sums(SIZE.config, 2 * SIZE.points - 1)]
"""Terms of the sums behind a prediction."""


def exact(trained: TrainedModel, prompts: RegressionPrompts) -> np.ndarray:
    """The predictions in float64."""
    graph, state = nnx.split(trained.model)
    return float64(lambda state, x, y: nnx.merge(graph, state)(x, y))(state, *prompts[:2])


@pytest.fixture(scope="module")
def many() -> RegressionPrompts:
    return draw(jax.random.key(0), MANY, 11, 4)


def test_prompts_are_linear_functions(many: RegressionPrompts) -> None:
    x, y, w = (np.asarray(a) for a in many)
    assert (x.shape, y.shape, w.shape) == ((MANY, 11, 4), (MANY, 11), (MANY, 4))
    assert_close(y, np.einsum("bpd,bd->bp", x.astype(float), w), 4)
    for drawn in (x.reshape(-1, 4), w):
        np.testing.assert_allclose(np.cov(drawn, rowvar=False), np.eye(4), atol=6 / MANY**0.5)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_have_their_closed_forms(many: RegressionPrompts, name: str) -> None:
    """Within five standard errors, and least squares exactly from d examples on."""
    actual = baseline_errors(name, many)
    for examples in range(11):
        values, wanted = actual[:, examples], expected_error(name, examples, 4)
        assert values.mean() == pytest.approx(wanted, abs=5 * values.std() / MANY**0.5 + 1e-12)
        if name == "least squares" and examples >= 4:
            assert wanted == 0
            assert values.max() < 1e-9


def test_least_squares_is_the_pseudo_inverse(many: RegressionPrompts) -> None:
    x, w = np.asarray(many.x, float)[:20], np.asarray(many.w, float)[:20]
    actual = BASELINES["least squares"](x, np.einsum("bpd,bd->bp", x, w))
    for row, examples in np.ndindex(20, 11):
        seen = x[row, :examples]
        fitted = np.linalg.pinv(seen) @ (seen @ w[row])
        assert actual[row, examples] == pytest.approx(fitted @ x[row, examples], abs=1e-8)


def test_expected_errors() -> None:
    assert expected_error("zero", 7, 5) == expected_error("averaging", 0, 5) == 1
    assert expected_error("averaging", 10, 5) == pytest.approx(0.6)
    assert expected_error("least squares", 2, 5) == pytest.approx(0.6)
    assert expected_error("least squares", 5, 5) == 0


@pytest.mark.long
def test_predictions_look_at_nothing_later(either: TrainedModel) -> None:
    """Changing y_i and all after it leaves the predictions up to x_i; y_i moves the next ones."""
    x, y = (np.asarray(a) for a in prompts_of(either, 2)[:2])
    base = either.predict(x, y)
    for i in range(either.size.points):
        later_x, later_y, only_y = x.copy(), y.copy(), y.copy()
        later_x[:, i + 1 :] += 1
        later_y[:, i:] += 1
        only_y[:, i] += 1
        np.testing.assert_array_equal(
            either.predict(later_x, later_y)[:, : i + 1], base[:, : i + 1]
        )
        assert np.all(np.abs(either.predict(x, only_y) - base)[:, i + 1 :] > 1e-4)


@pytest.mark.long
def test_positions_matter(either: TrainedModel) -> None:
    """Without any, two examples that change places would change no later prediction."""
    x, y = (np.asarray(a) for a in prompts_of(either, 4)[:2])
    order = [1, 0, 2, 3, 4]
    swapped = either.predict(x[:, order], y[:, order])
    assert np.all(np.abs(swapped - either.predict(x, y))[:, 2:] > 1e-5)


@pytest.mark.long
def test_predictions_are_read_from_the_streams(either: TrainedModel) -> None:
    """The shortened last layer is the whole one, and a stream is the layer's of the one before."""
    prompts = prompts_of(either, 8)
    streams = either.streams(prompts.x, prompts.y)
    assert len(streams) == either.size.layers + 1
    actual = either.predict(prompts.x, prompts.y)
    whole = either.model.read(streams[-1][:, ::2])
    reference = exact(either, prompts)
    for predicted in (actual, whole):
        assert_close(predicted, reference, SUMS)
    places = Places.in_order(either.size.config, 8, 2 * either.size.points - 1)
    after = jax.jit(lambda stream: either.blocks[1](stream, places)[0])(streams[1])
    layer = float64(lambda stream: either.blocks[1](stream, places)[0])(streams[1])
    for stream in (after, streams[2]):
        assert_close(stream, layer, SUMS)


def test_any_number_of_prompts(trained: TrainedModel) -> None:
    prompts = prompts_of(trained, 300)
    x, y = np.asarray(prompts.x), np.asarray(prompts.y)
    actual = trained.predict(x, y)
    assert actual.shape == (300, 5)
    reference = exact(trained, prompts)
    assert_close(actual, reference, SUMS)
    for rows in (slice(7), slice(250, 300)):
        assert_close(trained.predict(x[rows], y[rows]), reference[rows], SUMS)


def test_rate_zero_is_untouched(trained: TrainedModel) -> None:
    prompts = prompts_of(trained, 10)
    for module in ("mlp", "attn", "all"):
        variant = trained.edited(Edit(-1, module, 0.0))
        np.testing.assert_array_equal(variant.errors(prompts), trained.errors(prompts))


@pytest.mark.parametrize("module", ["mlp", "attn", "fc_in", "k_proj"])
def test_truncation_is_that_of_the_weights(trained: TrainedModel, module: str) -> None:
    """Against weights cut by NumPy and put into a copy of the model by hand."""
    prompts, layer = prompts_of(trained, 10), 1
    names = matrices(trained.size.config, module)
    for rate, rank in ((0.5, 8), (0.9, 1), (0.995, 1)):
        by_hand = random_model(trained.size)
        for name in names:
            linear = getattr(getattr(by_hand.model.blocks[layer], part(name)), name)
            u, s, vt = np.linalg.svd(np.asarray(linear.weight[...], float), full_matrices=False)
            linear.weight.set_value(jnp.asarray((u[:, :rank] * s[:rank]) @ vt[:rank], jnp.float32))
        variant = trained.edited(Edit(layer, module, rate))
        actual = variant.predict(prompts.x, prompts.y)
        wanted = by_hand.predict(prompts.x, prompts.y)
        np.testing.assert_allclose(actual, wanted, atol=1e-4, rtol=1e-4)
        assert np.abs(actual - trained.predict(prompts.x, prompts.y)).max() > 1e-2
        for name in names:
            assert np.linalg.matrix_rank(variant.matrix(layer, name), tol=1e-4) == rank
    # The model that was truncated is still whole.
    np.testing.assert_array_equal(
        trained.predict(prompts.x, prompts.y), random_model(trained.size).predict(*prompts[:2])
    )


def test_what_cannot_be_truncated(trained: TrainedModel) -> None:
    for arguments in ((2, "mlp", 0.5), (0, "fc_up", 0.5), (0, "mlp", 1.0)):
        with pytest.raises(UserError):
            trained.edited(Edit(*arguments))


def test_cells_are_means_and_paired_differences(trained: TrainedModel) -> None:
    measured = Measurement(trained, 7, COUNT)
    cells = measured.cells(1, "attn", RATES)
    base = trained.errors(measured.prompts)
    assert [cell["rank"] for cell in cells] == [None, 14, 8, 4, 1, 1, 1, 1]
    for cell in cells:
        actual = trained.edited(Edit(1, "attn", cell["rate"])).errors(measured.prompts)
        np.testing.assert_allclose(cell["error"], actual.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(
            cell["standard_error"], actual.std(axis=0, ddof=1) / COUNT**0.5, rtol=1e-4
        )
        change = (actual - base).astype(float)[:, -1]
        assert cell["last"]["difference"] == pytest.approx(change.mean(), rel=1e-4, abs=1e-9)
        assert cell["last"]["standard_error"] == pytest.approx(
            change.std(ddof=1) / COUNT**0.5, rel=1e-4
        )
    assert cells[0]["last"]["difference"] == 0
    assert cells[0]["last"]["p_value"] == 1
    confirmed = measured.confirm(cells[3])
    assert confirmed["base"] != cells[3]["last"]["base"]  # other prompts


def test_paired_differences_have_their_p_value() -> None:
    """From scipy's test of a mean, whose t is normal at this size; exact where nothing changes."""
    from scipy.stats import norm, ttest_1samp

    noise = np.asarray(jax.random.normal(jax.random.key(0), (2, 3_000)), float)
    actual = paired(noise[0], noise[0] + 0.03 + noise[1])
    tested = ttest_1samp(0.03 + noise[1], 0.0)
    assert actual["p_value"] == pytest.approx(2 * norm.sf(abs(tested.statistic)))
    low, high = actual["interval"]
    assert (low + high) / 2 == pytest.approx(actual["difference"])
    assert paired(noise[0], noise[0])["p_value"] == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_its_definition(p_values: list[float]) -> None:
    """Rejected at a level exactly where stepping through the sorted p-values rejects."""
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.3):
        rejected, still = set(), len(p_values)
        for index in sorted(range(len(p_values)), key=lambda i: p_values[i]):
            if p_values[index] * still > level:
                break
            rejected.add(index)
            still -= 1
        assert {i for i, value in enumerate(adjusted) if value <= level} == rejected
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))


def _cell(rate: float, error: float, difference: float, p_value: float) -> dict:
    tested = {"difference": difference, "p_value": p_value}
    return {"rate": rate, "error": [1.0, error], "last": tested, "mean": tested | {"p_value": 1.0}}


def test_the_verdict_corrects_for_all_that_was_tried() -> None:
    cells = [_cell(0.0, 0.5, 0.0, 1.0), _cell(0.1, 0.4, -0.1, 0.004), _cell(0.5, 0.6, 0.1, 1e-9)]
    cells += [_cell(0.9, 0.45, -0.05, 0.04)]
    actual = verdict(corrected(cells), "last")
    # Six tests: 1e-9 * 6, 0.004 * 5, 0.04 * 4.
    assert [[c["rate"] for c in actual[side]] for side in ("better", "worse", "neither")] == [
        [0.1],
        [0.5],
        [0.9],
    ]
    assert verdict(corrected(cells), "mean")["neither"] == corrected(cells)[1:]
    assert chosen(cells)["rate"] == 0.1
    assert errors(
        jnp.ones((2, 2)),
        RegressionPrompts(jnp.ones((2, 2, 4)), jnp.zeros((2, 2)), jnp.ones((2, 4))),
    )[0, 0] == pytest.approx(0.25)
