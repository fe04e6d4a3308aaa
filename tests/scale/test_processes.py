"""Two processes with two devices each are one run, and end together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import decoder_sums, rounding

import jaxsvd
from jaxsvd.cli.main import main
from jaxsvd.devices import distributed
from jaxsvd.devices.distributed import Follower
from jaxsvd.runtime.errors import UserError

pytestmark = pytest.mark.long

DEVICES = "--xla_force_host_platform_device_count=2"
SIZES = ("--validation-size", "24", "--test-size", "24", "--rates", "0", "0.5", "0.9")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def start(folder: Path, *arguments: str) -> list[subprocess.Popen[bytes]]:
    """The same command in two processes, each with two devices; what they say goes to files."""
    coordinator = f"127.0.0.1:{free_port()}"
    started = []
    for i in range(2):
        command = [sys.executable, "-m", "jaxsvd", *arguments, "--coordinator", coordinator]
        command += ["--process-id", str(i), "--num-processes", "2"]
        with (folder / f"{i}.out").open("wb") as out, (folder / f"{i}.err").open("wb") as err:
            started.append(
                subprocess.Popen(
                    command,
                    stdout=out,
                    stderr=err,
                    env=os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}"},
                )
            )
    return started


def finish(processes: list[subprocess.Popen[bytes]], timeout: float = 600) -> list[int]:
    """Their exit statuses; none is left behind."""
    try:
        return [process.wait(timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()


def findings(run: Path) -> dict[str, Any]:
    """result.json without times and devices."""
    result = json.loads((run / "result.json").read_text())
    return {
        key: value
        for key, value in result.items()
        if key not in ("started", "seconds", "device", "mesh", "git")
    }


def predictions(run: Path) -> dict[str, dict[str, Any]]:
    """By everything that tells a line from others."""
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    keys = ("split", "module", "layer", "rate", "index")
    return {json.dumps([line[key] for key in keys]): line for line in lines}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The search by one process on one device."""
    run = tmp_path_factory.mktemp("alone") / "run"
    assert main(["search", *SIZES, "--out", str(run)]) == 0
    return run


@pytest.mark.long
def test_a_search_by_two_processes(alone: Path, tmp_path: Path) -> None:
    """One result, the single process's; one of them writes and prints."""
    run = tmp_path / "run"
    processes = start(tmp_path, "search", *SIZES, "--out", str(run), "--mesh", "data=2,model=2")
    statuses = finish(processes)
    assert statuses == [0, 0], [(tmp_path / f"{i}.err").read_text() for i in range(2)]
    assert findings(run) == findings(alone)
    assert json.loads((run / "result.json").read_text())["mesh"] == {"data": 2, "model": 2}
    ours, theirs = predictions(run), predictions(alone)
    assert ours.keys() == theirs.keys()
    for key, line in ours.items():
        assert line["prediction"] == theirs[key]["prediction"]
    largest = max(abs(score) for line in theirs.values() for score in line["scores"])
    difference = max(
        np.abs(np.subtract(line["scores"], theirs[key]["scores"])).max()
        for key, line in ours.items()
    )
    config = jaxsvd.load().config
    sums = [*decoder_sums(config, config.context), *[config.width] * 2 * 2]
    assert difference < 2 * rounding(sums, largest)  # each differs from the exact one
    first, second = ((tmp_path / f"{i}.out").read_text() for i in range(2))
    assert f"run     {run}" in first
    assert "run  " not in second


def test_what_one_cannot_do_all_refuse(alone: Path, tmp_path: Path) -> None:
    """The first looks at the run directory; the same line ends both."""
    before = (alone / "result.json").read_bytes()
    processes = start(tmp_path, "search", *SIZES, "--out", str(alone))
    assert finish(processes) == [2, 2]
    for i in range(2):
        said = (tmp_path / f"{i}.err").read_text()
        assert "exists already; choose another --out" in said
        assert "Traceback" not in said
    assert (alone / "result.json").read_bytes() == before


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_ends_the_other(tmp_path: Path, victim: int) -> None:
    """In under a minute, saying so; what was scored is kept, and --resume finishes the run."""
    run = tmp_path / "run"
    requested = ["sweep", "--layers", "0", "1", "--modules", "mlp", "--rates", "0", "0.5", "0.9"]
    requested += ["--validation-size", "400", "--out", str(run)]
    processes = start(tmp_path, *requested)
    written = run / "predictions.jsonl"
    deadline = time.monotonic() + 300
    while not (written.exists() and written.stat().st_size):
        assert time.monotonic() < deadline
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.05)
    processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    try:
        status = processes[1 - victim].wait(60)
    finally:
        for process in processes:
            process.kill()
    assert status != 0
    assert time.monotonic() - killed < 60
    said = (tmp_path / f"{1 - victim}.err").read_text()
    assert "another of them has ended" in said or "another task died" in said
    kept = len(written.read_text().splitlines())
    assert kept > 0
    assert finish(start(tmp_path, *requested, "--resume")) == [0, 0]
    assert len(written.read_text().splitlines()) == 2 * 3 * 400
    assert len(predictions(run)) == 2 * 3 * 400


# --- one process --------------------------------------------------------------------------------


def test_alone_everything_is_said_by_this_process() -> None:
    assert not distributed.several()
    assert distributed.is_first()
    assert distributed.value_of_first({"a": [1, None]}) == {"a": [1, None]}
    assert list(distributed.shared_out(3)) == [0, 1, 2]
    assert distributed.gathered({0: 1.5, 1: float("inf")}, 2) == [1.5, float("inf")]
    x = np.arange(3)
    assert distributed.arrays_of_first(x) is x


def test_a_follower_writes_nothing(tmp_path: Path) -> None:
    run = Follower(tmp_path / "run", {"command": "search"}, [{"index": 1}])
    with run:
        run.append([{"index": 2}])
        run.write_lines("prompts.jsonl", [{}])
        run.finish({})
    assert run.done == [{"index": 1}]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--coordinator", "127.0.0.1:1"], "belong together"),
        (["--process-id", "0", "--num-processes", "2"], "belong together"),
        (["--coordinator", "host", "--process-id", "0", "--num-processes", "2"], "HOST:PORT"),
        (["--coordinator", "h:1", "--process-id", "2", "--num-processes", "2"], "from 0 to 1"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["search", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_cluster_is_asked_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in an allocation of one task, nor outside of a step that launched this process."""
    for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    assert not distributed._in_cluster()
    distributed.initialize()  # does nothing
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert not distributed._in_cluster()
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-4]")
    assert distributed._in_cluster()
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert not distributed._in_cluster()
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    assert distributed._in_cluster()


def test_some_of_the_three_are_refused() -> None:
    with pytest.raises(UserError, match="belong together"):
        distributed.initialize("127.0.0.1:1", None, 2)
