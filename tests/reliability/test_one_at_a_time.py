"""Two runs on one directory: the second is refused, and nothing stale is left by the first."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import jaxsvd
from experiments.common.scaffold import Experiment, parser, run
from jaxsvd.runs.directory import Run
from jaxsvd.runs.lock import LOCK, Lock
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress

from .writer import REQUEST

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {"shots": [2], "validation_size": 8, "rates": (0.0, 0.5), "layers": [3]}


@contextmanager
def held_by_another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that works in a run directory until it is killed."""
    command = [sys.executable, "-m", "tests.reliability.writer", str(path), "1", "hold"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process(tmp_path: Path) -> None:
    """Refused by name while the first lives; killed, it leaves the directory free at once."""
    out = tmp_path / "run"
    with held_by_another(out) as process:
        for attempt in (
            lambda: Run.open(out, REQUEST, resume=True),
            lambda: jaxsvd.sweep(jaxsvd.load(), out=out, resume=True, **SMALL),
        ):
            with pytest.raises(UserError) as error:
                attempt()
            assert f"{out}: another process ({process.pid}) is writing this run" in str(error.value)
        process.kill()
        process.wait()
        assert (out / LOCK).exists()
        Run.open(out, REQUEST, resume=True).close()


def test_a_second_run_in_the_same_process(tmp_path: Path) -> None:
    """A thread is as much another as a process is; a run that is closed holds nothing."""
    with Run.open(tmp_path / "run", REQUEST):
        with pytest.raises(UserError, match=f"another process .{os.getpid()}. is writing"):
            Run.open(tmp_path / "run", REQUEST, resume=True)
        with pytest.raises(UserError, match="exists already"):
            Run.open(tmp_path / "run", REQUEST)
    Run.open(tmp_path / "run", REQUEST, resume=True).close()


class _Interrupting(Progress):
    """Ctrl-C at the first score."""

    @contextmanager
    def bar(self, description: str, total: int, unit: str) -> Any:
        def advance(n: int) -> None:
            if description.startswith("scoring") and n:
                raise KeyboardInterrupt

        yield advance


def test_an_interrupted_run_is_free_though_its_traceback_lives(tmp_path: Path) -> None:
    """As in a notebook, which keeps the last exception with all its frames."""
    model = jaxsvd.load()
    with pytest.raises(KeyboardInterrupt) as kept:
        jaxsvd.sweep(model, out=tmp_path / "run", progress=_Interrupting(), **SMALL)
    jaxsvd.sweep(model, out=tmp_path / "run", resume=True, **SMALL)
    assert kept.value is not None


def test_an_experiment(tmp_path: Path) -> None:
    """The frame of the experiments keeps others out too, from its first unit to its result."""
    out = tmp_path / "run"
    requested: list[str] = []

    def study(study: Any) -> dict[str, Any]:
        with pytest.raises(UserError, match=r"another process .* is writing this run") as error:
            run(experiment, options)
        requested.append(str(error.value))
        return {}

    experiment = Experiment("locked", "nothing", study, lambda _: ())
    options = parser(experiment).parse_args(["--out", str(out), "--resume"])
    run(experiment, options)
    assert len(requested) == 1


class _Told(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def notice(self, line: str) -> None:
        self.lines.append(line)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on, and the user is told that nothing keeps a second one out."""

    def unsupported(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    reported = _Told()
    with Run.open(tmp_path / "run", REQUEST, progress=reported) as first:
        assert not first.lock.holds
        Run.open(tmp_path / "run", REQUEST, resume=True).close()
    [line] = reported.lines
    assert "the file system has no locks; do not start a second run in it" in line


def test_the_lock_alone_is_no_run(tmp_path: Path, model_request: dict[str, Any]) -> None:
    """Killed before run.json is written: the directory is as good as empty, to --resume and not."""
    (tmp_path / "a").mkdir()
    Lock(tmp_path / "a").release()
    (tmp_path / "a" / ".run.json-abc").write_text("{")
    Run.open(tmp_path / "a", model_request).close()
    assert not (tmp_path / "a" / ".run.json-abc").exists()


@pytest.fixture
def model_request() -> dict[str, Any]:
    return {"command": "evaluate", "model": {"source": "x"}}


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="exists already"):
        Run.open(tmp_path / "file", REQUEST)
    with pytest.raises(UserError, match="not a run directory"):
        Run.open(tmp_path / "file", REQUEST, resume=True)
    with pytest.raises(UserError, match="cannot be created"):
        Run.open(tmp_path / "file" / "run", REQUEST)
