"""Pooling over draws against numbers made by hand, and what options come to."""

import argparse
import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from experiments.common.scaffold import Experiment, parser
from experiments.condition_numbers import experiment as condition_numbers
from experiments.language import pooled, searches
from experiments.language.setting import (
    Setting,
    TaskSetting,
    config_of,
    ends,
    parents,
    rehearse,
    setting,
)
from experiments.same_rate import experiment as same_rate
from jaxsvd.results.statistics import wilson
from jaxsvd.runtime.errors import UserError


def cell(seed: int, rate: float, correct: int, **more: Any) -> dict[str, Any]:
    at = {"task": "t", "method": "svd", "module": "mlp", "layer": 2, "shots": 4}
    counts = {"correct": correct, "total": 50, "accuracy": correct / 50}
    return {**at, "rate": rate, "rank": None, "seed": seed, **counts, **more}


def change(base: int, seed: int, rate: float, correct: int, p_value: float) -> dict[str, Any]:
    return cell(seed, rate, correct, difference=(correct - base) / 50, p_value=p_value)


CELLS = [
    cell(0, 0.0, 30),
    change(30, 0, 0.5, 40, 0.001),
    change(30, 0, 0.9, 29, 0.5),
    cell(1, 0.0, 20),
    change(20, 1, 0.5, 24, 0.02),
    change(20, 1, 0.9, 5, 0.01),
]


def test_points_by_hand() -> None:
    """Means .6 and .4 over seeds: mean .5, spread sqrt(.02); 95 % of 25 of 50."""
    untouched, half, most = pooled.points(pooled.judged(CELLS))
    assert untouched["mean"] == pytest.approx(0.5)
    assert untouched["spread"] == pytest.approx(math.sqrt(0.02))
    assert (untouched["lowest"], untouched["highest"]) == (0.4, 0.6)
    assert (untouched["correct"], untouched["total"]) == (50, 100)
    assert untouched["interval"] == pytest.approx(list(wilson(25, 50)))
    assert untouched["seeds"] == [0, 1]
    assert "difference" not in untouched
    assert half["difference"] == pytest.approx((0.2 + 0.08) / 2)
    assert half["difference_spread"] == pytest.approx(statistics.stdev([0.2, 0.08]))
    assert most["difference"] == pytest.approx((-0.02 - 0.3) / 2)


def test_holm_over_all_draws() -> None:
    """Thresholds .0125, .0167, .025, .05 of p = .001, .01, .02, .5: all but the last."""
    actual = pooled.judged(CELLS)
    assert [c.get("beyond_noise") for c in actual] == [None, True, False, None, True, True]
    _, half, most = pooled.points(actual)
    assert (half["gains"], half["losses"]) == (2, 0)
    assert (most["gains"], most["losses"]) == (0, 1)
    assert "2 are better and 1 worse beyond noise" in pooled.counted(actual)
    reported = pooled.best_significant(pooled.points(actual))
    assert reported is not None
    assert "mlp of layer 2 at rate 0.5: +0.1400 +- 0.0849" in reported
    assert "in 2 of 2 draws" in reported


def test_nothing_is_best_where_nothing_gains() -> None:
    """An equal is no gain."""
    points = pooled.points(pooled.judged([cell(0, 0.0, 30), change(30, 0, 0.5, 30, 1.0)]))
    assert pooled.best_significant(points) == "No change raises the mean accuracy over the draws."


def test_one_draw_has_no_spread() -> None:
    (point,) = pooled.points(pooled.judged([cell(7, 0.0, 13)]))
    assert point["spread"] is None
    assert point["interval"] == pytest.approx(list(wilson(13, 50)))
    assert pooled.noise_compared([point]) is None
    assert pooled.best_significant([point]) is None


def test_noise_of_the_examples() -> None:
    """Two draws of 50 at a mean of .5: the examples alone make sqrt(.25 / 50)."""
    reported = pooled.noise_compared(pooled.points(pooled.judged([CELLS[0], CELLS[3]])))
    assert reported is not None
    assert f"{math.sqrt(0.02):.4f}" in reported
    assert f"{math.sqrt(0.25 / 50):.4f}" in reported


def search(seed: int, base: int, pruned: int, p_value: float, rate: float) -> dict[str, Any]:
    counts = {
        name: {"correct": n, "total": 40, "accuracy": n / 40}
        for name, n in (("base", base), ("pruned", pruned))
    }
    test = {**counts, "difference": (pruned - base) / 40, "p_value": p_value}
    at = {"task": "t", "module": "mlp", "seed": seed, "layer": 1, "top": [1], "chance": 0.5}
    return {**at, "best_rate": rate, "validation": [], "test": test}


def test_summary_of_searches_by_hand() -> None:
    actual = searches.searches_of(
        [search(0, 20, 30, 0.01, 0.5), search(1, 24, 26, 0.03, 0.9), search(2, 22, 22, 1.0, 0.0)]
    )
    # Two are tried: .01 <= .05 / 2, then .03 <= .05; the third leaves the model alone.
    assert [s.get("beyond_noise") for s in actual] == [True, True, None]
    (row,) = searches.summary_of(actual)
    assert row["base_mean"] == pytest.approx((20 + 24 + 22) / 120)
    assert row["pruned_mean"] == pytest.approx((30 + 26 + 22) / 120)
    assert row["difference_mean"] == pytest.approx(12 / 120)
    assert row["base_spread"] == pytest.approx(statistics.stdev([0.5, 0.6, 0.55]))
    assert row["difference_spread"] == pytest.approx(statistics.stdev([0.25, 0.05, 0.0]))
    assert row["base_interval"] == pytest.approx(list(wilson(22, 40)))
    assert row["best_rates"] == [0.5, 0.9, 0.0]
    assert row["significant"] == 2
    assert (row["gains"], row["losses"]) == (2, 0)
    reported = searches.verdict(actual)
    assert reported.startswith("Of 2 truncations chosen on validation, 2 gain and 0 lose")
    assert "1 of 3 searches chose to leave the model alone" in reported
    assert "mean change of all searches is +0.1000" in reported


def test_ends() -> None:
    assert ends(28) == (0, 1, 26, 27)
    assert ends(4) == (0, 1, 2, 3)
    assert ends(3) == (0, 1, 2)
    assert ends(1) == (0,)


def asked_for(*words: str) -> Setting:
    built = parser(
        Experiment(
            "none",
            "",
            lambda study: {},
            lambda result: [],
            parents=parents("layers", "modules", "rates", test=True),
        )
    )
    requested = built.parse_args(list(words))
    return setting(requested, config_of(requested))


def test_settings() -> None:
    built = asked_for("--layers", "-1,0", "--rates", "0.9", "0,0.5", "--seed", "4")
    assert built.layers == (0, 3)
    assert built.modules == ("mlp", "attn")
    assert built.rates == (0.0, 0.5, 0.9)
    assert built.tasks == (TaskSetting("bundled", "bundled", None, (4, 5, 6)),)
    assert built.draw["validation_size"] is None
    quick = asked_for("--quick", "--modules", "every", "--layers", "all", "--test-size", "7")
    assert quick.tasks[0].seeds == (0, 1)
    assert quick.layers == (0, 1, 2, 3)
    assert quick.modules == ("q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out")
    assert (quick.draw["validation_size"], quick.draw["test_size"]) == (100, 7)
    scripts = asked_for("--task", "sst2", "--protocol", "scripts")
    assert scripts.tasks[0].seeds == (49,)


def test_folders(tmp_path: Path) -> None:
    """One task: the folder itself, or its own within; several: one each."""
    one = asked_for("--task", "sst2", "--data", str(tmp_path))
    assert one.tasks[0].data == tmp_path
    for name in ("sst2", "own"):
        (tmp_path / name).mkdir()
    assert asked_for("--task", "sst2", "--data", str(tmp_path)).tasks[0].data == tmp_path / "sst2"
    words = ["--tasks", "sst2,bundled", "dir/own.toml", "--data", str(tmp_path)]
    several = asked_for(*words).tasks
    assert [t.name for t in several] == ["sst2", "bundled", "own"]
    assert [t.data for t in several] == [tmp_path / "sst2", None, tmp_path / "own"]
    assert several[2].task == "dir/own.toml"
    with pytest.raises(UserError, match=r"has no folder copa; with several tasks"):
        asked_for("--tasks", "sst2", "copa", "--data", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "sst"], "unknown task 'sst'; known are sst2"),
        (["--tasks", "a/x.toml", "b/x.toml"], "two tasks are called 'x'"),
        (["--layers", "9"], "no layer 9: the model has 4 layers"),
        (["--layers", "all", "1"], "all, or indices, not both"),
        (["--modules", "fc_up"], "gptj has no module 'fc_up'"),
        (["--rates", "1"], "should be at least 0 and below 1"),
        (["--task", "rte", "--protocol", "scripts", "--seeds", "1"], "leave --seeds out"),
        (["nowhere/model"], "no such"),
    ],
)
def test_refusals(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=said):
        asked_for(*words)


def test_sizes_are_refused_before_anything_is_measured() -> None:
    with pytest.raises(UserError, match="the bundled task takes"):
        rehearse(asked_for("--validation-size", "99999"), lambda requested: None)
    with pytest.raises(UserError, match="shots = 40"):
        rehearse(asked_for(), lambda requested: 40)


def test_condition_numbers_choose_as_algorithm_1() -> None:
    values = {(0, "fc_in"): 9.0, (1, "fc_in"): 3.0, (2, "fc_in"): 5.0, (2, "fc_out"): 7.0}
    numbers = [
        {"layer": layer, "matrix": name, "condition_number": value}
        for (layer, name), value in values.items()
    ]
    rows = condition_numbers.by_module(numbers, "mlp", ("fc_in", "fc_out"))
    assert [(r["layer"], r["condition_number"], r["matrix"]) for r in rows] == [
        (0, 9.0, "fc_in"),
        (1, 3.0, "fc_in"),
        (2, 7.0, "fc_out"),
    ]
    assert condition_numbers.choice(rows, "mlp", 2) == {"top": [0, 2], "layer": 2}
    assert condition_numbers.choice(rows, "mlp", 1) == {"top": [0], "layer": 0}


def test_best_rate_is_the_smallest_of_equals() -> None:
    cells = [cell(0, rate, n) for rate, n in ((0.0, 3), (0.5, 7), (0.9, 7), (0.95, 6))]
    assert same_rate.best_rate(cells, ("mlp", 2)) == 0.5


def test_parents_leave_out_what_is_not_asked() -> None:
    built = argparse.ArgumentParser(parents=parents("shots"))
    assert not hasattr(built.parse_args([]), "test_size")
    assert built.parse_args(["--shots", "0", "4,10"]).shots == [[0], [4, 10]]
