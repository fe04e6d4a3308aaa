"""Trained linear attention at a token size, and its measurements on layers that are known."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import scaffold
from experiments.common.scaffold import parser
from experiments.trained_linear_attention import experiment
from theory import reference
from theory.implicit import Weights, gd_weights
from theory.regression import Task

PROMPTS = 20_000


def step_weights(diagonal: tuple[float, ...], n: int) -> Weights:
    """The layer that is one step with a diagonal preconditioner."""
    weights = gd_weights(len(diagonal), 1.0, n)
    query = weights.query * np.append(diagonal, 0.0)[None, None, :]
    return jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), weights._replace(query=query))


@pytest.mark.parametrize("case", experiment.cases()[::2], ids=lambda case: case.name)
def test_the_optimal_layer_measures_as_optimal(case: experiment.Case) -> None:
    """Against itself: the closed form, exactly; and by plain simulation, within its error."""
    weights = step_weights(case.optimum.diagonal, case.n)
    key = jax.random.key(0)
    actual = experiment.measure_layer(case, weights, key, PROMPTS)
    assert actual["loss"] == pytest.approx(case.optimum.loss, rel=1e-6)
    assert actual["plain_loss"] == pytest.approx(
        case.optimum.loss, abs=5 * actual["plain_loss_error"]
    )
    assert 5 * actual["plain_loss_error"] < 0.06 * case.optimum.loss
    assert actual["cosine_lowest_percent"] == pytest.approx(1, abs=1e-5)
    assert actual["preconditioner_error"] < 1e-6
    assert actual["stray"] == 0


def test_the_cases_are_the_published_ones() -> None:
    uniform, skewed, noisy, isotropic = experiment.cases()
    assert uniform.optimum.diagonal[0] == pytest.approx(200 / 33)
    assert uniform.optimum.loss == pytest.approx(0.20623, abs=5e-6)
    assert skewed.optimum.loss == pytest.approx(1.1522, abs=5e-5)
    assert noisy.optimum.loss == pytest.approx(1.362285, abs=5e-7)
    assert isotropic.optimum.loss == pytest.approx(15 / 13)


@pytest.mark.long
def test_another_layer_does_not() -> None:
    """Twice the best step: its loss by the closed form of one step, and no claim holds."""
    case = experiment.cases()[3]
    d, eta = case.task.d, 2 * case.optimum.diagonal[0]
    weights = step_weights((eta,) * d, case.n)
    actual = experiment.measure_layer(case, weights, jax.random.key(1), PROMPTS)
    wanted = d * reference.step_loss(eta, case.n, d)
    assert actual["loss"] == pytest.approx(wanted, abs=5 * actual["loss_error"])
    assert actual["preconditioner_error"] == pytest.approx(1, abs=1e-5)
    assert actual["cosine"] == pytest.approx(1, abs=1e-5)  # the direction is right
    record = {"case": "x", "closed_form": {"loss": case.optimum.loss}} | actual
    loss, cosine = experiment.claims([record], [])
    assert not loss["holds"]
    assert cosine["holds"]


def test_stacks_evaluate_as_gradient_descent() -> None:
    n, steps, eta = experiment.DEPTH_N, 3, 0.3
    task = Task(5)
    weights = jax.tree.map(
        lambda w: jnp.asarray(w, jnp.float32), gd_weights(task.d, eta, n, layers=steps)
    )
    losses, _, _ = experiment.evaluate(weights, jax.random.key(2), task, n, PROMPTS)
    mean, error = experiment.mean_and_error(losses)
    assert mean == pytest.approx(task.d * reference.gd_loss(steps, eta, n, task.d), abs=5 * error)
    best = experiment.best_one_size(1)
    assert best == pytest.approx(task.d * reference.best_step(n, task.d).loss, rel=1e-6)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of seconds: one case, few steps, the rest as it is."""
    recipe = experiment.Recipe

    def tiny(*args: object, **kwargs: object) -> object:
        return recipe(*args, **kwargs | {"steps": 100, "batch": 32})  # pyright: ignore

    monkeypatch.setattr(experiment, "Recipe", tiny)
    only = experiment.cases()[1:2]
    monkeypatch.setattr(experiment, "cases", lambda: only)


@pytest.mark.long
@pytest.mark.usefixtures("small")
def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, tables, and a resumed run that measures nothing again."""
    out = tmp_path / "run"
    arguments = ["--quick", "--out", str(out)]
    assert scaffold.main(experiment.EXPERIMENT, arguments) == 0
    printed = capsys.readouterr().out
    for part in ("all weights free", "closed form", "best steps", "skewed"):
        assert part in printed
    first = json.loads((out / "result.json").read_text())
    (layer,), (stack,) = first["layers"], first["stacks"]
    assert layer["closed_form"]["loss"] == pytest.approx(1.1522, abs=5e-5)
    assert len(layer["training"]["ratio"]) == experiment.CURVE_POINTS
    assert stack["best_descent"] == pytest.approx(0.970971, abs=5e-7)
    assert all(math.isfinite(stack[name]) for name in ("descent", "full"))
    for picture in ("layers.png", "depth.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert scaffold.main(experiment.EXPERIMENT, [*arguments, "--resume"]) == 0
    second = json.loads((out / "result.json").read_text())
    assert second["units"] == {"done": 3, "from_earlier_starts": 3}
    assert second["layers"] == first["layers"]
    assert second["stacks"] == first["stacks"]


def test_options() -> None:
    built = parser(experiment.EXPERIMENT)
    assert built.parse_args(["--depth", "3"]).depth == 3
    with pytest.raises(ValueError, match="whole number from 2 on"):
        built.parse_args(["--depth", "1"])
