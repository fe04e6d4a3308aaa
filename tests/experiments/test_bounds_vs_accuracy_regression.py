"""The studies whose population is known: linear and linear-function transformers."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.bounds_vs_accuracy import linear, linear_functions, trajectories
from experiments.bounds_vs_accuracy.experiment import EXPERIMENT
from experiments.bounds_vs_accuracy.simulated import measure, supersample
from experiments.common.records import restore
from experiments.common.scaffold import main
from experiments.linear_functions.model import Regressor
from experiments.linear_functions.sizes import Size
from experiments.linear_functions.trained import TrainedModel
from jaxsvd.edits.edit import Edit
from jaxsvd.engine.attention_trace import read_rows
from jaxsvd.models.attention import Places
from theory import bounds, implicit, pruning
from theory.cmi import pick
from theory.implicit import Weights
from theory.regression import predict

SIZE = Size(
    d=3,
    points=6,
    layers=2,
    width=16,
    heads=2,
    positions="learned",
    steps=10,
    batch=4,
    learning_rate=1e-3,
    initial=0.3,
)


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Gradient descent, disturbed: every matrix has full rank."""
    rng = np.random.default_rng(0)
    exact = implicit.gd_weights(linear.TASK.d, 0.4, linear.N, layers=linear.LAYERS)
    return Weights(*(m + 1e-3 * rng.normal(size=m.shape) for m in exact))


def test_rates_are_those_of_every_rank() -> None:
    ranks = [pruning.kept_rank(rate, (8, 8)) for rate in linear.rates(False)]
    assert ranks == [7, 6, 5, 4, 3, 2, 1]
    assert len(linear.rates(True)) == 3


@pytest.mark.long
def test_a_linear_cell(weights: Weights) -> None:
    """Risks of the truncated stack itself, on the same prompts as the untouched one's."""
    bench = linear.LinearBench(0, 40, 3, 2)
    level = bench.level(weights)
    before = bench.predictors(weights, 1, level)
    cell = linear.truncated_cell(bench, weights, 1, "query", 0.5, level, before)
    cut = pruning.prune(weights, 1, "query", 0.5)
    trajectories = [implicit.updates(np.append(p, p[:1], axis=0), cut) for p in bench.prompts]
    w = np.stack([-np.asarray(t.state[-1])[-1, :-1] for t in trajectories])
    risks = bounds.regression_risks(w, bench.prompts, linear.TASK.noise)
    assert cell["test_error"][0] == pytest.approx(risks.population.mean())
    assert cell["training_error"][0] == pytest.approx(risks.empirical.mean())
    assert cell["gap"] == pytest.approx([risks.gap, risks.gap_error])
    norms = [np.linalg.norm(np.asarray(t.update[1])) for t in trajectories]
    assert cell["predictors"]["update norm"] == pytest.approx(np.log(norms).mean())
    assert cell["rank"] == 4
    assert set(linear.BOUNDS) <= set(cell["predictors"])
    assert cell["predictors"]["terminal noise"] >= cell["gap"][0]
    # It is computed from the very risks, so it is no predictor of them.
    assert "terminal noise" not in cell["predicted_changes"]
    assert cell["predicted_changes"]["lemma 6, as printed"] == 0
    spectrum = np.linalg.svd(weights.query[1], compute_uv=False)
    removed = (spectrum[4:] ** 2).sum() / (spectrum**2).sum()
    assert cell["predictors"]["energy removed"] == pytest.approx(removed)


def test_linear_supersamples_are_plain_predictions(weights: Weights) -> None:
    """The training error of the bounds is that of predicting each demonstration directly."""
    bench = linear.LinearBench(1, 4, 3, 2)
    actual = bench.supersample(weights)
    errors = []
    for z, m in np.ndindex(bench.masks.shape[:2]):
        columns = [pick(bench.members[z, ..., k], bench.masks[z, m])[0] for k in range(8)]
        shown = np.stack(columns, axis=-1)
        for member in shown:
            query = np.append(member[:-1], 0.0)
            errors.append(min((float(predict(weights, shown, query)) - member[-1]) ** 2, 1.0))
    assert actual["training_error"] == pytest.approx(np.mean(np.round(np.array(errors) * 8) / 8))
    assert "f-CMI" not in actual["bounds"]
    assert {"ld-MI", "single loss", "binary KL", "e-CMI"} <= set(actual["bounds"])


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return TrainedModel(SIZE, 0, 10, Regressor(SIZE, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def bench() -> linear_functions.RegressionBench:
    return linear_functions.RegressionBench.of(0, SIZE.d, SIZE.points - 1, 7, 4, (3, 2))


def test_losses_of_the_linear_function_transformer(
    model: TrainedModel, bench: linear_functions.RegressionBench
) -> None:
    """A point asked is the last of its prompt; of demonstrations likewise."""
    for requested, actual in zip((bench.queries, bench.shown), bench.risks(model), strict=True):
        for b in (0, 3):
            each = []
            for point in requested[b]:
                rows = np.append(bench.shown[b], point[None], axis=0)[None]
                x, y = jnp.asarray(rows[..., :-1]), jnp.asarray(rows[..., -1])
                said = float(model.model(x, y)[0, -1])
                each.append(min((said - point[-1]) ** 2 / 3, 1.0))
            assert actual[b] == pytest.approx(np.mean(each), rel=1e-4)
    sample = bench.supersample(model)
    assert 0 <= sample["training_error"] <= 1


@pytest.mark.long
def test_norms_of_the_linear_function_transformer(
    model: TrainedModel, bench: linear_functions.RegressionBench
) -> None:
    """Where every token is some demonstration's, dW_t is the Jacobian: by differentiation."""
    rows = np.concatenate([bench.shown[:4], bench.queries[:4, :1]], axis=1)
    streams = model.streams(jnp.asarray(rows[..., :-1]), jnp.asarray(rows[..., -1]))
    places = Places.in_order(SIZE.config, 1, 11)
    at_last = jax.tree.map(lambda a: a[:, -1:], places)
    numbers = jnp.broadcast_to(jnp.arange(11) // 2, (4, 11))
    state = jnp.broadcast_to(jnp.eye(16), (4, 16, 16))
    for t, block in enumerate(model.blocks):
        read = read_rows(SIZE.config, t, nnx.to_pure_dict(nnx.state(block)), streams[t])
        actual, _ = trajectories.of_layer(SIZE.config, read, numbers, state, 6)
        for m in range(4):
            x = streams[t][m : m + 1]
            own = block.states(x, places)

            def added(last: jax.Array, block=block, own=own) -> jax.Array:
                return block.attend(last[None, None], at_last, own, places)[0, 0] - last

            whole = np.asarray(jax.jacobian(added)(x[0, -1]))
            assert np.sqrt(actual.linear[m]) == pytest.approx(np.linalg.norm(whole), rel=1e-4)
    reported = linear_functions.trajectory(model, bench)
    assert len(reported) == SIZE.layers
    assert all(layer.update.shape == (4,) for layer in reported)
    assert (reported[0].state == SIZE.width).all()


def test_cells_of_the_linear_function_transformer(
    model: TrainedModel, bench: linear_functions.RegressionBench
) -> None:
    cells = linear_functions.layer_cells(model, bench, 1, ("mlp", "k_proj"), (0.5, 0.9))["cells"]
    assert [(c["module"], c["rate"]) for c in cells] == [
        (m, r) for m in ("mlp", "k_proj") for r in (0.5, 0.9)
    ]
    for cell in cells:
        variant = model.edited(Edit(1, cell["module"], cell["rate"]))
        assert cell["test_error"][0] == pytest.approx(bench.risks(variant)[0].mean(), rel=1e-5)
        mlp = cell["module"] == "mlp"
        # The MLP of the last layer changes no attention; keys change that of their own layer.
        assert (cell["predicted_changes"]["update norm"] == 0) is mlp
        assert (cell["predicted_changes"]["lemma 6, fixed noise"] == 0) is mlp


def test_measuring_risks() -> None:
    rng = np.random.default_rng(0)
    population, empirical, before, after = rng.uniform(size=(4, 50))
    actual = measure(population, empirical, before, after)
    gap = (population - empirical) - (before - after)
    assert actual["changes"]["gap"] == pytest.approx([gap.mean(), gap.std(ddof=1) / 50**0.5])
    rounded = supersample(rng.uniform(size=(2, 3, 4, 2)), rng.integers(0, 2, (2, 3, 4)))
    assert set(np.unique(rounded.losses * 8)) <= set(range(9))


@pytest.mark.long
def test_the_linear_study(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(EXPERIMENT, ["--quick", "--model", "linear", "--out", str(out)]) == 0
    result = restore(json.loads((out / "result.json").read_text()))
    assert len(result["cells"]) == 2 * 4 * 3 * 3
    reported = result["studies"]["linear"]
    assert reported["cluster"] == ["seed", "module", "layer"]
    assert reported["worth"]["terminal noise"]["covered"] == 1
    assert reported["worth"]["theorem 2, as printed"]["infinite"] == 1
