"""The experiments on language models end to end, small, on the bundled model."""

import json
from pathlib import Path
from typing import Any

import pytest
from language_small import EXPERIMENTS, WORDS, films, measured, predictions, read

import jaxsvd
from experiments.common.scaffold import main
from experiments.language import drawing
from experiments.same_rate import experiment as same_rate
from experiments.shots_sweep import experiment as shots_sweep
from jaxsvd.commands.report import report as report_of
from jaxsvd.page.content import points_of
from jaxsvd.results.points import paired
from jaxsvd.results.predictions import read_outcomes
from jaxsvd.results.read import read_run
from jaxsvd.results.statistics import mcnemar
from jaxsvd.runtime.progress import SILENT


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_tells_and_draws(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line: tables, sentences, pictures; a page of every unit's run."""
    experiment, out = EXPERIMENTS[name], tmp_path / "run"
    assert main(experiment, [*WORDS[name], "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("model  bundled: gptj, 4 layers")
    assert "noise" in printed
    for picture in experiment.pictures:
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    result = read(out / "result.json")
    assert result["experiment"] == name
    assert result["model"]["source"] == "bundled"
    for unit in result.get("runs", ()):
        page = report_of(out / unit)
        assert "<html" in page.read_text("utf-8")
    if name != "condition_numbers":
        assert result["tasks"]["bundled"]["chance"] == 0.5
        assert result["tasks"]["bundled"]["seed"] == [0, 1]


def test_cells_are_those_of_the_runs(tmp_path: Path) -> None:
    result = measured("depth_sweep", tmp_path / "run")
    there = [
        {"task": "bundled", "method": "svd", **cell}
        for unit in result["runs"]
        for cell in read(tmp_path / "run" / unit / "result.json")["cells"]
    ]

    def numbers(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in cell.items() if k != "beyond_noise"} for cell in cells]

    assert numbers(result["cells"]) == numbers(there)
    assert [c["seed"] for c in there] == [0] * 6 + [1] * 6
    swept = jaxsvd.sweep(
        jaxsvd.load(), layers=[-1], rates=[0.0, 0.5, 0.95], seeds=[1], validation_size=12
    )
    assert numbers(swept.cells) == [
        {k: v for k, v in c.items() if k not in ("task", "method")} for c in numbers(there)[6:]
    ]
    assert [p["mean"] for p in result["points"]] == pytest.approx(
        [(a["accuracy"] + b["accuracy"]) / 2 for a, b in zip(there[:6], there[6:], strict=True)]
    )


@pytest.mark.long
def test_searches_are_those_of_the_library(tmp_path: Path) -> None:
    result = measured("algorithm1", tmp_path / "run")
    actual = jaxsvd.search(
        jaxsvd.load(),
        module="attn",
        seed=1,
        rates=[0.0, 0.5, 0.95],
        **dict.fromkeys(("validation_size", "test_size"), 12),
    )
    (mine,) = (s for s in result["searches"] if (s["module"], s["seed"]) == ("attn", 1))
    assert mine["layer"] == actual.layer
    assert mine["top"] == list(actual.choice.top)
    assert mine["best_rate"] == actual.best_rate
    assert mine["validation"] == actual.record["validation"]
    assert mine["test"] == actual.record["test"]
    assert [(row["module"], row["seeds"]) for row in result["summary"]] == [
        ("mlp", [0, 1]),
        ("attn", [0, 1]),
    ]
    # The choice made once is recorded as each search would have made it.
    unit = next(name for name in result["runs"] if name.startswith("bundled-seed-1-attn"))
    assert read(tmp_path / "run" / unit / "result.json")["layer_choice"] == actual.choice.to_json()


def test_condition_numbers_are_those_of_the_library(tmp_path: Path) -> None:
    result = measured("condition_numbers", tmp_path / "run")
    numbers = {(n["layer"], n["matrix"]): n["condition_number"] for n in result["numbers"]}
    assert numbers == jaxsvd.condition_numbers(jaxsvd.load())
    largest = max(v for (layer, m), v in numbers.items() if layer == 2 and m.startswith("fc"))
    (row,) = (r for r in result["modules"] if (r["layer"], r["module"]) == (2, "mlp"))
    assert row["condition_number"] == largest == numbers[2, row["matrix"]]


def test_single_modules_are_searched_at_the_given_layer(tmp_path: Path) -> None:
    result = measured("single_module", tmp_path / "run", "--seeds", "0")
    (search,) = result["searches"]
    assert (search["module"], search["layer"], search["top"]) == ("k_proj", 3, [])
    records = predictions(tmp_path / "run" / result["runs"][0])
    base, cut = (
        {r["index"]: r["prediction"] == r["gold"] for r in records if r["rate"] == rate
         and r["split"] == "validation"}
        for rate in (0.0, 0.95)
    )  # fmt: skip
    (cell,) = (c for c in result["cells"] if c["rate"] == 0.95)
    gained, lost = (sum(a[i] and not b[i] for i in a) for a, b in ((cut, base), (base, cut)))
    assert cell["correct"] == sum(cut.values())
    assert cell["difference"] == pytest.approx((gained - lost) / 12)
    assert cell["p_value"] == pytest.approx(mcnemar(gained, lost))
    assert [c["correct"] for c in result["cells"]] == [v["correct"] for v in search["validation"]]


def test_rates_change_places(tmp_path: Path) -> None:
    """Each draw's best rate on each draw's test set, as a search with that rate alone tests it."""
    result = measured("same_rate", tmp_path / "run")
    ends = [(t["from_seed"], t["seed"]) for t in result["transfers"]]
    assert ends == [(0, 0), (1, 0), (0, 1), (1, 1)]
    for t in result["transfers"]:
        lent = [c for c in result["cells"] if c["seed"] == t["from_seed"]]
        best = max(lent, key=lambda c: (c["correct"], -c["rate"]))
        assert t["rate"] == best["rate"]
    t = result["transfers"][1]
    alone = jaxsvd.search(
        jaxsvd.load(), module="mlp", layer=-1, rates=[0.95], validation_size=12, test_size=12
    )
    tested = tmp_path / "run" / "bundled-seed-0-test"
    cells = read(tested / "result.json")["cells"]
    assert cells[0]["correct"] == t["base"]["correct"] == alone.base.correct
    # A page pairs them with the predictions of the test set.
    outcomes = read_outcomes(tested / "predictions.jsonl", SILENT)
    points, contradicted = paired(points_of(read_run(tested).result), outcomes)
    assert {point.split for point in points} == {"test"}
    assert contradicted == 0
    for point, cell in zip(points, cells, strict=True):
        assert (point.change is None) == (cell["rate"] == 0)
        if point.change is not None:
            assert point.change.p_value == cell["p_value"]


def test_dropped_and_pruned(tmp_path: Path) -> None:
    """The same parameters by both methods; the untouched model is the same in every run."""
    result = measured("drop_layer", tmp_path / "run", "--seeds", "0")
    cells = result["cells"]
    for module in ("mlp", "all"):
        svd, magnitude = (
            [c for c in cells if (c["method"], c["module"]) == (method, module)]
            for method in ("svd", "magnitude")
        )
        assert [c["kept"] for c in svd] == [c["kept"] for c in magnitude]
        assert [c["rate"] for c in svd] == [c["rate"] for c in magnitude] == [0.0, 0.5, 0.95]
        assert svd[0]["correct"] == magnitude[0]["correct"]
    (dropped,) = (c for c in cells if c["method"] == "drop layer")
    (size,) = result["layer_parameters"]
    # 4 d^2 + 2 d f of matrices, f + d biases, 2 d of the norm; d = 128, f = 256.
    assert dropped["removed"] == size["parameters"] == 4 * 128**2 + 2 * 128 * 256 + 256 + 3 * 128
    assert (dropped["layer"], dropped["rate"], dropped["kept"]) == (3, 1.0, 0)
    untouched = next(c for c in cells if c["method"] == "svd" and c["rate"] == 0)
    assert dropped["difference"] == pytest.approx(dropped["accuracy"] - untouched["accuracy"])


@pytest.mark.long
def test_rates_change_tasks(tmp_path: Path) -> None:
    """Draws lend to the draw of the same number of every task, their own included."""
    words = ["--tasks", "bundled,sst2", "--data", str(films(tmp_path)), "--shots", "2"]
    result = measured("same_rate", tmp_path / "run", *words, "--seeds", "0", "4")
    best = {
        (task, seed): same_rate.best_rate(
            [c for c in result["cells"] if (c["task"], c["seed"]) == (task, seed)], ("mlp", 3)
        )
        for task in ("bundled", "sst2")
        for seed in (0, 4)
    }
    actual = {
        (t["from_task"], t["to_task"], t["from_seed"], t["seed"]): t["rate"]
        for t in result["transfers"]
    }
    assert actual == {
        (lender, borrower, seed, seed): best[lender, seed]
        for lender in ("bundled", "sst2")
        for borrower in ("bundled", "sst2")
        for seed in (0, 4)
    }
    assert all(t["base"]["total"] == t["pruned"]["total"] == 12 for t in result["transfers"])
    assert {name: task["test_size"] for name, task in result["tasks"].items()} == {
        "bundled": 12,
        "sst2": 12,
    }


@pytest.mark.long
def test_wording_without_demonstrations(tmp_path: Path) -> None:
    """The scripts' words at 0 shots, the template's at 2; the same questions."""
    data = films(tmp_path)
    words = ["--task", "sst2", "--data", str(data), "--quick", "--save-prompts", "--seeds", "0"]
    words += ["--validation-size", "12", "--shots", "0,2", "--rates", "0,0.9", "--layers", "-1"]
    out = tmp_path / "run"
    assert main(shots_sweep.EXPERIMENT, [*words, "--modules", "mlp", "--out", str(out)]) == 0
    result = read(out / "result.json")
    assert result["zero_shot"]["sst2"]["wording"] == "scripts"
    assert {cell["shots"] for cell in result["cells"]} == {0, 2}
    none, two = (
        [json.loads(line) for line in (out / run / "prompts.jsonl").read_text().splitlines()]
        for run in ("sst2-0-shots-seed-0", "sst2-2-shots-seed-0")
    )
    drawn = drawing.panels(result, "shots", "layer")
    assert [axes.get_title() for axes in drawn.axes] == ["0 shots", "2 shots"]
    for one, other in zip(none, two, strict=True):
        assert (one["index"], one["gold"]) == (other["index"], other["gold"])
        assert other["prompt"].endswith(f"text: the film {one['index']} sentiment:")
        assert one["prompt"] == (
            f"Consider the following text: the film {one['index']}. Is this text sentiment pos "
            "or neg. The sentiment is"
        )
