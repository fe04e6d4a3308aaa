"""The experiments on language models: resumption, mistakes, and real tasks."""

from pathlib import Path
from typing import Any

import pytest
from language_small import EXPERIMENTS, Interrupting, measured, read

from experiments.algorithm1 import experiment as algorithm1
from experiments.common.scaffold import Experiment, main


def timeless(value: Any) -> Any:
    """Without times and what tells of earlier starts."""
    if isinstance(value, dict):
        left = ("seconds", "started", "units", "command", "load", "memory")
        return {k: timeless(v) for k, v in value.items() if k not in left}
    return [timeless(v) for v in value] if isinstance(value, list) else value


@pytest.mark.long
@pytest.mark.parametrize("name", ["algorithm1", "drop_layer"])
def test_resumed(name: str, tmp_path: Path) -> None:
    """Stopped within units, again and again: the same results, and finished units are kept."""
    whole = Interrupting(10**9)
    expected = measured(name, tmp_path / "whole", progress=whole)
    for stop in (40, 90):
        with pytest.raises(KeyboardInterrupt):
            measured(
                name,
                tmp_path / "run",
                progress=Interrupting(stop),
                resume=(tmp_path / "run").exists(),
            )
    actual = measured(name, tmp_path / "run", resume=True)
    assert timeless(actual) == timeless(expected)
    assert actual["units"]["from_earlier_starts"] > 0
    for unit in expected["runs"]:
        ours, theirs = (tmp_path / kind / unit for kind in ("run", "whole"))
        assert timeless(read(ours / "result.json")) == timeless(read(theirs / "result.json"))
        assert (ours / "predictions.jsonl").read_bytes() == (
            theirs / "predictions.jsonl"
        ).read_bytes()


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("depth_sweep", ["--task", "sst"], "unknown task 'sst'"),
        ("algorithm1", ["--layers", "-5"], "no layer -5"),
        ("same_rate", ["--data", "."], "the bundled task makes its own data"),
        ("shots_sweep", ["--tasks", "sst2", "rte", "--data", "."], "has no folder sst2"),
        ("drop_layer", ["--rates", "0.5,x"], "should be numbers in"),
        ("single_module", ["--shots", "33"], "the bundled task takes 0 to 32"),
        ("condition_numbers", ["no/such/model"], "no such directory"),
    ],
)
def test_mistakes(
    name: str,
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(EXPERIMENTS[name], words) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"{name}: error: ")
    assert printed.count("\n") == 1
    assert said in printed
    assert not list(tmp_path.iterdir())


def of_shared(shared: Path, *tasks: str) -> list[str]:
    model, data = shared / "models" / "stories260K", shared / "data"
    return [str(model), "--tasks", *tasks, "--data", str(data), "--test-size", "20", "--quick"]


@pytest.mark.long
def test_real_tasks(shared: Path, tmp_path: Path) -> None:
    """Two tasks of different kinds, one folder each."""
    experiment: Experiment = algorithm1.EXPERIMENT
    words = [*of_shared(shared, "sst2", "copa"), "--validation-size", "20", "--seeds", "3"]
    out = tmp_path / "run"
    assert (
        main(experiment, [*words, "--rates", "0,0.9", "--out", str(out), "--modules", "mlp"]) == 0
    )
    result = read(out / "result.json")
    assert set(result["tasks"]) == {"sst2", "copa"}
    assert [s["task"] for s in result["searches"]] == ["sst2", "copa"]
    for search in result["searches"]:
        assert search["test"]["base"]["total"] == 20
