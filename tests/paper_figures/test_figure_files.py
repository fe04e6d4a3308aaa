"""From run directories to files: which runs are read, what is written, what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import figure_runs
import pytest

from jaxsvd.runtime.errors import UserError
from paper_figures import reading
from paper_figures.__main__ import main
from paper_figures.reading import find, labels
from paper_figures.works import Works

Capture = pytest.CaptureFixture[str]


def said(capsys: Capture) -> str:
    """The one line of an error."""
    line = capsys.readouterr().err
    assert line.startswith("paper_figures: error: ")
    assert line.count("\n") == 1
    return line


def test_everything(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """All names from the runs below runs/, and where each panel is from."""
    monkeypatch.chdir(tmp_path)
    run = figure_runs.algorithm1(tmp_path / "runs" / "deep" / "inside", tasks=("bundled",))
    # What lies inside a run is part of it.
    figure_runs.plain_search(run / "sst2-seed-0", task="sst2", hour=5)
    (tmp_path / "runs" / "begun").mkdir()
    (tmp_path / "runs" / "begun" / "run.json").write_text("{}")
    assert main(["fig4", "tables"]) == 0
    printed = capsys.readouterr().out
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    tables = [*(f"table{n}" for n in range(2, 9)), "table-bundled"]
    expected = {f"{t}.{end}" for t in tables for end in ("md", "csv", "tex")}
    assert names == expected | {f"fig4.{end}" for end in ("pdf", "png", "md")}
    assert (tmp_path / "figures" / "fig4.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "figures" / "fig4.png").read_bytes().startswith(b"\x89PNG")
    assert "MLP, tiny: runs/deep/inside\n" in printed
    assert "skipped runs/begun: not finished" in printed
    assert "published values only; python -m experiments.algorithm1" in printed
    assert "sst2-seed-0" not in printed
    caption = (tmp_path / "figures" / "fig4.md").read_text()
    assert "- MLP, tiny: `runs/deep/inside`" in caption
    assert "- not run: MLP, tiny: SST-2, AG News" in caption


def test_names() -> None:
    works = Works(())
    tables = [f"table{n}" for n in range(2, 9)]
    figures = [f"fig{n}" for n in range(1, 6)]
    assert works.names([]) == works.names(["all", "fig1"]) == [*figures, *tables]
    assert works.names(["fig3", "tables", "fig3"]) == ["fig3", *tables]
    assert Works((), ["rte", "cb"]).names(["tables"]) == ["table6", "table7"]
    with pytest.raises(UserError, match="unknown name 'fig9'; known are all figures tables fig1"):
        works.names(["fig9"])


@pytest.mark.long
def test_same_runs_same_bytes(tmp_path: Path) -> None:
    """In processes that hash differently and at different times."""
    figure_runs.condition_numbers(tmp_path / "runs" / "a", infinite=[1])
    figure_runs.algorithm1(tmp_path / "runs" / "b")
    contents = []
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "paper_figures", "fig3", "table2"]
        command += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / seed)]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run(command, check=True, env=environment, capture_output=True)
        files = sorted((tmp_path / seed).iterdir())
        contents.append({path.name: path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 6
    assert not any(b"CreationDate" in data or b"/Producer" in data for data in contents[0].values())


def test_the_newest_run_wins(tmp_path: Path) -> None:
    """Cell by cell, whatever the order of names and folders; older cells stay where alone."""
    new = figure_runs.sweep_experiment(
        tmp_path / "a", "depth_sweep", tasks=("sst2",), layers=(0, 1), hour=2, salt=1, seeds=(0,)
    )
    old = figure_runs.sweep_experiment(tmp_path / "b", "depth_sweep", tasks=("sst2", "rte"), hour=1)
    for folders in ([new, old], [old, new], [tmp_path]):
        from paper_figures import accuracy

        points = accuracy.points(find(folders).sources, "depth_sweep")
        for cell, point in points.items():
            fresh = cell.task == "sst2" and cell.layer < 2
            assert point.source.path == (new if fresh else old)
            assert sorted(point.seeds) == ([0] if fresh else [0, 1, 2])
    drawn = Works(find([tmp_path]).sources).make("fig1")
    shown = {what: [source.path for source in sources] for what, sources in drawn.shown}
    assert shown["SST-2, 10 shots, MLP, tiny"] == [old, new]
    assert shown["RTE, 10 shots, MLP, tiny"] == [old]


def test_several_models(tmp_path: Path) -> None:
    """Each has its panels, and those without a run say so."""
    for i, name in enumerate(("x/one", "x/two", "x/three")):
        tasks = ("sst2", "rte") if i == 0 else ("sst2",)
        figure_runs.sweep_experiment(
            tmp_path / str(i), "depth_sweep", of=figure_runs.model(name), tasks=tasks, seeds=(0,)
        )
    drawn = Works(find([tmp_path]).sources, ["sst2", "rte"]).make("fig1")
    assert len(drawn.shown) == 8
    assert sorted(drawn.missing) == sorted(
        f"RTE, 10 shots, {module}, {model}"
        for model in ("two", "three")
        for module in ("MLP", "ATTN")
    )


def test_missing_panels_are_drawn(tmp_path: Path) -> None:
    """Grey, with words, in every figure."""
    from experiments.common import style

    run = figure_runs.write(tmp_path / "run", {"experiment": "trajectories"})
    works = Works(find([run]).sources)
    for name, panels in (("fig1", 6), ("fig2", 6), ("fig3", 1), ("fig4", 14), ("fig5", 3)):
        with style.look():
            drawn = works.draw(name)
        texts = drawn.figure.findobj(lambda artist: artist.get_gid() == "not run")
        assert len(texts) == panels
        assert {text.get_text() for text in texts} == {"not run"}  # type: ignore[attr-defined]
        assert drawn.missing
        assert not drawn.panels


def test_labels() -> None:
    """Short where that suffices."""

    def named(*models: tuple[str, str, str]) -> list[str]:
        return list(labels(models).values())

    f, b = "float32", "bfloat16"
    assert named(("org/a", "", f), ("/models/b/", "", f)) == ["a", "b"]
    assert named(("org/a", "", f), ("org/a", "", b)) == ["a float32", "a bfloat16"]
    assert named(("org/a", "", f), ("org/a", "r1", f)) == ["a at main", "a at r1"]
    assert named(("x/a", "", f), ("y/a", "", f)) == ["x/a", "y/a"]
    assert named(("1/x/a", "", f), ("2/x/a", "", f)) == ["1/x/a float32", "2/x/a float32"]


def damage(path: Path, how: str) -> Path:
    """Spoil a run of depth_sweep."""
    result = figure_runs.read(path)
    changes: dict[str, Any] = {
        "mean": {"points": [result["points"][0] | {"mean": 0.1234}, *result["points"][1:]]},
        "seeds": {"cells": result["cells"][1:]},
        "layer": {"points": [result["points"][0] | {"layer": 77}]},
        "rate": {"points": [result["points"][0] | {"rate": 1.5}]},
        "counts": {"points": [result["points"][0] | {"correct": 900}]},
        "nothing": {"cells": [result["cells"][0] | {"correct": 0, "total": 0}]},
        "tasks": {"tasks": {"other": {"chance": 0.5}}},
        "chance": {"tasks": {"sst2": {}}},
        "none": {"points": []},
        "started": {"started": "yesterday"},
        "model": {"model": None},
    }
    if how == "cut":
        (path / "result.json").write_text((path / "result.json").read_text()[:-30])
        return path
    return figure_runs.change(path, **changes[how])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "not JSON"),
        ("mean", "the mean should be"),
        ("seeds", "have other seeds"),
        ("layer", "layer 77 of a model of 6 layers"),
        ("rate", "points[0].rate should be a clipping rate in [0, 1)"),
        ("counts", "cannot be right"),
        ("nothing", "mlp of layer 0: of 0 examples"),
        ("tasks", "tasks has no 'sst2'"),
        ("chance", "tasks should be an object of tasks with their chance levels"),
        ("none", "points should be a list, not empty"),
        ("started", "started should be a time, is 'yesterday'"),
        ("model", "model should be an object"),
    ],
)
def test_damaged_runs(tmp_path: Path, capsys: Capture, how: str, words: str) -> None:
    """One line that names the file and what is wrong; nothing is written."""
    run = figure_runs.sweep_experiment(tmp_path / "runs" / "x", "depth_sweep", tasks=("sst2",))
    damage(run, how)
    out = tmp_path / "out"
    assert main(["fig1", "--runs", str(tmp_path / "runs"), "--out", str(out)]) == 2
    line = said(capsys)
    assert f"{run / 'result.json'}: damaged: " in line
    assert words in line
    assert not out.exists()


def test_other_damage(tmp_path: Path) -> None:
    """Searches, condition numbers and curves that contradict themselves."""
    run = figure_runs.algorithm1(tmp_path / "a")
    result = figure_runs.read(run)
    result["searches"][0]["test"]["difference"] = 0.5
    figure_runs.change(run, searches=result["searches"])
    with pytest.raises(UserError, match="the difference should be"):
        Works(find([run]).sources).make("fig4")
    run = figure_runs.algorithm1(tmp_path / "b")
    result = figure_runs.read(run)
    result["summary"][0]["base_mean"] = 0.5
    figure_runs.change(run, summary=result["summary"])
    with pytest.raises(UserError, match="base_mean should be"):
        Works(find([run]).sources).make("table2")
    run = figure_runs.condition_numbers(tmp_path / "c")
    figure_runs.change(run, numbers=figure_runs.read(run)["numbers"][1:])
    Works(find([run]).sources).make("fig3")  # a smaller matrix is missing: no contradiction
    figure_runs.change(run, numbers=figure_runs.read(run)["numbers"][5:])
    with pytest.raises(UserError, match="the condition number is"):
        Works(find([run]).sources).make("fig3")
    run = figure_runs.linear_functions(tmp_path / "d")
    result = figure_runs.read(run)
    result["curves"][0]["error"].pop()
    figure_runs.change(run, curves=result["curves"])
    with pytest.raises(UserError, match=r"curves\[0\]: examples, error and standard_error differ"):
        Works(find([run]).sources).make("fig5")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no runs for these figures and tables in runs (0 others); make them with"),
        (["fig3"], "no runs for fig3 in runs (0 others); make them with python -m experiments.con"),
        (["fig7"], "unknown name 'fig7'"),
        (["--runs", "nowhere"], "nowhere: no such run directory"),
        (["--runs", "half"], "half: the run is not finished"),
        (["fig2", "--runs", "other"], "no runs for fig2 in other (1 others)"),
        (["--sed"], "unrecognized arguments"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "run.json").write_text("{}")
    figure_runs.write(tmp_path / "other", {"experiment": "trajectories"})
    assert main(arguments) == 2
    assert words in said(capsys)
    assert not (tmp_path / "figures").exists()


def test_output_that_is_a_file(tmp_path: Path, capsys: Capture) -> None:
    run = figure_runs.plain_search(tmp_path / "run")
    (tmp_path / "file").write_text("")
    assert main(["table8", "--runs", str(run), "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in said(capsys)


def test_without_matplotlib(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables need none; figures say what to install."""
    from paper_figures import __main__ as command

    run = figure_runs.plain_search(tmp_path / "run")
    monkeypatch.setattr(command, "available", lambda: False)
    arguments = ["--runs", str(run), "--out", str(tmp_path / "out")]
    assert main(["fig4", *arguments]) == 2
    assert "pip install 'jaxsvd[figures]'" in said(capsys)
    assert main(["table8", *arguments]) == 0
    code = "import sys; sys.modules['matplotlib'] = None; from paper_figures.__main__ import main; "
    code += f"sys.exit(main(['table8', *{arguments!r}]))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_run_is_read_once(tmp_path: Path) -> None:
    """However many folders name it."""
    run = figure_runs.plain_search(tmp_path / "runs" / "a")
    actual = find([tmp_path, run, tmp_path / "runs"])
    assert [source.path.resolve() for source in actual.sources] == [run.resolve()]
    assert actual == reading.RunFolders(actual.sources, ())


def test_results_of_others(tmp_path: Path) -> None:
    """A result that no figure is made of is passed over, unread."""
    figure_runs.write(tmp_path / "a", {"experiment": ["odd"], "cells": 3})
    figure_runs.plain_search(tmp_path / "b")
    text = json.dumps({"command": "evaluate", "started": "2025-01-01T00:00:00"})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "result.json").write_text(text)
    works = Works(find([tmp_path]).sources)
    assert [what for what, _ in works.make("table8").shown] == ["MLP, tiny"]
