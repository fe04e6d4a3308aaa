"""Comparisons of two models: exact test, equivalence, flips; runs of ours and of the harness."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxsvd.commands.compare import compare
from jaxsvd.results.answers import END, Answers, query_end
from jaxsvd.results.comparison import Z90, compare_answers
from jaxsvd.results.evaluation import Evaluation
from jaxsvd.results.predictions import Prediction
from jaxsvd.results.records import ModelRecord, TaskRecord
from jaxsvd.results.search import LayerChoice, RateScore, SearchResult
from jaxsvd.results.statistics import Accuracy, paired_difference
from jaxsvd.runtime.errors import UserError


def answers(right: list[bool], task: str = "t", gold: str = "0") -> dict[str, Answers]:
    keys = [("test", i) for i in range(len(right))]
    return {
        task: Answers(
            task, task, dict(zip(keys, right, strict=True)), dict.fromkeys(keys, gold), {}
        )
    }


def exact_mcnemar(gained: int, lost: int) -> float:
    """Twice the smaller tail of a binomial with one half; at most 1."""
    n, k = gained + lost, min(gained, lost)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


@pytest.mark.parametrize(("gained", "lost", "same"), [(0, 0, 9), (7, 1, 30), (3, 12, 5), (6, 6, 0)])
def test_by_hand(gained: int, lost: int, same: int) -> None:
    first = [False] * gained + [True] * lost + [True] * same
    second = [True] * gained + [False] * lost + [True] * same
    [actual] = compare_answers(answers(first), answers(second))
    n = len(first)
    assert actual.paired.difference == pytest.approx((gained - lost) / n, abs=1e-15)
    assert actual.paired.p_value == pytest.approx(exact_mcnemar(gained, lost), rel=1e-12)
    assert [f.gained for f in actual.flips] == [True] * gained + [False] * lost


def test_equivalence_needs_enough_examples() -> None:
    """20 of 2,000 examples each way lie within two points, 2 of 20 do not."""
    for n, inside in ((2000, True), (20, False)):
        first = np.arange(n) % 100 != 0
        second = np.arange(n) % 100 != 1
        [actual] = compare_answers(answers(first.tolist()), answers(second.tolist()), margin=0.02)
        p = q = (sum(~first) + 1) / (n + 2)
        assert actual.within[1] == pytest.approx(Z90 * math.sqrt((p + q) / (n + 2)), rel=1e-9)
        assert actual.equivalent == inside


def test_two_one_sided_tests_keep_their_level() -> None:
    """At a true difference of the margin, equivalence is said in at most 5 % of data sets.

    400 data sets: a rate of 0.05 has a standard error of 0.011, four of them are allowed.
    """
    rng, said = np.random.default_rng(0), 0
    for _ in range(400):
        first = rng.random(800) < 0.6
        second = first ^ (rng.random(800) < np.where(first, 0.05, 0.15))
        # E[second - first] = .4 * .15 - .6 * .05 = .03
        [actual] = compare_answers(answers(first.tolist()), answers(second.tolist()), margin=0.03)
        said += actual.equivalent
    assert said / 400 <= 0.05 + 4 * 0.011


def test_several_tasks_are_corrected_and_pooled() -> None:
    """P = .0313 twice: neither is below .05 / 2; pooled, 12 to 0 is."""
    first = answers([False] * 6 + [True] * 20, "a") | answers([False] * 6 + [True] * 20, "b")
    second = answers([True] * 26, "a") | answers([True] * 26, "b")
    *single, pooled = compare_answers(first, second)
    assert [c.significant for c in single] == [False, False]
    assert pooled.task == "all tasks"
    assert pooled.significant
    assert pooled.paired.gained == 12


@pytest.mark.parametrize(
    ("second", "margin", "message"),
    [
        (answers([True], gold="1"), 0.1, "not of the same examples"),
        (answers([True]), 0.0, "margin"),
        (answers([]), 0.1, "no example in common"),
    ],
)
def test_refusals(second: dict[str, Answers], margin: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare_answers(answers([True]), second, margin=margin)


def test_a_prompt_is_told_by_its_end() -> None:
    """The query, on one line; whole words, where the demonstrations before it do not fit."""
    assert query_end("text: a\nlabel: b\n\ntext: c\nlabel:") == "text: a label: b text: c label:"
    shown = "".join(f"Review: shown number {i}. Sentiment: good " for i in range(40))
    end = query_end(shown + "Review: the very query. Sentiment:")
    assert end.endswith(" Review: the very query. Sentiment:")
    assert end.startswith("... ")
    assert len(end) <= END
    assert end[4:].split()[0] in shown.split()
    assert len(query_end("x" * 500)) == END


def write_samples(path: Path, right: list[float], metric: str = "acc") -> Path:
    """As the harness logs them."""
    lines = [
        {
            "doc_id": i,
            "doc": {"text": f"question {i}"},
            "target": i % 2,
            "filter": "none",
            "metrics": [metric],
            metric: value,
        }
        for i, value in enumerate(right)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_samples_of_the_harness(tmp_path: Path) -> None:
    name = "samples_my_task_2026-01-02T03-04-05.678.jsonl"
    one = write_samples(tmp_path / "one" / "model" / name, [1.0, 0.0, 1.0])
    write_samples(tmp_path / "two" / "model" / name, [1.0, 1.0, 1.0])
    write_samples(
        tmp_path / "two" / "model" / name.replace("2026", "2025"), [0.0, 0.0, 0.0]
    )  # an older run in the same folder
    [actual] = compare(one, tmp_path / "two")
    assert actual.task == "my_task"
    assert (actual.paired.gained, actual.paired.lost) == (1, 0)
    assert actual.flips[0].text == '{"text": "question 1"}'
    assert json.loads(json.dumps(actual.to_json()))["difference"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("right", "options", "message"),
    [
        ([0.5], {}, "acc = 0.5 is neither right"),
        ([1.0], {"metric": "f1"}, "no metric f1; --metric names one of: acc"),
    ],
)
def test_samples_that_cannot_be_paired(
    tmp_path: Path, right: list[float], options: dict[str, Any], message: str
) -> None:
    path = write_samples(tmp_path / "samples_t.jsonl", right)
    with pytest.raises(UserError, match=message):
        compare(path, path, **options)


def test_a_search_against_an_evaluation(tmp_path: Path) -> None:
    """The truncated model of a search beside the untouched one, as the search itself compares."""
    lines = [
        Prediction("test", "mlp", 0, rate, 4, 0, i, 0, prediction, (0.0, 1.0))
        for i in range(8)
        for rate, prediction in ((0.0, i % 2), (0.5, 0))
    ]
    half, all_right = Accuracy(4, 8), Accuracy(8, 8)
    head: dict[str, Any] = {
        "model": ModelRecord("made/up", "gptj", 8, 1_000, "float32"),
        "task": TaskRecord(name="t", chance=0.5),
    }
    results = {
        "search": SearchResult(
            layer=0,
            module="mlp",
            choice=LayerChoice(0),
            validation=(RateScore(0.5, 4, all_right),),
            best_rate=0.5,
            base=half,
            pruned=all_right,
            paired=paired_difference([i % 2 == 0 for i in range(8)], [True] * 8),
            **head,
        ),
        "evaluate": Evaluation(accuracy=half, **head),
    }
    for name, result in results.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(result.to_json()))
        (tmp_path / name / "predictions.jsonl").write_text(
            "".join(json.dumps(line.to_json()) + "\n" for line in lines)
        )
    [actual] = compare(tmp_path / "evaluate", tmp_path / "search")
    assert (actual.first.correct, actual.second.correct, actual.paired.gained) == (4, 8, 4)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (7, 1), (3, 12), (6, 6), (0, 40)])
def test_mcnemar_is_that_of_statsmodels(gained: int, lost: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    first = [True] * 5 + [False] * gained + [True] * lost + [False] * 4
    second = [True] * 5 + [True] * gained + [False] * lost + [False] * 4
    [actual] = compare_answers(answers(first), answers(second))
    theirs = tables.mcnemar([[5, lost], [gained, 4]], exact=True).pvalue
    # At equal counts theirs is 2 P(X <= n / 2), above 1, cut or not by its version.
    assert actual.paired.p_value == pytest.approx(min(1.0, theirs), rel=1e-12)
