"""Run directories that version 0.1.0 left open as they did, and say the same.

``runs_of_0_1_0`` was made by that version (commit df88063) on the bundled model, with few examples.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from jaxsvd.commands.compare import compare
from jaxsvd.commands.report import report
from jaxsvd.page.repeat import repeat
from jaxsvd.results.conditions import ConditionResult
from jaxsvd.results.evaluation import Evaluation
from jaxsvd.results.fields import Fields
from jaxsvd.results.other import OtherResult
from jaxsvd.results.predictions import Prediction, read_predictions
from jaxsvd.results.prompts import read_prompts
from jaxsvd.results.read import read_run, result_of
from jaxsvd.results.request import ExperimentRequest, RunRequest
from jaxsvd.results.search import SearchResult
from jaxsvd.results.sweep import SweepResult
from jaxsvd.runs.directory import dump
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT
from paper_figures import accuracy, conditions, searches
from paper_figures.reading import find

RUNS = Path(__file__).parent / "runs_of_0_1_0"
KINDS = {
    "search": SearchResult,
    "search-auto": SearchResult,
    "sweep": SweepResult,
    "evaluate": Evaluation,
    "condition": ConditionResult,
}
EXPERIMENTS = ("depth_sweep", "algorithm1", "condition_numbers", "depth_sweep/bundled-seed-0")


def raw(name: str) -> dict[str, Any]:
    return json.loads((RUNS / name / "result.json").read_text("utf-8"))


@pytest.mark.parametrize("name", KINDS)
def test_results_are_read_and_written_as_they_were(name: str) -> None:
    """Every field, in its order."""
    run = read_run(RUNS / name)
    assert isinstance(run.result, KINDS[name])
    assert dump(run.result.to_json()) == dump(raw(name))
    assert run.result.measured.git == "df88063000dfafbe4ed384f2396be53846df3d2f"


@pytest.mark.parametrize("path", sorted(RUNS.rglob("predictions.jsonl")), ids=str)
def test_predictions_are_read_and_written_as_they_were(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert [dump(line.to_json()) for line in read_predictions(path, SILENT)] == lines


@pytest.mark.parametrize("path", sorted(RUNS.rglob("run.json")), ids=str)
def test_requests_are_read_and_written_as_they_were(path: Path) -> None:
    fields = Fields(json.loads(path.read_text("utf-8")))
    kind = RunRequest if "command" in fields.values else ExperimentRequest
    assert dump(kind.from_json(fields).to_json()) == dump(fields.values)


def test_prompts_are_read_and_written_as_they_were() -> None:
    path = RUNS / "search" / "prompts.jsonl"
    lines = path.read_text("utf-8").splitlines()
    assert [dump(line.to_json()) for line in read_prompts(path, SILENT)] == lines


def test_what_a_search_measured() -> None:
    """The typed values, beside those of the file."""
    result, file = read_run(RUNS / "search-auto").result, raw("search-auto")
    assert isinstance(result, SearchResult)
    assert (result.layer, result.module, result.best_rate) == (file["layer"], "attn", 0.3)
    assert result.choice.top == tuple(file["layer_choice"]["top"])
    assert [score.rank for score in result.validation] == [s["rank"] for s in file["validation"]]
    assert result.base.value == file["test"]["base"]["accuracy"]
    assert result.paired.interval == tuple(file["test"]["interval"])
    assert (result.label_counts, result.explanation) == (None, None)
    right = [line.right for line in lines_of("search-auto", result.best_rate)]
    assert (sum(right), len(right)) == (result.pruned.correct, result.pruned.total)


def lines_of(name: str, rate: float) -> Iterator[Prediction]:
    path = RUNS / name / "predictions.jsonl"
    lines = read_predictions(path, SILENT)
    return (line for line in lines if line.split == "test" and line.rate == rate)


@pytest.mark.parametrize("name", [*KINDS, *EXPERIMENTS])
def test_pages_open(name: str, tmp_path: Path) -> None:
    """With the answer and the command that repeats it."""
    path = report(RUNS / name, out=tmp_path / "page.html")
    page = path.read_text("utf-8")
    assert '<meta name="generator" content="jaxsvd report">' in page
    line, _ = repeat(read_run(RUNS / name))
    assert line is not None
    assert line.startswith(("jaxsvd ", "python -m experiments."))


def test_experiments_have_points_where_they_have_cells() -> None:
    whole, one = (read_run(RUNS / n).result for n in ("depth_sweep", "depth_sweep/bundled-seed-0"))
    assert isinstance(whole, OtherResult)
    assert isinstance(one, SweepResult)
    assert [point for point in whole.points if point.seed == 0] == list(one.points)
    assert whole.model == one.model
    tested, conditions = (read_run(RUNS / n).result for n in ("algorithm1", "condition_numbers"))
    assert isinstance(tested, OtherResult)
    assert isinstance(conditions, OtherResult)
    assert tested.points == conditions.points == ()


def test_figures_read_them() -> None:
    sources = find([RUNS]).sources
    assert len(sources) == 8
    cells = accuracy.points(sources, "depth_sweep")
    assert {cell.layer for cell in cells} == {0, 1}
    points = raw("depth_sweep")["points"]
    mine = {(cell.layer, cell.rate): point.mean for cell, point in cells.items() if cell.shots == 8}
    assert mine == {(p["layer"], p["rate"]): p["mean"] for p in points}
    [numbers] = conditions.conditions(sources).values()
    assert len(numbers.matrices) == 24
    outcomes = searches.outcomes(sources)
    assert {place.module for place in outcomes} == {"mlp", "attn"}


def test_compare_pairs_them() -> None:
    [actual] = compare(RUNS / "search-auto", RUNS / "search-auto")
    assert (actual.paired.gained, actual.paired.lost, actual.first.total) == (0, 0, 12)


# --- of other versions, and damaged -------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_fields_of_newer_versions_are_passed_over(name: str) -> None:
    """At the top and at every object inside."""
    old = raw(name)
    new = with_more(old)
    assert new != old
    assert result_of(new) == result_of(old)


def with_more(value: Any) -> Any:
    if isinstance(value, dict):
        # Objects by label, version, matrix or purpose have any names, but one kind of values.
        named = all(isinstance(entry, int | float | str) for entry in value.values())
        more = {} if named and "correct" not in value else {"of_a_newer_version": [1, {"a": None}]}
        return {name: with_more(entry) for name, entry in value.items()} | more
    return [with_more(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("name", "at", "value", "said"),
    [
        ("search", ("layer",), "1", "layer should be a whole number"),
        ("search", ("best_rate",), 1.0, "best_rate should be a clipping rate in [0, 1)"),
        ("search", ("validation",), [], "validation should be a list, not empty"),
        ("search", ("validation", 1, "rank"), 0.5, "validation[1].rank should be a whole number"),
        ("search", ("test", "base", "correct"), 9, "test.base: 9 of 8 cannot be right"),
        ("search", ("test", "interval"), [0.5], "test.interval should be an interval [low, high]"),
        ("search", ("test", "p_value"), 2, "test.p_value should be a share in [0, 1]"),
        ("search", ("model",), None, "model should be an object"),
        ("search", ("layer_choice", "layer"), None, "layer_choice.layer should be a whole number"),
        ("sweep", ("cells", 3, "seed"), True, "cells[3].seed should be a count"),
        ("sweep", ("task", "seed"), [0, "1"], "task.seed[1] should be a count"),
        ("sweep", ("rates", 1), -0.1, "rates[1] should be a clipping rate in [0, 1)"),
        ("evaluate", ("test",), 3, "test should be an object"),
        ("evaluate", ("versions", "jax"), 10, "versions.jax should be text"),
        ("condition", ("condition_numbers", 0, "matrix"), 3, "condition_numbers[0].matrix should"),
        ("condition", ("model", "layers"), -4, "model.layers should be a count"),
    ],
)
def test_damage_is_said_in_a_line(
    name: str, at: Sequence[str | int], value: Any, said: str, tmp_path: Path
) -> None:
    """The file and the field."""
    result: Any = raw(name)
    inner = result
    for step in at[:-1]:
        inner = inner[step]
    inner[at[-1]] = value
    (tmp_path / "result.json").write_text(json.dumps(result))
    with pytest.raises(UserError) as error:
        read_run(tmp_path)
    line = str(error.value)
    assert line.startswith(f"{tmp_path / 'result.json'}: damaged: {said}")
    assert "\n" not in line


def test_missing_fields_are_named(tmp_path: Path) -> None:
    """Each that a result cannot be without."""
    needed = {
        "search": "model task layer module validation best_rate test",
        "sweep": "model task cells",
        "evaluate": "model task test",
        "condition": "model condition_numbers",
    }
    for name, fields in needed.items():
        whole = raw(name)
        for field in whole:
            rest = {key: value for key, value in whole.items() if key != field}
            (tmp_path / "result.json").write_text(json.dumps(rest))
            if field in fields.split():
                with pytest.raises(UserError, match=f"damaged: there is no {field}$"):
                    read_run(tmp_path)
            elif field != "command":
                read_run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"index": -1}, "index should be a count"),
        ({"gold": 2}, "candidate 2 of 2"),
        ({"scores": []}, "scores should be a list, not empty"),
        ({"scores": [1.0, "x"]}, "scores[1] should be a number"),
        ({"rate": 1.5}, "rate should be a share in [0, 1]"),
        ({"split": None}, "split should be text"),
    ],
)
def test_damaged_predictions(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    first, *_ = (RUNS / "search" / "predictions.jsonl").read_text("utf-8").splitlines()
    path.write_text(f"{first}\n{json.dumps(json.loads(first) | changes)}\n")
    with pytest.raises(UserError) as error:
        list(read_predictions(path, SILENT))
    assert str(error.value) == f"{path}, line 2: damaged: not a prediction ({said})"
