"""A full disk: one line, all that was finished intact, and --resume once there is room.

The disk is a small tmpfs where one may be mounted (as root); elsewhere a limit of the kernel on
the size of files stands for it.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jaxsvd
from experiments.common.records import Records
from jaxsvd.model import Model
from jaxsvd.runs.directory import PREDICTIONS, RESULT
from jaxsvd.runtime.errors import UserError

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "shots": [2],
    "validation_size": 60,
    "rates": (0.0, 0.5, 0.9),
    "layers": [3],
    "save_prompts": True,
}
PLENTY = "20m"


@contextlib.contextmanager
def disk(path: Path, size: str) -> Iterator[None]:
    """A file system of a size in the place of a directory."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "jaxsvd-test", str(path)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip(f"no tmpfs may be mounted here ({done.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def enlarge(path: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,size={PLENTY}", str(path)], check=True)


@pytest.fixture(scope="module")
def model() -> Model:
    return jaxsvd.load()


@pytest.fixture(scope="module")
def whole_run(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep with room enough."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    jaxsvd.sweep(model, out=out, **SMALL)
    return out


def check_lines(path: Path) -> int:
    """How many lines a file has; all are whole."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    assert data.endswith(b"\n") or not data
    return len([json.loads(line) for line in data.splitlines()])


@pytest.mark.parametrize("size", ["4k", "16k", "48k", "80k", "112k"])
def test_a_small_disk(model: Model, whole_run: Path, tmp_path: Path, size: str) -> None:
    """Full at the request, at the prompts, at the predictions, at their rewriting, at the end."""
    with disk(tmp_path / "disk", size):
        out = tmp_path / "disk" / "run"
        with pytest.raises(UserError) as error:
            jaxsvd.sweep(model, out=out, **SMALL)
        line = str(error.value)
        assert "No space left on device" in line
        assert str(tmp_path / "disk") in line
        assert not (out / RESULT).exists()
        kept = check_lines(out / PREDICTIONS)
        enlarge(tmp_path / "disk")
        jaxsvd.sweep(model, out=out, resume=True, **SMALL)
        assert kept <= check_lines(out / PREDICTIONS)
        for name in (PREDICTIONS, "prompts.jsonl", "run.json"):
            assert (out / name).read_bytes() == (whole_run / name).read_bytes()
        assert {path.name for path in out.iterdir()} == {path.name for path in whole_run.iterdir()}


COMMAND = ["--layers", "3", "--modules", "mlp", "--shots", "2", "--validation-size", "120"]


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from jaxsvd.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The command where no file may grow beyond this, as on a disk with so little room."""


@pytest.mark.long
def test_the_command_at_a_limit(tmp_path: Path) -> None:
    """A process whose files may not grow: exit status 2, one line, and it goes on without limit."""
    out = tmp_path / "run"
    words = ["sweep", *COMMAND, "--out", str(out)]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    options: dict[str, Any] = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 300}
    full = subprocess.run([sys.executable, "-c", LIMITED, *words], env=environment, **options)
    assert full.returncode == 2, full.stderr
    assert full.stderr.count("\n") == 1
    assert full.stderr.startswith("jaxsvd: error: ")
    assert "cannot be written (File too large); finished work is kept, and --resume" in full.stderr
    kept = check_lines(out / PREDICTIONS)
    assert kept > 0
    done = subprocess.run([sys.executable, "-m", "jaxsvd", *words, "--resume"], **options)
    assert done.returncode == 0, done.stderr
    assert check_lines(out / PREDICTIONS) == 8 * 120
    assert json.loads((out / RESULT).read_text())["cells"]


def test_records_of_an_experiment(tmp_path: Path) -> None:
    """A unit whose line does not fit leaves the file as it was."""
    with disk(tmp_path / "disk", "8k"):
        file = tmp_path / "disk" / "records.jsonl"
        records, unit, line = Records(file), 0, ""
        while not line:
            try:
                records.once({"unit": unit}, lambda: {"text": "x" * 700})
                unit += 1
            except UserError as error:
                line = str(error)
        assert "No space left on device" in line
        assert "--resume continues from it" in line
        assert check_lines(file) == unit > 0
        enlarge(tmp_path / "disk")
        again = Records(file)
        assert len(again) == unit
        again.once({"unit": unit}, lambda: {"text": "x"})
        assert check_lines(file) == unit + 1
