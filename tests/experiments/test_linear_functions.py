"""Transformers on linear functions at a tiny size: training, resumption, the whole run."""

import contextlib
import dataclasses
import functools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import scaffold
from experiments.common.records import restore
from experiments.linear_functions import checkpoints, draw, load, running
from experiments.linear_functions.experiment import EXPERIMENT, size_of
from experiments.linear_functions.sizes import DEFAULT, PAPER, QUICK
from experiments.linear_functions.training import (
    RegressionTrainState,
    batch_at,
    grown,
    learning_curve,
    make_steps,
    schedule,
    start,
    stretch,
)
from jaxsvd import UserError
from jaxsvd.runtime.progress import Progress
from jaxsvd.svd import RATES

OPTIONS = {"d": 1, "points": 4, "layers": 2, "width": 16, "heads": 2, "steps": 400, "batch": 32}
ARGUMENTS = [
    "--quick",
    "--curriculum",
    "--learning-rate",
    "0.01",
    "--prompts",
    "100",
    "--seed",
    "3",
]
ARGUMENTS += [part for name, value in OPTIONS.items() for part in (f"--{name}", str(value))]
# The same size for all, so that it compiles once.
TINY = size_of(scaffold.parser(EXPERIMENT).parse_args(ARGUMENTS))


def same(one: RegressionTrainState, other: RegressionTrainState) -> None:
    for mine, wanted in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(wanted))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RegressionTrainState]:
    """A run that nothing interrupted, in calls of whatever length the machine's speed gives."""
    run = tmp_path_factory.mktemp("linear")
    state, _ = running.train(TINY, 3, run)
    return run, state


class Killing(Progress):
    """Interrupts where a call of the training ends at or after a step."""

    def __init__(self, moment: int) -> None:
        self.moment, self.done = moment, 0

    def bar(self, description: str, total: int, unit: str) -> contextlib.AbstractContextManager:
        def advance(steps: int) -> None:
            self.done += steps
            if self.done >= self.moment:
                raise KeyboardInterrupt

        return contextlib.nullcontext(advance)


@pytest.mark.long
@pytest.mark.parametrize("moment", [1, 24, 61])
def test_killed_and_resumed_is_the_same_run(
    tmp_path: Path, whole: tuple[Path, RegressionTrainState], moment: int
) -> None:
    """To the last bit: weights, moments and learning curve, however the calls were cut."""
    with pytest.raises(KeyboardInterrupt):
        running.train(
            TINY, 3, tmp_path, progress=Killing(moment), call_seconds=1e-9, save_share=math.inf
        )
    left = checkpoints.restore(start(TINY, 3), TINY, 3, tmp_path)[0]
    assert moment <= int(left.step) < TINY.steps
    state, _ = running.train(TINY, 3, tmp_path)
    same(state, whole[1])
    for steps in TINY.lengths():
        for mine, wanted in zip(
            jax.tree.leaves(load(tmp_path, steps).parameters),
            jax.tree.leaves(load(whole[0], steps).parameters),
            strict=True,
        ):
            np.testing.assert_array_equal(mine, wanted)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    drawn = jax.jit(batch_at, static_argnums=(0, 1))
    one, weights = drawn(TINY, 3, jnp.int32(5))
    again, _ = drawn(TINY, 3, jnp.int32(5))
    np.testing.assert_array_equal(one.x, again.x)
    for other in (drawn(TINY, 3, jnp.int32(6)), drawn(TINY, 4, jnp.int32(5))):
        assert not np.any(np.asarray(one.w) == np.asarray(other[0].w))
    assert float(weights.sum()) == pytest.approx(1)


def test_kept_weights_are_those_of_their_step(whole: tuple[Path, RegressionTrainState]) -> None:
    assert checkpoints.kept(whole[0]) == [50, 100, 200, 400]
    trained = load(whole[0])
    assert (trained.steps, trained.seed, trained.size) == (400, 3, TINY)
    early = make_steps(TINY, 3)(start(TINY, 3), 50)
    for mine, wanted in zip(
        jax.tree.leaves(load(whole[0], 50).parameters),
        jax.tree.leaves(early.parameters),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, wanted)


@pytest.mark.long
def test_training_lowers_the_loss(whole: tuple[Path, RegressionTrainState]) -> None:
    """Of the points but the first, whose error nothing can lower."""
    ends, losses = learning_curve(TINY, np.asarray(whole[1].losses))
    assert ends[-1] == TINY.steps
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])
    trained, prompts = load(whole[0]), draw(jax.random.key(0), 1_000, TINY.points, TINY.d)
    late = trained.errors(prompts).mean(axis=0)
    early = load(whole[0], 50).errors(prompts).mean(axis=0)
    assert late[0] == pytest.approx(1, abs=0.2)
    assert np.all(late[1:] < early[1:])
    assert late[-1] < 0.7


def test_the_curriculum_is_that_of_the_paper() -> None:
    """Garg et al.: 5 dimensions and 11 points, one and two more every 2,000 steps, to 20 and 41."""
    size = dataclasses.replace(PAPER, curriculum=True)
    for step in (0, 1_999, 2_000, 15_000, 29_999, 30_000, 499_999):
        dimensions = min(5 + step // 2_000, 20)
        actual = grown(size, jnp.int32(step))
        assert [int(f) for f in actual] == [dimensions, 2 * dimensions + 1]
    prompts, weights = jax.jit(batch_at, static_argnums=(0, 1))(
        dataclasses.replace(size, batch=2), 0, jnp.int32(0)
    )
    assert not np.any(prompts.x[..., 5:])
    np.testing.assert_allclose(prompts.y, np.einsum("bpd,bd->bp", prompts.x, prompts.w), rtol=1e-5)
    np.testing.assert_allclose(weights, [1 / 11] * 11 + [0] * 30)
    long = dataclasses.replace(size, points=50)
    assert int(grown(long, jnp.int32(40_000))[1]) == 50


def test_the_learning_rate() -> None:
    rate = schedule(dataclasses.replace(DEFAULT, steps=1_000, warm_up=100, decay=0.5))
    at = [float(rate(step)) / DEFAULT.learning_rate for step in (0, 49, 99, 500, 750, 999)]
    np.testing.assert_allclose(at, [0.01, 0.5, 1, 1, 0.5, 0.002], rtol=1e-5)
    assert float(schedule(PAPER)(0)) == float(schedule(PAPER)(499_999)) == pytest.approx(1e-4)


def test_the_learning_curve_adds_up() -> None:
    for steps in (1, 7, 200, 201, 1_234):
        size = dataclasses.replace(TINY, steps=steps)
        length = stretch(size)
        sums = np.bincount(np.arange(steps) // length, weights=np.arange(steps, dtype=float))
        assert jax.eval_shape(functools.partial(start, size, 0)).losses.shape == sums.shape
        ends, means = learning_curve(size, sums)
        assert ends[-1] == steps
        counts = np.diff(ends, prepend=0)
        assert np.sum(counts * means) == pytest.approx(steps * (steps - 1) / 2)


def test_sizes() -> None:
    built = scaffold.parser(EXPERIMENT)
    assert size_of(built.parse_args([])) == DEFAULT
    assert size_of(built.parse_args(["--quick"])) == QUICK
    paper = size_of(built.parse_args(["--paper-size", "--curriculum"]))
    assert paper == dataclasses.replace(PAPER, curriculum=True)
    assert (paper.layers, paper.width, paper.heads, paper.d, paper.points) == (12, 256, 8, 20, 41)
    assert (paper.learning_rate, paper.batch, paper.steps) == (1e-4, 64, 500_000)
    assert (paper.warm_up, paper.decay, paper.clip, paper.initial) == (0, 0, 0, 0.02)
    given = size_of(built.parse_args(["--d", "3", "--layers", "2", "--learning-rate", "0.01"]))
    wanted = dataclasses.replace(DEFAULT, d=3, points=7, layers=2, learning_rate=0.01)
    assert given == wanted


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quick", "--paper-size"], "exclude each other"),
        (["--width", "30", "--heads", "4"], "should be an even multiple of --heads"),
        (["--points", "1"], "--points 1 should be 2 or more"),
        (["--steps", "0"], "'0' should be a whole number from 1 on"),
        (["--learning-rate", "nan"], "--learning-rate nan should be positive"),
        (["--positions", "none"], "invalid choice"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert scaffold.main(EXPERIMENT, arguments) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_no_checkpoint(tmp_path: Path, whole: tuple[Path, RegressionTrainState]) -> None:
    with pytest.raises(UserError, match="no run with a trained transformer"):
        load(tmp_path)
    with pytest.raises(UserError, match="no weights after 6 steps; kept are those after 50, 100"):
        load(whole[0], 6)
    (tmp_path / "checkpoints").mkdir()
    good = checkpoints.last_path(whole[0]).read_bytes()
    for damaged in (b"", b"PK\x03\x04 cut short", good[:-500]):
        checkpoints.last_path(tmp_path).write_bytes(damaged)
        with pytest.raises(UserError, match="not readable as a checkpoint"):
            running.train(TINY, 3, tmp_path)
    checkpoints.last_path(tmp_path).write_bytes(good)
    for size, seed in ((TINY, 4), (dataclasses.replace(TINY, steps=401), 3)):
        with pytest.raises(UserError, match="of another size or seed"):
            running.train(size, seed, tmp_path)


@pytest.mark.long
def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, tables, their formats, and a resumed run that measures nothing again."""
    out = tmp_path / "run"
    arguments = [*ARGUMENTS, "--out", str(out)]
    assert scaffold.main(EXPERIMENT, arguments) == 0
    printed = capsys.readouterr().out
    for part in ("least squares, exact", "learnt to regress", "be told apart", "on as many other"):
        assert part in printed
    result = json.loads((out / "result.json").read_text())
    _check_format(restore(result))
    for picture in EXPERIMENT.pictures:
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert scaffold.main(EXPERIMENT, [*arguments, "--resume"]) == 0
    again = json.loads((out / "result.json").read_text())
    assert again["units"]["from_earlier_starts"] == again["units"]["done"]
    for name in ("curves", "baselines", "truncation", "confirmed", "size"):
        assert again[name] == result[name]
    assert load(out).steps == 400


def _check_format(result: scaffold.Record) -> None:
    examples = list(range(4))
    assert [curve["steps"] for curve in result["curves"]] == [50, 100, 200, 400]
    curves = [*result["curves"], *result["baselines"].values(), *result["truncation"]]
    for curve in curves:
        assert curve["examples"] == examples
        assert all(math.isfinite(v) for v in curve["error"] + curve["standard_error"])
    assert set(result["baselines"]) == {"least squares", "averaging", "zero"}
    places = [(cell["layer"], cell["module"], cell["rate"]) for cell in result["truncation"]]
    assert places == [(n, m, rate) for n in (0, 1) for m in ("mlp", "attn") for rate in RATES]
    assert [cell["rank"] for cell in result["truncation"][:8]] == [None, 14, 8, 4, 1, 1, 1, 1]
    assert OPTIONS.items() <= result["size"].items()
