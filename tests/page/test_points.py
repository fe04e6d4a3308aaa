"""Points, their pairing, Holm's correction, and the sentence about a sweep."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsvd.page.content import points_of
from jaxsvd.results.fields import Fields
from jaxsvd.results.points import Point, holm, paired
from jaxsvd.results.predictions import Outcomes, Prediction, read_outcomes
from jaxsvd.results.read import read_run, result_of
from jaxsvd.results.statistics import paired_difference, wilson
from jaxsvd.results.summary import sweep_answer
from jaxsvd.runtime.progress import SILENT

from . import written_runs


@given(st.lists(st.floats(0, 1), max_size=7))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis falls when every set with it has a p-value at most 5 % over the set's size."""
    n = len(p_values)
    sets = [s for k in range(1, n + 1) for s in itertools.combinations(range(n), k)]
    expected = [
        all(min(p_values[j] for j in s) <= 0.05 / len(s) for s in sets if i in s) for i in range(n)
    ]
    assert holm(p_values) == expected


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "sweep"
    return written_runs.sweep(path, shots=(0, 4), seeds=(0, 1), size=200)


@pytest.fixture(scope="module")
def points(swept: Path) -> list[Point]:
    outcomes = read_outcomes(swept / "predictions.jsonl", SILENT)
    actual, contradicted = paired(points_of(read_run(swept).result), outcomes)
    assert contradicted == 0
    return actual


def test_points_of_a_sweep(swept: Path, points: list[Point]) -> None:
    """Every cell, in its order, with Wilson's interval."""
    cells = json.loads((swept / "result.json").read_text())["cells"]
    assert len(points) == len(cells) == 2 * 4 * 8 * 2 * 2
    for point, cell in zip(points, cells, strict=True):
        record = point.to_json()
        assert {name: record[name] for name in cell} == cell
        assert record["interval"] == list(wilson(cell["correct"], cell["total"]))


def test_changes_are_counted_on_the_same_examples(swept: Path, points: list[Point]) -> None:
    lines = [json.loads(line) for line in (swept / "predictions.jsonl").read_text().splitlines()]
    names = ("module", "layer", "rate", "shots", "seed")
    right: dict[tuple[Any, ...], list[bool]] = {}
    for line in lines:
        key = tuple(line[name] for name in names)
        right.setdefault(key, []).append(line["gold"] == line["prediction"])
    for point in points:
        key = tuple(getattr(point, name) for name in names)
        if point.rate == 0:
            assert point.change is None
            assert point.beyond_noise is None
            continue
        base = right[(*key[:2], 0.0, *key[3:])]
        assert point.change == paired_difference(base, right[key])
    family = [point for point in points if point.change]
    p_values = [point.change.p_value for point in family if point.change]
    assert [point.beyond_noise for point in family] == holm(p_values)
    assert {point.layer for point in family if point.beyond_noise} == {0, 1}


@pytest.mark.long
def test_order_of_lines_does_not_matter(swept: Path, points: list[Point]) -> None:
    lines = [json.loads(line) for line in (swept / "predictions.jsonl").read_text().splitlines()]
    outcomes = Outcomes()
    for i in np.random.default_rng(0).permutation(len(lines)):
        outcomes.add(Prediction.from_json(Fields(lines[i])))
    bare = points_of(read_run(swept).result)
    assert paired(bare, outcomes) == (points, 0)


def test_untouched_model_scored_for_one_layer_only() -> None:
    """Rate 0 is the same model for every layer: one of them is enough, half-scored ones are cut."""
    lines = list(written_runs.predictions(["mlp"], [0, 1], [0.0, 0.9], [4], [0], 30))
    outcomes = Outcomes()
    for line in lines:
        if line["rate"] > 0 or (line["layer"] == 0 and line["index"] < 60):
            outcomes.add(Prediction.from_json(Fields(line)))
    for variant in outcomes.truncated():
        comparison = outcomes.compare(variant)
        assert comparison is not None
        assert comparison.index.tolist() == list(range(0, 60, 3))


def test_cells_of_other_kinds_make_no_curve() -> None:
    """Two cells of one place differ in something that a curve would hide."""
    cells = written_runs.cells(
        list(written_runs.predictions(["mlp"], [0], [0.0, 0.9], [4], [0], 10))
    )

    def count(cells: list[Any]) -> int:
        return len(points_of(result_of({"command": "x", "cells": cells})))

    assert count(cells) == 2
    assert count([*cells, cells[0]]) == 0
    assert count([{"module": "mlp"}]) == 0


def test_answer_of_a_sweep(points: list[Point]) -> None:
    """The best on average over seeds, and how many stand out."""
    said = sweep_answer(points, 0.5)
    cut = [p for p in points if p.rate > 0]
    worse = sum(bool(p.beyond_noise and p.change and p.change.difference < 0) for p in cut)
    assert worse > 0
    assert f"Of {len(cut)} truncated models, 0 answer better and {worse} worse" in said
    values = {(p.module, p.layer, p.rate, p.shots, p.seed): p.accuracy.value for p in points}
    means = {
        key: np.mean([values[*key, seed] - values[*key[:2], 0.0, key[3], seed] for seed in (0, 1)])
        for key in {(p.module, p.layer, p.rate, p.shots) for p in cut}
    }
    best = max(means.values())
    assert f"{best:+.4f} in mean accuracy" in said
    assert "optimistic" in said
    single = [p for p in points if p.seed == 0 and p.shots == 4]
    assert "95 % interval [" in sweep_answer(single, None)
    assert "nothing to compare" in sweep_answer([p for p in points if p.rate == 0], None)
    cells = written_runs.cells(
        list(written_runs.predictions(["mlp"], [0], [0.0, 0.9], [4], [0], 10))
    )
    bare = points_of(result_of(written_runs.common("sweep") | {"cells": cells}))
    assert "not all predictions are here" in sweep_answer(bare, None)
