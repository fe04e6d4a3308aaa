"""The command line: every mistake is one line and exit status 2."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.cli.main import main
from jaxsvd.models import FAMILIES
from jaxsvd.tasks.built_in import SPECS


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a mistaken command prints."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert captured.out == ""
    assert lines[0].startswith("jaxsvd: error: ")
    return lines[0]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the bundled model, to be damaged."""
    return Path(shutil.copytree(BUNDLED, tmp_path / "model"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "/no/such/place"], "no such directory"),
        (["search", "--rates", "1.2"], "clipping rate 1.2 should be at least 0 and below 1"),
        (["search", "--rates", "0", "x"], "should be numbers in [0, 1)"),
        (["search", "--layer", "99"], "no layer 99: the model has"),
        (["search", "--layer", "-99"], "no layer -99: the model has"),
        (["search", "--layer", "deep"], "should be auto or a whole number"),
        (["search", "--module", "fc_up"], "gptj has no module 'fc_up'"),
        (["search", "--module", "head"], "unknown module 'head'; known: q_proj"),
        (["search", "--task", "sst3"], "unknown task 'sst3'; known are sst2, agnews"),
        (["search", "--task", "squad"], "squad has no labels to score"),
        (["search", "--shots", "-1"], "should be a whole number, 0 or more"),
        (["search", "--resume"], "--resume needs --out"),
        (["search", "--dtype", "float64"], "choose from"),
        (["search", "--task", "sst2", "--data", "/no/such/place"], "/no/such/place"),
        (["condition", "--module", "nothing"], "unknown module"),
        (["sew"], "invalid choice"),
        ([], "required"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert said in refused(capsys, *arguments)


def test_a_directory_without_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no config.json there" in refused(capsys, "search", tmp_path)


def test_an_unsupported_family(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "bert"}')
    said = refused(capsys, "evaluate", model)
    assert "model_type = 'bert' is not supported; supported: gptj, llama, gpt2" in said


def test_a_shard_cut_in_half(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    weights = model / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    assert "damaged or cut short" in refused(capsys, "search", model)


def test_data_that_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An empty file, and a label outside the list."""
    (tmp_path / "train.tsv").write_text("")
    assert "train.tsv" in refused(capsys, "search", "--task", "sst2", "--data", tmp_path)
    (tmp_path / "train.tsv").write_text("sentence\tlabel\ngood \t1\nawful \t2\n")
    said = refused(capsys, "search", "--task", "sst2", "--data", tmp_path)
    assert "train.tsv" in said
    assert "'2'" in said


def test_an_existing_run_is_not_overwritten(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "exists already" in refused(capsys, "search", "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_hub_id_without_network(tmp_path: Path) -> None:
    """In a process of its own, with the hub at a closed port and an empty cache."""
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "jaxsvd", "evaluate", "EleutherAI/gpt-j-6b", "--task", "sst2"],
        env=os.environ | closed,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "EleutherAI/gpt-j-6b: no such directory here, and the hub cannot be reached" in line


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each."""
    assert main(["models"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(FAMILIES)
    assert main(["tasks"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [*SPECS, "bundled"]


def test_evaluate_and_condition(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """They print what they write."""
    run = tmp_path / "evaluation"
    assert main(["evaluate", "--test-size", "40", "--out", str(run)]) == 0
    result = json.loads((run / "result.json").read_text())
    printed = capsys.readouterr().out
    assert f"{result['test']['correct']}/40 correct" in printed
    assert len((run / "predictions.jsonl").read_text().splitlines()) == 40
    run = tmp_path / "condition"
    assert main(["condition", "--module", "attn", "--out", str(run)]) == 0
    result = json.loads((run / "result.json").read_text())
    assert len(result["condition_numbers"]) == 4 * result["model"]["layers"]
    largest = max(entry["condition_number"] for entry in result["condition_numbers"])
    assert f"{largest:,.5g}" in capsys.readouterr().out


def test_import_is_light() -> None:
    """No device is touched and none of the heavy packages is imported before it is needed."""
    code = (
        "import sys, jaxsvd, jaxsvd.cli.main; jaxsvd.cli.main.build_parser()\n"
        "heavy = {'jax', 'flax', 'transformers', 'datasets', 'scipy', 'matplotlib'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.long
def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    """The compilation cache is in the user's cache folder; a user's own setting is kept."""
    command = [sys.executable, "-m", "jaxsvd", "evaluate", "--test-size", "20", "--out"]

    def run(name: str, **environment: str) -> None:
        subprocess.run(
            [*command, str(tmp_path / name)],
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | environment,
            check=True,
            capture_output=True,
            timeout=300,
        )

    def compiled() -> set[str]:
        return {path.name for path in (tmp_path / "cache").rglob("*-cache")}

    run("one")
    first = compiled()
    assert first
    run("two")
    assert compiled() == first
    run("three", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert compiled() == first
    kept = {path.name for path in (tmp_path / "own").rglob("*-cache")}
    assert len(kept) == len(first)  # small programs too
    one, two = (tmp_path / name / "predictions.jsonl" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
