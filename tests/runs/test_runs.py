"""Run directories: nothing overwritten, nothing lost, nothing half-written."""

import json
import math
from pathlib import Path

import pytest

from jaxsvd.runtime.errors import UserError
from jaxsvd.runs.directory import PREDICTIONS, Run, dump, write_whole

REQUEST = {"command": "search", "rates": (0.0, 0.5), "task": {"name": "sst2"}}


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    Run.open(tmp_path / "run", REQUEST)
    with pytest.raises(UserError, match=r"exists already.*--resume"):
        Run.open(tmp_path / "run", REQUEST)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="exists already"):
        Run.open(tmp_path / "other", REQUEST)
    with pytest.raises(UserError, match="not a run directory"):
        Run.open(tmp_path / "other", REQUEST, resume=True)
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_an_empty_directory_may_be_used(tmp_path: Path) -> None:
    assert not Run.open(tmp_path, REQUEST).done


def test_resuming_another_request_names_the_difference(tmp_path: Path) -> None:
    Run.open(tmp_path / "run", REQUEST)
    with pytest.raises(UserError, match=r"rates was \[0.0, 0.5\], is \[0.0, 0.9\]"):
        Run.open(tmp_path / "run", REQUEST | {"rates": (0.0, 0.9)}, resume=True)


@pytest.mark.parametrize("cut", range(1, 25))
def test_a_line_cut_short_is_removed(tmp_path: Path, cut: int) -> None:
    """After a crash the whole lines are kept and the next one starts on a line of its own."""
    run = Run.open(tmp_path / "run", REQUEST)
    run.append([{"index": 1, "text": "naïve"}, {"index": 2, "text": "ok"}])
    run.close()
    file = tmp_path / "run" / PREDICTIONS
    data = file.read_bytes()
    file.write_bytes(data[:-cut])
    again = Run.open(tmp_path / "run", REQUEST, resume=True)
    assert [record["index"] for record in again.done] == [1]
    again.append([{"index": 2}])
    assert [json.loads(line)["index"] for line in file.read_text().splitlines()] == [1, 2]


def test_numbers_that_are_none_are_told_in_words() -> None:
    """JSON has no infinity; null would read as missing."""
    assert json.loads(dump({"a": math.inf, "b": [math.nan, -math.inf], "c": 1.5})) == {
        "a": "inf",
        "b": ["nan", "-inf"],
        "c": 1.5,
    }


def test_files_appear_whole(tmp_path: Path) -> None:
    """A failed write leaves the old file and no litter."""
    write_whole(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "a", "\udcff")
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    with pytest.raises(UserError, match="cannot be written"):
        write_whole(tmp_path / "missing" / "a", "text")
