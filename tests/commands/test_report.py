"""`report`: a page of any run, or one clear line; nothing half-written."""

import json
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jaxsvd
from jaxsvd.commands.condition import condition
from jaxsvd.commands.report import report
from jaxsvd.results.search import SearchResult
from jaxsvd.results.statistics import wilson
from jaxsvd.results.summary import search_answer
from jaxsvd.runtime.errors import UserError

SIZES = {"validation_size": 40, "test_size": 30}


def data_of(page: Path) -> dict[str, Any]:
    """What the page's script reads."""
    _, _, rest = page.read_text("utf-8").partition('<script type="application/json" id="data">')
    return json.loads(rest.partition("</script>")[0])


@pytest.fixture(scope="module")
def search_result(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    out = tmp_path_factory.mktemp("runs") / "search"
    rates = [0.0, 0.75, 0.995]
    return jaxsvd.search(jaxsvd.load(), layer=0, rates=rates, out=out, save_prompts=True, **SIZES)


@pytest.fixture
def run(search_result: SearchResult, tmp_path: Path) -> Path:
    """A copy of a search's run directory, to be damaged."""
    assert search_result.out is not None
    return Path(shutil.copytree(search_result.out, tmp_path / "run"))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_numbers_of_a_search(search_result: SearchResult, run: Path) -> None:
    """Counts, intervals and changes are those of result.json, and of the predictions."""
    page = report(run)
    assert page == run / "report.html"
    data, record = data_of(page), json.loads((run / "result.json").read_text())
    assert data["answer"] == search_answer(search_result)
    points = data["curves"]["points"]
    shown = [(p["rate"], p["rank"], p["correct"], p["total"], p["accuracy"]) for p in points]
    validation = [
        (s["rate"], s["rank"], s["correct"], s["total"], s["accuracy"])
        for s in record["validation"]
    ]
    assert shown[: len(validation)] == validation
    for point in points:
        assert point["interval"] == list(wilson(point["correct"], point["total"]))
    tested = [point for point in points if point["split"] == "test"]
    assert tested[0]["correct"] == record["test"]["base"]["correct"]
    if record["best_rate"] > 0:
        assert tested[1]["change"]["p_value"] == record["test"]["p_value"]
        assert tested[1]["change"]["interval"] == record["test"]["interval"]


def test_flips_are_those_of_the_predictions(run: Path) -> None:
    """Counted the plain way, with the prompts that were saved."""
    flips = data_of(report(run))["flips"]
    predictions = lines_of(run / "predictions.jsonl")
    base = {(p["split"], p["index"]): p["prediction"] for p in predictions if p["rate"] == 0}
    expected = {
        (p["split"], p["rate"], p["index"], p["gold"], before, p["prediction"])
        for p in predictions
        if ((before := base[p["split"], p["index"]]) == p["gold"]) != (p["prediction"] == p["gold"])
    }
    assert expected, "the truncation should turn some example"
    shown = set()
    prompts = {(p["split"], p["index"]): p["prompt"] for p in lines_of(run / "prompts.jsonl")}
    for cell, index, gold, before, after, text in flips["rows"]:
        split = flips["cells"][cell]["split"]
        shown.add((split, flips["cells"][cell]["rate"], index, gold, before, after))
        reported = flips["texts"][text]
        assert (
            flips["prefixes"][reported["prefix"]]["head"] + reported["head"]
            == prompts[split, index]
        )
    assert shown == expected
    assert flips["total"] == flips["shown"] == len(expected)
    assert sum(c["gained"] + c["lost"] for c in flips["cells"]) == len(expected)


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    """An earlier report is replaced by an equal one."""
    first = report(run).read_bytes()
    assert report(run).read_bytes() == first
    assert {path.name for path in run.iterdir() if path.name.startswith(".")} <= {".lock"}


def test_without_predictions_and_prompts(run: Path) -> None:
    (run / "prompts.jsonl").unlink()
    data = data_of(report(run))
    assert data["flips"]["texts"] == []
    assert not data["flips"]["prompts_saved"]
    (run / "predictions.jsonl").unlink()
    data = data_of(report(run))
    assert data["flips"] is None
    assert all(point["change"] is None for point in data["curves"]["points"])


def test_predictions_of_another_run(run: Path) -> None:
    """Points that the predictions contradict are not paired, and the page says so."""
    record = json.loads((run / "result.json").read_text())
    record["validation"][1]["correct"] -= 1
    (run / "result.json").write_text(json.dumps(record))
    data = data_of(report(run))
    assert "does not add up" in data["notices"][-1]
    assert data["curves"]["points"][1]["change"] is None
    assert data["curves"]["points"][2]["change"] is not None


def test_evaluate_and_condition(tmp_path: Path) -> None:
    model = jaxsvd.load()
    evaluation = jaxsvd.evaluate(model, out=tmp_path / "evaluate", **SIZES)
    data = data_of(report(tmp_path / "evaluate"))
    accuracy = evaluation.accuracy
    assert f"answers {accuracy.correct} of {accuracy.total} test questions" in data["answer"]
    assert data["curves"] is None
    numbers = condition(model, out=tmp_path / "condition")
    data = data_of(report(tmp_path / "condition"))
    shown = data["conditions"]
    assert {
        (layer, name): shown["values"][i][j]
        for i, layer in enumerate(shown["layers"])
        for j, name in enumerate(shown["matrices"])
    } == pytest.approx(numbers)
    assert f"{max(numbers.values()):,.4g}" in data["answer"]


def test_any_other_run(tmp_path: Path) -> None:
    """Of an experiment: its fields as tables, its command as typed but for the directory."""
    (tmp_path / "result.json").write_text(
        json.dumps(
            {
                "command": ["python", "-m", "experiments.some_thing", "--quick", "--out", "a b"],
                "steps": 50,
                "rows": [{"d": 5, "error": {"mean": 0.125}}, {"d": 20, "bound": "inf"}],
                "fit": {"slope": 2.0, "points": [{"x": 1}]},
                "mixed": [1, {"x": 2}],
                "empty": {},
            }
        )
    )
    data = data_of(report(tmp_path))
    assert data["subject"] == "Some thing"
    assert data["repeat"]["command"] == "python -m experiments.some_thing --quick"
    shown = {table["title"]: (table["columns"], table["rows"]) for table in data["tables"]}
    assert shown["Values"][1] == [["steps", "50"]]
    columns = ["d", "error.mean", "bound"]
    assert shown["rows"] == (columns, [["5", "0.125", ""], ["20", "", "inf"]])
    assert shown["fit"][1] == [["slope", "2"]]
    assert shown["fit.points"] == (["x"], [["1"]])
    assert shown["mixed"] == (["value", "x"], [["1", ""], ["", "2"]])


def _no_result(run: Path) -> None:
    (run / "result.json").unlink()


def _no_run(run: Path) -> None:
    (run / "result.json").unlink()
    (run / "run.json").unlink()


def _cut(run: Path) -> None:
    text = (run / "result.json").read_text()
    (run / "result.json").write_text(text[: len(text) // 2])


def _binary(run: Path) -> None:
    (run / "result.json").write_bytes(b"\xff\xfe\x00")


def _deep(run: Path) -> None:
    (run / "result.json").write_text("[" * 100_000)


def _list(run: Path) -> None:
    (run / "result.json").write_text("[]")


def _changed(**changes: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        record = json.loads((run / "result.json").read_text())
        (run / "result.json").write_text(json.dumps(record | changes))

    return change


def _add(name: str, line: str) -> Callable[[Path], None]:
    def add(run: Path) -> None:
        with (run / name).open("a") as file:
            file.write(line + "\n")

    return add


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_no_result, "the run is not finished (no result.json yet); its command with --resume"),
        (_no_run, "not a run directory"),
        (shutil.rmtree, "no such run directory"),
        (_cut, "result.json: damaged: not JSON"),
        (_binary, "result.json: damaged: not JSON"),
        (_deep, "result.json: damaged: not JSON"),
        (_list, "result.json: damaged: should be an object"),
        (_changed(command=None), "does not say which command"),
        (_changed(best_rate=2), "damaged: best_rate should be a clipping rate in [0, 1)"),
        (_changed(validation=[]), "validation should be a list, not empty"),
        (_changed(validation=[{"rate": 0}]), "there is no validation[0].rank"),
        (_changed(test={"base": {"correct": 3, "total": 2}}), "3 of 2 cannot be right"),
        (_changed(model="gpt"), "model should be an object"),
        (_add("predictions.jsonl", '{"split": "val'), "predictions.jsonl, line"),
        (_add("predictions.jsonl", '{"split": "validation"}'), "damaged: not a prediction"),
        (_add("prompts.jsonl", "7"), "damaged: not a JSON object"),
    ],
)
def test_mistakes(run: Path, damage: Callable[[Path], None], said: str) -> None:
    """One line each, and no file is left."""
    damage(run)
    before = sorted(run.iterdir()) if run.exists() else []
    with pytest.raises(UserError) as caught:
        report(run)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (sorted(run.iterdir()) if run.exists() else []) == before


def test_where_it_is_written(run: Path, tmp_path: Path) -> None:
    page = report(run, out=tmp_path / "page.html")
    assert page == tmp_path / "page.html"
    assert not (run / "report.html").exists()
    assert report(run, out=page) == page
    with pytest.raises(UserError, match="cannot be written"):
        report(run, out=tmp_path / "nowhere" / "page.html")
    with pytest.raises(UserError, match="is a directory"):
        report(run, out=tmp_path)
    for name in ("result.json", "predictions.jsonl"):
        kept = (run / name).read_bytes()
        with pytest.raises(UserError, match="exists and is not a report"):
            report(run, out=run / name)
        assert (run / name).read_bytes() == kept
    with pytest.raises(UserError, match="is a file; a run is a directory"):
        report(page)


def test_no_module_hides_a_public_name() -> None:
    """A submodule, once imported, would take the place of the function."""
    assert not {actual.name for actual in pkgutil.iter_modules(jaxsvd.__path__)} & {*jaxsvd.__all__}
