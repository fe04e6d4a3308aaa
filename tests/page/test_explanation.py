"""What a page says of a change: every number is one of result.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxsvd.page.explanation import answers_data, explanation_data, shown_fields
from jaxsvd.results.calibration import explain
from jaxsvd.results.explanation import Change, Control, Explanation, SideEffect
from jaxsvd.results.fields import Fields
from jaxsvd.results.label_counts import LabelCounts
from jaxsvd.results.origins import Direction, EffectOrigin, Origins, Shift
from jaxsvd.results.perplexity import Perplexity
from jaxsvd.results.read import read_run
from jaxsvd.results.spread import Spread
from jaxsvd.results.statistics import Accuracy, paired_difference

from . import written_runs


def parts() -> tuple[Explanation, LabelCounts, dict[str, Any]]:
    """A shift of the prior: explanation, answers, and the ``test`` object."""
    rng = np.random.default_rng(0)
    gold = (rng.random(300) < 0.4).astype(int)
    after = np.stack([np.zeros(300), 2.0 * gold - 1 + rng.normal(size=300)], axis=1)
    before = after + np.array([2.0, 0.0])
    answers = before.argmax(axis=1), after.argmax(axis=1)
    right = [said == gold for said in answers]
    base, pruned = map(Accuracy.of, right)
    tested = {"base": base.to_json(), "pruned": pruned.to_json()}
    tested |= paired_difference(*right).to_json()
    actual = explain((before, after), gold, (before, after), gold)
    return actual, LabelCounts.of(written_runs.LABELS, gold, *answers), tested


def write_search(path: Path) -> dict[str, Any]:
    """A run directory of a search with everything explained; its result.json."""
    actual, counts, tested = parts()
    change = Change(0.5, 0.49, -0.01, (-0.05, 0.03), 0.7)
    more: dict[str, Any] = {
        "controls": [
            Control("noise", 3, 0.61, 0.02, 0.7, 0.01).to_json(),
            Control("removed-part", 1, 0.5, None).to_json(),
        ],
        "spread": {"draws": Spread((0.1, -0.1), 0.12, 0.03).to_json()},
        "also": [SideEffect("rte", 100, change, False, 0.01, False).to_json()],
        "texts": {
            "novel.txt": Perplexity(
                "strided", 128, 64, 900, 20.0, 21.0, 0.0488, (0.04, 0.0576), 0.01, True
            ).to_json()
        },
    }
    shift = Shift(0.5, (0.4, 0.6), -0.1, 0.3)
    origins = Origins(
        labels=written_runs.LABELS,
        examples=50,
        total=shift,
        parts=(EffectOrigin(7, "direct", shift), EffectOrigin(7, "mlp", shift)),
        removed=12,
        first_order=0.4,
        directions=(Direction("fc_out", 3, 1.5, shift, ("film", ":"), 0.7, "a film: pos"),),
    )
    more["origins"] = origins.to_json()
    validation = [
        {"rate": rate, "rank": rank} | Accuracy.of(np.arange(60) < right).to_json()
        for rate, rank, right in ((0.0, None, 30), (0.9, 5, 40))
    ]
    result = (
        written_runs.common("search")
        | counts.to_json()
        | {"explanation": actual.to_json() | more, "layer": 7, "module": "mlp"}
        | {"validation": validation, "best_rate": 0.9, "test": tested}
    )
    path.mkdir(parents=True)
    written_runs.write(
        path / "run.json",
        {"command": "search", "model": written_runs.MODEL, "task": written_runs.task()},
    )
    written_runs.write(path / "result.json", result)
    return json.loads((path / "result.json").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("page") / "search"
    return path, write_search(path)


def test_answers(run: tuple[Path, dict[str, Any]]) -> None:
    """Right, untouched and truncated, with accuracy, balanced accuracy and the majority."""
    path, written = run
    shown = answers_data(read_run(path).result)
    assert shown is not None
    assert [c["name"] for c in shown["columns"]][1:3] == list(written_runs.LABELS)
    for row, name in zip(shown["rows"], ("gold", "untouched", "truncated"), strict=True):
        assert row[1:3] == [f"{n:,}" for n in written["label_counts"][name].values()]
    assert shown["rows"][2][4] == f"{written['balanced_accuracy']['truncated']:.4f}"
    assert shown["rows"][1][3] == f"{written['test']['base']['accuracy']:.4f}"
    assert f"{written['majority']:.4f}" in shown["note"]


def test_explanation(run: tuple[Path, dict[str, Any]]) -> None:
    """Every reading, control, spread and side effect has its row."""
    path, written = run
    shown: Any = explanation_data(read_run(path).result)
    actual = written["explanation"]
    assert shown["verdict"] == actual["verdict"] == "label prior"
    readings, controls, luck, elsewhere, parts, directions = shown["tables"]
    assert [row[0] for row in parts["rows"]] == ["layer 7, directly", "layer 7, through mlp", "all"]
    assert directions["rows"][0][0] == "fc_out 3"
    assert "film :" in directions["rows"][0]
    for row, change in zip(
        readings["rows"], (*actual["accuracy"].values(), actual["auc"]), strict=True
    ):
        assert row[1:4] == [
            f"{change['untouched']:.4f}",
            f"{change['truncated']:.4f}",
            f"{change['difference']:+.4f}",
        ]
    assert [row[0] for row in controls["rows"]] == ["noise", "removed-part"]
    assert luck["rows"][0][:3] == ["draws", "2", "+0.0000"]
    rte, novel = elsewhere["rows"]
    assert rte[-2:] == ["not shown", "not shown (0.01)"]
    assert novel[-2:] == ["shown", "not shown (0.01)"]
    raw, fitted = (actual["accuracy"][name] for name in ("raw", "fitted_prior"))
    assert [line["values"] for line in shown["lines"]] == [
        [raw["untouched"], fitted["untouched"]],
        [raw["truncated"], fitted["truncated"]],
        [0.61, 0.7],
    ]
    assert any("share of the raw change" in line for line in shown["text"])


def test_what_is_shown_is_left_out_of_the_plain_tables(run: tuple[Path, dict[str, Any]]) -> None:
    result = read_run(run[0]).result
    assert shown_fields(result) == {
        "label_counts", "majority", "balanced_accuracy", "explanation",
    }  # fmt: skip


def test_runs_without_them_show_nothing(tmp_path: Path) -> None:
    result = read_run(written_runs.sweep(tmp_path / "sweep", size=5)).result
    assert answers_data(result) is None
    assert explanation_data(result) is None
    assert shown_fields(result) == set()


def test_equivalence_of_a_text() -> None:
    """Two one-sided tests at 5 %: the 90 % interval inside the margin; p of the normal law."""
    error = 0.01
    text = Perplexity(
        "strided", 8, 4, 99, 2.0, 2.1, 0.03, (0.03 - 1.959964 * error, 0.03 + 1.959964 * error),
        0.0465,
    )  # fmt: skip
    assert text.equivalent  # 0.03 + 1.645 * 0.01 = 0.04645
    assert text.p_value == pytest.approx(0.0026998, abs=1e-6)  # 3 standard errors
    assert Perplexity.from_json(Fields(text.to_json())) == text
