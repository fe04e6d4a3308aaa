"""The command on the page, typed again, asks the same and finds the same."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jaxsvd.cli.main import main
from jaxsvd.page.repeat import _option, repeat
from jaxsvd.results.read import FinishedRun, read_run, result_of

from . import written_runs


def again(first: Sequence[str], tmp_path: Path) -> list[str]:
    """Run a command and what its records say was asked; the notes of the latter."""
    assert main([*first, "--out", str(tmp_path / "first")]) == 0
    line, notes = repeat(read_run(tmp_path / "first"))
    assert line is not None
    program, *words = shlex.split(line)
    assert program == "jaxsvd"
    assert main([*words, "--out", str(tmp_path / "second")]) == 0
    names = sorted(path.name for path in (tmp_path / "first").glob("*.json*"))
    assert sorted(path.name for path in (tmp_path / "second").glob("*.json*")) == names
    for name in names:
        one, two = (tmp_path / run / name for run in ("first", "second"))
        if name == "result.json":
            assert timeless(one) == timeless(two)
        else:
            assert one.read_text() == two.read_text(), name
    return notes


def timeless(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text())
    return {name: value for name, value in record.items() if name not in ("started", "seconds")}


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    [
        "search --layer -1 --module fc_in --rates 0,0.5,0.9 --shots 4 --seed 3 --test-size 12 "
        "--validation-size 12 --save-prompts --svd randomized",
        "search --top-layers 1 --validation-size 8 --test-size 8",
        "evaluate --test-size 20 --seed 1",
        "condition --module fc_in",
        "sweep --layers -1,0 --modules fc_in --rates 0,0.9 --shots 4,8 --seeds 0,3 "
        "--validation-size 8",
    ],
)
def test_repeats(words: str, tmp_path: Path) -> None:
    assert again(words.split(), tmp_path) == []


@pytest.mark.long
def test_repeats_with_a_model_and_data_of_ones_own(shared: Path, tmp_path: Path) -> None:
    model, data = shared / "models" / "stories260K", shared / "data" / "copa"
    words = ["evaluate", str(model), "--task", "copa", "--data", str(data), "--shots", "2"]
    assert again([*words, "--test-size", "6"], tmp_path) == []


@pytest.mark.long
def test_repeats_a_task_of_ones_own(tmp_path: Path) -> None:
    for name, n in (("train", 12), ("test", 8)):
        rows = "".join(f"salmon {name} {i},{i % 2}\n" for i in range(n))
        (tmp_path / f"{name}.csv").write_text("body,stars\n" + rows)
    (tmp_path / "own.toml").write_text(
        'name = "own"\ntemplate = "text: {body} label :"\nlabel_field = "stars"\nshots = 2\n'
        '[files]\ntrain = "train.csv"\ntest = "test.csv"\n[labels]\n0 = "early"\n1 = "inner"\n'
    )
    words = ["evaluate", "--task", str(tmp_path / "own.toml"), "--test-size", "6", "--skip-long"]
    assert again(words, tmp_path) == []


def of(
    result: dict[str, Any], request: dict[str, Any] | None = None
) -> tuple[str | None, list[str]]:
    return repeat(FinishedRun(Path("nowhere"), result_of(result), result, request or {}))


def test_a_sweep_runs_over_the_values_of_its_cells() -> None:
    lines = list(written_runs.predictions(["attn", "mlp"], [0, 7], [0.0, 0.995], [0, 4], [2, 3], 5))
    line, notes = of(written_runs.common("sweep") | {"cells": written_runs.cells(lines)})
    assert line == (
        "jaxsvd sweep made/up --task sst2 --data data/sst2 --protocol clean --validation-size 60 "
        "--layers 0 7 --modules attn mlp --rates 0 0.995 --shots 0 4 --seeds 2 3 --dtype float32"
    )
    assert len(notes) == 1


def test_what_the_records_do_not_tell_is_said() -> None:
    """Sizes where questions were left out, the path of a user's own task file."""
    result = written_runs.common("evaluate") | {
        "task": written_runs.task(name="mine", skipped_queries=3)
    }
    result["test"] = {"correct": 3, "total": 4}
    line, notes = of(result)
    assert line is not None
    assert "--task TASK.toml" in line
    assert "--skip-long" in line
    assert "size" not in line
    assert any("3 questions were left out" in note for note in notes)
    assert any("TASK.toml stands for" in note for note in notes)


def test_words_stay_whole_in_a_shell() -> None:
    typed = ["python", "-m", "experiments.x", "--name", "it's; rm -rf", "--out=old", "--resume"]
    line, _ = of({"command": [*typed, "--out", "runs/a b", "--quick"]})
    assert line is not None
    assert shlex.split(line) == [*typed[:5], "--quick"]
    assert of({"command": "something"}) == (None, [])


def test_rates_of_many_digits_are_whole() -> None:
    """0.9999999 is not printed as 1, which is no rate; whole ones stay short."""
    assert _option("--rates", [0.0, 0.95, 0.9999999]) == ["--rates", "0", "0.95", "0.9999999"]
