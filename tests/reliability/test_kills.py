"""kill -9 at any moment, then --resume: the same files as without, and nothing measured twice.

Also what a killed process or a bad disk leaves in a file, and that two runs of one command agree
to the last bit.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from jaxsvd.runs.directory import PREDICTIONS, REQUEST, RESULT, Run, dump
from jaxsvd.runtime.errors import UserError

from .effort import SEED, times
from .writer import record

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]

SWEEP = ["--layers", "0,3", "--modules", "mlp", "--shots", "2,4", "--validation-size", "300"]
"""Some seconds of scoring, so that moments differ."""


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "jaxsvd", "sweep", *SWEEP, "--out", str(out), *more]


def start(call: list[str], **environment: str) -> subprocess.Popen[str]:
    built = os.environ | environment
    return subprocess.Popen(
        call, cwd=ROOT, env=built, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr


def timeless(run: Path) -> dict[str, Any]:
    """result.json without what differs between two runs of the same command."""
    result = json.loads((run / RESULT).read_text())
    times = ("started", "seconds", "git")  # the checkout may be at work in
    return {key: value for key, value in result.items() if key not in times}


def whole(path: Path) -> list[bytes]:
    """The lines of a file that end."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def check_growth(before: list[bytes], path: Path) -> list[bytes]:
    """Whatever was finished is still there, to the letter, and no unit stands there twice."""
    now = whole(path)
    assert set(before) <= set(now)
    names = ("split", "module", "layer", "rate", "shots", "seed", "index", "unit")
    units = [tuple(map(str, map(json.loads(line).get, names))) for line in now]
    assert len(set(units)) == len(units)
    return now


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep from start to end."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    finish(start(command(out), PYTHONHASHSEED="1"))
    return out


@pytest.mark.long
def test_the_same_command_twice(uninterrupted: Path, tmp_path: Path) -> None:
    """Byte for byte, whatever order Python gives to sets."""
    out = tmp_path / "again"
    finish(start(command(out), PYTHONHASHSEED="2"))
    assert (out / PREDICTIONS).read_bytes() == (uninterrupted / PREDICTIONS).read_bytes()
    assert timeless(out) == timeless(uninterrupted)


def kill_somewhere(process: subprocess.Popen[str], path: Path, random: Random) -> bool:
    """Kill a sweep at a random moment of its start, or of its scoring; whether it still ran."""
    if random.random() < 0.25:
        time.sleep(random.uniform(0, 4))
    else:
        size = path.stat().st_size if path.exists() else 0
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if path.exists() and path.stat().st_size != size:
                break
            time.sleep(0.01)
        time.sleep(random.uniform(0, 1))
    process.kill()
    process.communicate(timeout=60)
    return process.returncode != 0


@pytest.mark.long
def test_killed_sweeps_go_on(uninterrupted: Path, tmp_path: Path) -> None:
    """Killed again and again; each time the directory is resumed, and the last time finished."""
    random = Random(f"{SEED}/kills")
    wanted, killed, number = times(2, 20), 0, 0
    while killed < wanted:
        number += 1
        out, before = tmp_path / f"run-{number}", []
        assert number < 4 * wanted
        while killed < wanted:
            process = start(command(out, "--resume"))
            if not kill_somewhere(process, out / PREDICTIONS, random):
                break
            killed += 1
            before = check_growth(before, out / PREDICTIONS)
        finish(start(command(out, "--resume")))
        for name in (PREDICTIONS, REQUEST):
            assert (out / name).read_bytes() == (uninterrupted / name).read_bytes()
        assert timeless(out) == timeless(uninterrupted)
        assert not [path for path in out.iterdir() if path.name.startswith(f".{PREDICTIONS}")]
    print(f"{killed} sweeps killed, {number} directories finished")


def test_killed_writers_go_on(tmp_path: Path) -> None:
    """The same without a model: killed at its first file, between bytes of a line, at its last."""
    random, out = Random(f"{SEED}/writers"), tmp_path / "run"
    units, before, killed, finished = 400, [], 0, 0
    for number in range(times(20, 400)):
        call = [sys.executable, "-m", "tests.reliability.writer", str(out), str(units)]
        process = start(call)
        deadline = time.monotonic() + 60
        while not out.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(random.choice([0, 0.001, 0.02, 0.3]) * random.random())
        process.kill()
        _, stderr = process.communicate(timeout=60)
        assert process.returncode in (0, -9), stderr
        killed += process.returncode == -9
        before = check_growth(before, out / PREDICTIONS)
        if process.returncode == 0 or number % 10 == 9:
            finish(start(call))
            expected = "".join(dump(record(unit)) + "\n" for unit in range(units))
            assert (out / PREDICTIONS).read_text("utf-8") == expected
            assert json.loads((out / RESULT).read_text()) == {"command": "writer", "units": units}
            out, before, finished = tmp_path / f"run-{number}", [], finished + 1
    print(f"{killed} writers killed, {finished} directories finished")
    assert killed > 0


# --- what is left behind ------------------------------------------------------------------------

ASKED = {"command": "x"}


@pytest.mark.parametrize(
    "damage",
    [
        b'{"unit": 2, "text": "na\xc3',  # cut in a letter
        b'{"unit": 2}',  # whole but for its end
        b"\0" * 4096,  # blocks that were never written
        b"\xff\xfe{\n[1]\n5\n",
        b"\n\n",
        b"[" * 100_000 + b"\n",
        b"1" * 5_000 + b"\n",
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_lines_that_are_none(tmp_path: Path, damage: bytes, inside: bool) -> None:
    """They go; every other line stays, before and after them, and new ones start on their own."""
    with Run.open(tmp_path, ASKED) as run:
        run.append([{"unit": 1, "text": "naïve"}])
    file = tmp_path / PREDICTIONS
    after = b'{"unit": 3}\n' if inside else b""
    file.write_bytes(file.read_bytes() + damage + (b"\n" + after if inside else b""))
    with Run.open(tmp_path, ASKED, resume=True) as again:
        complete = (
            [2] if inside and damage == b'{"unit": 2}' else []
        )  # with its line feed it is one
        kept = [1, *complete, 3] if inside else [1]
        assert [actual["unit"] for actual in again.done] == kept
        again.append([{"unit": 4}])
    assert [json.loads(line)["unit"] for line in file.read_bytes().splitlines()] == [*kept, 4]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_damaged_request(tmp_path: Path, content: bytes) -> None:
    Run.open(tmp_path, ASKED).close()
    (tmp_path / REQUEST).write_bytes(content)
    with pytest.raises(UserError, match="not a run directory"):
        Run.open(tmp_path, ASKED, resume=True)
