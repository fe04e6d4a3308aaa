"""The frame of the experiments: run directories, resumption, exit statuses, pictures."""

import argparse
import contextlib
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import scaffold, style
from experiments.common.records import Records, plain, restore
from experiments.common.scaffold import Experiment, Study, main, table
from jaxsvd import UserError


def squares(before: Callable[[int], None] = lambda n: None) -> Experiment:
    """Units n = 0..4 with n squared; ``before`` is called where a unit is measured."""

    def study(study: Study) -> dict[str, Any]:
        def measure(n: int) -> dict[str, Any]:
            before(n)
            return {"square": jnp.float32(n * n), "bound": math.inf}

        units = [study.once({"n": n}, lambda n=n: measure(n)) for n in range(study.options.count)]
        return {"squares": [unit["square"] for unit in units], "largest": np.int64(16)}

    def report(result: scaffold.Record) -> list[Any]:
        return [
            table("squares", ["n", "interval"], [(n, "[a, b]") for n in range(3)]),
            f"sum {sum(result['squares']):g}",
        ]

    def curve(result: scaffold.Record) -> Any:
        figure = style.figure()
        figure.subplots().plot(result["squares"])
        return figure

    def refuse(options: argparse.Namespace) -> None:
        if options.count == 13:
            raise UserError("--count 13 should be any other number")

    return Experiment(
        "squares",
        "Squares of whole numbers.",
        study,
        report,
        {"curve.png": curve},
        lambda parser: parser.add_argument("--count", type=scaffold.whole(1), default=5),
        refuse,
    )


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(squares(), ["--quick", "--seed", "3", "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["squares"] == [0, 1, 4, 9, 16]
    assert result["experiment"] == "squares"
    assert result["seed"] == 3
    assert result["options"] == {"quick": True, "seed": 3, "count": 5}
    assert result["command"][:3] == ["python", "-m", "experiments.squares"]
    assert result["command"][3:] == ["--quick", "--seed", "3", "--out", str(out)]
    assert {"versions", "git", "device", "started", "seconds"} <= set(result)
    assert result["units"] == {"done": 5, "from_earlier_starts": 0}
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    for part in ("sum 30", "[a, b]", f"run     {out}", f"picture {out / 'curve.png'}"):
        assert part in printed


@pytest.mark.parametrize("moment", [0, 2, 4])
def test_interrupted_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], moment: int
) -> None:
    """Nothing finished is measured again, and the result is that of an unbroken run."""
    measured: list[int] = []

    def kill(n: int) -> None:
        measured.append(n)
        if n == moment and len(measured) == moment + 1:
            raise KeyboardInterrupt

    arguments = ["--out", str(tmp_path / "run")]
    assert main(squares(kill), arguments) == 130
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"--resume --out {tmp_path / 'run'}" in said
    assert not (tmp_path / "run" / "result.json").exists()
    with (tmp_path / "run" / "records.jsonl").open("a") as file:
        file.write('{"unit": {"n": 3')  # a line that the kill cut short
    assert main(squares(kill), [*arguments, "--resume"]) == 0
    assert measured == [*range(moment + 1), *range(moment, 5)]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["squares"] == [0, 1, 4, 9, 16]
    assert result["units"] == {"done": 5, "from_earlier_starts": moment}


def test_ctrl_c_whose_exception_is_lost(tmp_path: Path) -> None:
    """A press swallowed by foreign code ends the run all the same, as interrupted."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        pytest.skip("this process ignores Ctrl-C")
    measured = []

    def swallow(n: int) -> None:
        measured.append(n)
        if n == 1:
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)

    assert main(squares(swallow), ["--out", str(tmp_path / "run")]) == 130
    assert measured == [0, 1]
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "-1"], "'-1' should be a whole number from 0 on"),
        (["--seed", "x"], "'x' should be a whole number from 0 on"),
        (["--count", "0"], "'0' should be a whole number from 1 on"),
        (["--count", "13"], "should be any other number"),
        (["--sed", "1"], "unrecognized arguments"),
        (["--resume"], "--resume needs --out"),
        (["--out", "/proc/none/here"], "cannot be created"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(squares(), arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("squares: error: ")
    assert printed.count("\n") == 1
    assert said in printed
    assert not list(tmp_path.iterdir())


def test_an_existing_run_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not written over, and not resumed as something else."""
    arguments = ["--out", str(tmp_path / "run")]
    assert main(squares(), arguments) == 0
    before = (tmp_path / "run" / "result.json").read_bytes()
    assert main(squares(), arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(squares(), [*arguments, "--resume", "--seed", "1"]) == 2
    assert "is the run of another command" in capsys.readouterr().err
    assert (tmp_path / "run" / "result.json").read_bytes() == before


def test_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scaffold, "available", lambda: False)
    assert main(squares(), ["--out", str(tmp_path / "run")]) == 0
    assert "picture none: install jaxsvd[figures]" in capsys.readouterr().out
    assert not list((tmp_path / "run").glob("*.png"))


def test_the_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(squares(), ["--quick"]) == 0
    (built,) = (tmp_path / "runs").iterdir()
    assert built.name.startswith("squares-quick-")


def test_records_survive_json(tmp_path: Path) -> None:
    """A resumed study sees what the first one saw, infinities and odd characters included."""

    def measure() -> dict[str, Any]:
        return {"bound": -math.inf, "rates": (0.1, np.float32(0.5)), "text": "a\u2028\nb"}

    first = Records(tmp_path / "records.jsonl")
    unit = {"layer": np.int64(3), "module": "mlp"}
    fresh = first.once(unit, measure)
    again = Records(tmp_path / "records.jsonl").once({"module": "mlp", "layer": 3}, dict)
    assert fresh == again
    assert fresh["bound"] == -math.inf
    assert fresh["rates"] == [0.1, 0.5]
    assert (fresh["module"], fresh["layer"]) == ("mlp", 3)
    assert fresh["text"] == "a\u2028\nb"


def test_plain_and_restore() -> None:
    value = {1: np.arange(3), "x": (math.inf, {"y": jnp.float32(2)}), "p": Path("a/b"), "n": None}
    assert plain(value) == {
        "1": [0, 1, 2],
        "x": [math.inf, {"y": 2.0}],
        "p": "a/b",
        "n": None,
    }
    reported = restore({"a": ["inf", "-inf", "finite"], "b": {"c": "nan"}})
    assert reported["a"] == [math.inf, -math.inf, "finite"]
    assert math.isnan(reported["b"]["c"])


@pytest.mark.parametrize("name", ["unit", "seconds"])
def test_a_measurement_cannot_take_the_record_s_own_names(tmp_path: Path, name: str) -> None:
    records = Records(tmp_path / "records.jsonl")
    with pytest.raises(ValueError, match=name):
        records.once({"n": 1}, lambda: {name: 3.0})
    assert len(records) == 0
