"""What a search says: never more than its numbers carry, and never a shift for a gain."""

from dataclasses import replace

import pytest

from jaxsvd.results import search_draw
from jaxsvd.results.evaluation import Evaluation
from jaxsvd.results.explanation import BATCH, FITTED, RAW, Change, Explanation, Share, Verdict
from jaxsvd.results.label_counts import LabelCounts
from jaxsvd.results.records import ModelRecord, TaskRecord
from jaxsvd.results.search import LayerChoice, SearchResult
from jaxsvd.results.search_summary import explanation_lines, search_answer
from jaxsvd.results.statistics import Accuracy, PairedDifference
from jaxsvd.results.summary import answer

MODEL = ModelRecord("made/up", "llama", 4, 1000, "float32")
TASK = TaskRecord(name="rte", shots=10, seed=3, chance=0.5, labels=("True", "False"))
COUNTS = LabelCounts(
    gold={"True": 84, "False": 116},
    untouched={"True": 90, "False": 110},
    majority=0.58,
    balanced_untouched=0.6,
    truncated={"True": 199, "False": 1},
    balanced_truncated=0.505,
)


def change(difference: float, half: float, p_value: float | None = None) -> Change:
    return Change(
        0.5, 0.5 + difference, difference, (difference - half, difference + half), p_value
    )


def explanation(
    verdict: Verdict, raw: float, fitted: float, area: float, share: float | None = None
) -> Explanation:
    """Differences, each with an interval of +-.03."""
    changes = {RAW: change(raw, 0.03, 0.01), BATCH: change(fitted, 0.03, 0.01)}
    changes[FITTED] = change(fitted, 0.03, 0.01 if abs(fitted) > 0.03 else 0.8)
    part = None if share is None else Share(share, (share - 0.1, share + 0.1))
    return Explanation(changes, change(area, 0.03), part, verdict)


def search(difference: float, p_value: float, actual: Explanation | None) -> SearchResult:
    base = Accuracy(100, 200)
    interval = difference - 0.03, difference + 0.03
    return SearchResult(
        model=MODEL,
        task=TASK,
        layer=2,
        module="mlp",
        choice=LayerChoice(2),
        validation=(),
        best_rate=0.9,
        base=base,
        pruned=Accuracy(round(100 + 200 * difference), 200),
        paired=PairedDifference(difference, interval, p_value, 20, 5),
        explanation=actual,
    )


def test_a_gain_that_is_a_shift_of_the_prior_is_qualified() -> None:
    said = search_answer(search(0.16, 1e-5, explanation("label prior", 0.16, 0.0, 0.001, 1.0)))
    assert "a gain beyond noise in raw accuracy, a shift of the label prior" in said
    assert "calibrated, it is +0.0000" in said
    assert "a gain beyond noise;" not in said


def test_a_raw_loss_that_hides_a_gain_is_no_loss() -> None:
    """As on RTE: one constant answer in place of two, while the labels are told apart better."""
    cases: list[tuple[float, float, Verdict]] = [
        (0.05, 0.06, "both"),
        (0.01, 0.06, "discrimination"),
    ]
    for fitted, area, verdict in cases:
        actual = explanation(verdict, -0.06, fitted, area, 1.8)
        said = search_answer(search(-0.06, 0.001, actual))
        assert "a loss beyond noise in raw accuracy, a shift of the label prior" in said
        assert "hides a gain in telling the labels apart" in said
        assert "a loss beyond noise;" not in said


@pytest.mark.parametrize(
    ("verdict", "raw", "p_value", "fitted", "area", "expected"),
    [
        ("discrimination", 0.05, 0.01, 0.05, 0.06, "a gain beyond noise; calibrated"),
        ("discrimination", -0.05, 0.01, -0.05, -0.06, "a loss beyond noise; calibrated"),
        ("both", 0.09, 0.01, 0.05, 0.06, "in part a shift of the label prior, in part a gain"),
        ("no change", 0.01, 0.6, 0.0, 0.0, "within noise; calibrated"),
        ("discrimination", 0.01, 0.6, 0.0, -0.05, "within noise in raw accuracy, but a loss in"),
        ("no change", 0.029, 0.04, 0.0, 0.0, "which calibration does not confirm"),
    ],
)
def test_the_other_readings(
    verdict: Verdict, raw: float, p_value: float, fitted: float, area: float, expected: str
) -> None:
    said = search_answer(search(raw, p_value, explanation(verdict, raw, fitted, area)))
    assert expected in said


def test_without_an_explanation_the_raw_change_stands() -> None:
    assert ": a gain beyond noise." in search_answer(search(0.1, 0.001, None))
    assert ": within noise." in search_answer(search(0.01, 0.7, None))


def test_one_draw_speaks_of_itself_alone() -> None:
    result = search(0.1, 0.001, explanation("discrimination", 0.1, 0.1, 0.1))
    for one in (result, replace(result, best_rate=0.0)):
        assert "one draw of demonstrations alone (seed 3)" in search_answer(one)
    assert explanation_lines(result)[-1].endswith("(on this draw of demonstrations alone)")


def test_several_draws_are_told_with_their_spread() -> None:
    result = search(0.02, 0.3, explanation("no change", 0.02, 0.0, 0.0))
    draws = []
    for seed, difference in enumerate((-0.12, 0.16, 0.02)):
        paired = PairedDifference(difference, (difference - 0.05, difference + 0.05), 0.01, 9, 9)
        tested = search_draw.Tested(result.base, result.pruned, paired)
        draws.append(search_draw.SearchDraw(seed, (), 0.9, tested, None, tested))
    result = replace(result, draws=tuple(draws))
    said = search_answer(result)
    assert "changes test accuracy by +0.0200 over 3 draws" in said
    assert "Student's t over draws and examples" in said
    assert "By draw the change goes from -0.1200 to +0.1600." in said
    assert "alone" not in said
    assert (
        explanation_lines(result)[-1] == "what changed: no change (over 3 draws of demonstrations)"
    )


def test_a_constant_answer_is_told_in_counts() -> None:
    said = search_answer(replace(search(-0.06, 0.001, None), label_counts=COUNTS))
    assert said.endswith(
        "Chance is 0.500; always answering the commonest label scores 0.580. "
        "The truncated model answers 'True' to 199 of 200 questions."
    )
    always = replace(COUNTS, truncated={"True": 200, "False": 0})
    said = search_answer(replace(search(-0.06, 0.001, None), label_counts=always))
    assert said.endswith("The truncated model answers 'True' to all 200 questions.")
    often = replace(COUNTS, truncated={"True": 189, "False": 11})
    assert "The truncated" not in search_answer(
        replace(search(-0.06, 0.001, None), label_counts=often)
    )


@pytest.mark.parametrize(
    ("correct", "gold", "expected"),
    [
        (180, {"True": 84, "False": 116}, "above the commonest label (0.580)"),
        (118, {"True": 84, "False": 116}, "not distinguishable from the commonest label (0.580)"),
        (98, {"True": 84, "False": 116}, "below the commonest label (0.580)"),
        (70, {"True": 84, "False": 116}, "below chance (0.500)"),
        (140, {"True": 100, "False": 100}, "above chance (0.500)"),
    ],
)
def test_below_chance_is_not_below_the_majority(
    correct: int, gold: dict[str, int], expected: str
) -> None:
    """Wilson's interval of 98 of 200 holds .5 and ends at .559: below the majority of .58."""
    counts = replace(COUNTS, gold=gold, majority=max(gold.values()) / 200, truncated=None)
    evaluated = Evaluation(
        model=MODEL, task=TASK, accuracy=Accuracy(correct, 200), label_counts=counts
    )
    said = answer(evaluated, ())
    assert said.endswith(f"{expected}.")
