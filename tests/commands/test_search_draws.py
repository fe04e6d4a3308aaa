"""A search over draws on the bundled model: what it writes follows from its predictions alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import jaxsvd
from jaxsvd.engine import kernels
from jaxsvd.model import Model
from jaxsvd.results.fields import Fields
from jaxsvd.results.search import SearchResult
from jaxsvd.results.selection_score import Score, check_score
from jaxsvd.runtime.errors import UserError
from tests.commands.test_search import InterruptingStage, lines, timeless

SIZES: dict[str, Any] = {"validation_size": 60, "test_size": 50, "shots": 6}
CUT: dict[str, Any] = {"layer": 0, "module": "attn", "rates": [0.0, 0.75, 0.9]} | SIZES
SEEDS, ONE = [3, 4, 2], 4


@pytest.fixture(scope="module")
def model() -> Model:
    return jaxsvd.load()


@pytest.fixture(scope="module")
def run(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of one draw; a truncation wins on its validation set."""
    out = tmp_path_factory.mktemp("runs") / "one"
    jaxsvd.search(model, out=out, seed=ONE, **CUT)
    return out


@pytest.fixture(scope="module")
def several(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "several"
    jaxsvd.search(model, out=out, seeds=SEEDS, **CUT)
    return out


def result_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


def tables(run: Path, split: str, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and gold labels, from predictions.jsonl."""
    here = [
        line
        for line in lines(run / "predictions.jsonl")
        if (line["split"], line["rate"], line["seed"]) == (split, rate, seed)
    ]
    return np.array([line["scores"] for line in here]), np.array([line["gold"] for line in here])


def log_probabilities(scores: np.ndarray) -> np.ndarray:
    largest = scores.max(axis=1, keepdims=True)
    return scores - largest - np.log(np.exp(scores - largest).sum(axis=1, keepdims=True))


def prior_offset(scores: np.ndarray, gold: np.ndarray) -> float:
    """Of label 1 against label 0, by maximum likelihood with the ridge of .001 on both offsets.

    The two offsets are +-b / 2 (their mean is 0 at the optimum), so the ridge is .001 b^2 / 4.
    """
    margin = scores[:, 1] - scores[:, 0]
    sign = 2 * gold - 1

    def loss(b: float) -> float:
        return float(np.logaddexp(0, -sign * (margin + b)).sum() + 1e-3 * b * b / 4)

    return float(
        minimize_scalar(loss, bounds=(-60, 60), method="bounded", options={"xatol": 1e-9}).x
    )  # pyright: ignore[reportAttributeAccessIssue]


def area(scores: np.ndarray, gold: np.ndarray) -> float:
    """Pairs of the two labels in the right order, ties by half: for two labels both areas agree."""
    margin = scores[:, 1] - scores[:, 0]
    one, other = margin[gold == 1], margin[gold == 0]
    above = one[:, None] > other
    return float((above + 0.5 * (one[:, None] == other)).mean())


def readings(run: Path, rate: float, seed: int) -> dict[str, np.ndarray]:
    """Which test examples are right, by scoring, recomputed."""
    known, known_gold = tables(run, "validation", rate, seed)
    scores, gold = tables(run, "test", rate, seed)
    log_p = log_probabilities(scores)
    offset = prior_offset(known, known_gold)
    margin = scores[:, 1] - scores[:, 0]
    return {
        "raw": scores.argmax(axis=1) == gold,
        "batch_calibrated": (log_p - log_p.mean(axis=0)).argmax(axis=1) == gold,
        "fitted_prior": (margin + offset > 0) == gold,
    }


def check_explanation(run: Path, actual: dict[str, Any], rate: float, seeds: list[int]) -> None:
    """Everything but the intervals, whose closed forms are tested elsewhere."""
    read = [(readings(run, 0.0, seed), readings(run, rate, seed)) for seed in seeds]
    means = {}
    for scoring, change in actual["accuracy"].items():
        before, after = (np.concatenate([pair[i][scoring] for pair in read]) for i in (0, 1))
        assert change["untouched"] == pytest.approx(before.mean(), abs=1e-12)
        assert change["truncated"] == pytest.approx(after.mean(), abs=1e-12)
        means[scoring] = after.mean() - before.mean()
        assert change["difference"] == pytest.approx(means[scoring], abs=1e-12)
    areas = [np.mean([area(*tables(run, "test", r, s)) for s in seeds]) for r in (0.0, rate)]
    assert actual["auc"]["untouched"] == pytest.approx(areas[0], abs=1e-9)
    assert actual["auc"]["difference"] == pytest.approx(areas[1] - areas[0], abs=1e-9)
    share = actual["share_explained"]["value"]
    low, high = actual["accuracy"]["raw"]["interval"]
    if low <= 0 <= high:
        assert share is None
    else:
        assert share == pytest.approx(1 - means["fitted_prior"] / means["raw"], abs=1e-9)


def check_label_counts(run: Path, result: dict[str, Any], seeds: list[int]) -> None:
    labels = result["task"]["labels"]
    test = [line for line in lines(run / "predictions.jsonl") if line["split"] == "test"]
    gold = np.array([line["gold"] for line in test if line["rate"] == 0])
    counts = {"gold": gold}
    for name, rate in (("untouched", 0.0), ("truncated", result["best_rate"])):
        counts[name] = np.array([line["prediction"] for line in test if line["rate"] == rate])
        right = counts[name] == gold
        balanced = np.mean([right[gold == label].mean() for label in (0, 1)])
        assert result["balanced_accuracy"][name] == pytest.approx(balanced, abs=1e-12)
    assert result["majority"] == max(np.bincount(gold)) / len(gold)
    for name, answers in counts.items():
        assert len(answers) == 50 * len(seeds)
        expected = dict(zip(labels, np.bincount(answers, minlength=2).tolist(), strict=True))
        assert result["label_counts"][name] == expected


@pytest.mark.long
def test_an_explanation_follows_from_the_predictions(run: Path) -> None:
    result = result_of(run)
    assert result["best_rate"] > 0
    check_explanation(run, result["explanation"], result["best_rate"], [ONE])
    check_label_counts(run, result, [ONE])


def test_totals_over_draws_follow_from_the_predictions(several: Path) -> None:
    result = result_of(several)
    assert result["best_rate"] > 0
    check_explanation(several, result["explanation"], result["best_rate"], SEEDS)
    check_label_counts(several, result, SEEDS)
    assert result["task"]["seed"] == SEEDS
    for score in result["validation"]:
        by_draw = [
            next(s for s in draw["validation"] if s["rate"] == score["rate"])
            for draw in result["draws"]
        ]
        assert score["correct"] == sum(s["correct"] for s in by_draw)
        assert score["total"] == 60 * len(SEEDS)
        assert score["sd"] == pytest.approx(np.std([s["accuracy"] for s in by_draw], ddof=1))
    best = max(result["validation"], key=lambda s: (s["correct"], -s["rate"]))
    assert result["best_rate"] == best["rate"]
    chosen = [draw["test_at_chosen_rate"] for draw in result["draws"]]
    test = result["test"]
    assert test["pruned"]["correct"] == sum(c["pruned"]["correct"] for c in chosen)
    assert test["difference"] == pytest.approx(np.mean([c["difference"] for c in chosen]))
    low, high = test["interval"]
    assert low <= test["difference"] <= high
    assert result["selection"]["value"] == best["accuracy"]


def test_a_draw_is_what_a_search_of_it_alone_has(run: Path, several: Path) -> None:
    alone, among = result_of(run), result_of(several)["draws"][1]
    assert among["seed"] == ONE
    for name in ("validation", "best_rate", "test", "explanation"):
        assert among[name] == alone[name]


def test_draws_survive_json(several: Path) -> None:
    result = result_of(several)
    read = SearchResult.from_json(Fields(result))
    assert read.to_json() == result
    assert SearchResult.from_json(Fields(read.to_json())) == read


def test_one_seed_among_seeds_is_that_seed(model: Model, run: Path) -> None:
    actual = jaxsvd.search(model, seeds=[ONE], **CUT).to_json()
    alone = result_of(run)
    for name in ("task", "validation", "best_rate", "test", "explanation", "selection"):
        assert json.loads(json.dumps(actual[name])) == alone[name]
    [draw] = actual["draws"]  # type: ignore[misc]
    assert draw["test"] == actual["test"]  # type: ignore[index]


@pytest.mark.brief(stage=("test",))
@pytest.mark.parametrize(("stage", "after"), [("validation", 40), ("test", 20)])
def test_an_interrupted_search_of_draws_goes_on(
    model: Model, several: Path, tmp_path: Path, stage: str, after: int
) -> None:
    out = tmp_path / "run"
    options: dict[str, Any] = {**CUT, "out": out}
    with pytest.raises(KeyboardInterrupt):
        jaxsvd.search(model, seeds=SEEDS, progress=InterruptingStage(stage, after), **options)
    with pytest.raises(UserError, match="seed"):
        jaxsvd.search(model, seeds=[0, 1], resume=True, **options)
    jaxsvd.search(model, seeds=SEEDS, resume=True, **options)
    assert (out / "predictions.jsonl").read_bytes() == (several / "predictions.jsonl").read_bytes()
    assert timeless(out) == timeless(several)


def test_an_evaluation_of_draws_is_the_searchs_baseline(
    model: Model, several: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = jaxsvd.evaluate(model, seeds=SEEDS, **SIZES)
    base = result_of(several)["test"]["base"]
    assert result.accuracy.to_json() == base
    assert [d.accuracy.correct for d in result.draws] == [
        draw["test"]["base"]["correct"] for draw in result_of(several)["draws"]
    ]
    read = type(result).from_json(Fields(json.loads(json.dumps(result.to_json()))))
    assert read == result
    monkeypatch.setattr(kernels, "layer", lambda *_: pytest.fail("scored anew"))


@pytest.mark.brief(score=("auc",))
@pytest.mark.parametrize("score", ["calibrated", "nll", "auc"])
def test_the_score_decides(model: Model, score: Score, tmp_path: Path) -> None:
    """Recomputed from the predictions: the rate with the largest score, the first of equals."""
    out, rates = tmp_path / "run", CUT["rates"]
    result = jaxsvd.search(model, score=score, out=out, **CUT)
    expected = []
    for rate in rates:
        scores, gold = tables(out, "validation", rate, 0)
        log_p = log_probabilities(scores)
        expected.append(
            {
                "calibrated": ((log_p - log_p.mean(axis=0)).argmax(axis=1) == gold).mean(),
                "nll": log_p[np.arange(len(gold)), gold].mean(),
                "auc": area(scores, gold),
            }[score]
        )
    assert [s.value for s in result.validation] == pytest.approx(expected, abs=1e-9)
    assert result.best_rate == rates[int(np.argmax(expected))]
    written = result_of(out)
    assert written["selection"]["score"] == score
    assert written["selection"]["value"] == pytest.approx(max(expected), abs=1e-9)


def test_rate_0_joins_the_rates(model: Model) -> None:
    """So there is something to compare with, and an explanation."""
    options: dict[str, Any] = {**CUT, "rates": [0.9]}
    result = jaxsvd.search(model, **options)
    assert [s.rate for s in result.validation] == [0.0, 0.9]
    assert "rate 0" in result.notices[0]
    assert (result.explanation is None) == (result.best_rate == 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, "no seeds"),
        ({"seeds": [0, 1], "seed": 2}, "not both"),
    ],
)
def test_refusals(model: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        jaxsvd.search(model, layer=0, **options)


def test_what_is_no_score_is_refused() -> None:
    with pytest.raises(UserError, match="accuracy, calibrated, nll, auc"):
        check_score("f1")
