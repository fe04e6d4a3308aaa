"""A finished run directory, as far as a page needs it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxsvd.runs.directory import PREDICTIONS, PROMPTS, REQUEST, RESULT, Record
from jaxsvd.runtime.errors import UserError, path_errors
from jaxsvd.runtime.progress import Progress

_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class FinishedRun:
    """What a run was asked and what it found.

    Attributes:
        path: the run directory.
        result: result.json.
        request: run.json; empty where there is none.
    """

    path: Path
    result: Record
    request: Record

    @property
    def predictions(self) -> Path | None:
        """predictions.jsonl, where there is one."""
        return self._file(PREDICTIONS)

    @property
    def prompts(self) -> Path | None:
        """prompts.jsonl, where there is one."""
        return self._file(PROMPTS)

    def _file(self, name: str) -> Path | None:
        path = self.path / name
        return path if path.is_file() else None


@path_errors()
def read_run(run: str | Path) -> FinishedRun:
    """Read a run directory.

    Raises:
        UserError: there is none, it is not finished, or a file of it is damaged.
    """
    path = Path(run)
    if not path.exists():
        raise UserError(f"{path}: no such run directory")
    if not path.is_dir():
        raise UserError(f"{path}: is a file; a run is a directory with a {RESULT}")
    if not (path / RESULT).exists():
        if (path / REQUEST).exists():
            raise UserError(
                f"{path}: the run is not finished (no {RESULT} yet); "
                f"its command with --resume --out {path} finishes it"
            )
        raise UserError(f"{path}: not a run directory (no {RESULT} there)")
    result = _object(path / RESULT)
    if not isinstance(result.get("command"), str | list) or not result["command"]:
        raise UserError(f"{path / RESULT}: damaged: it does not say which command it is of")
    return FinishedRun(path, result, _object(path / REQUEST) if (path / REQUEST).exists() else {})


def _object(path: Path) -> Record:
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: damaged: should be an object")
    return value


def read_lines(path: Path, what: str, progress: Progress) -> Iterator[tuple[int, Record]]:
    """The objects of a .jsonl file, with their line numbers from 1, read as they are asked for.

    Args:
        path: the file; it may be larger than memory.
        what: for the progress bar and messages, such as ``"predictions"``.
        progress: where to show it.

    Raises:
        UserError: the file cannot be read, or a line of it is no object.
    """
    try:
        size, read, shown = path.stat().st_size, 0, 0
        with (
            path.open("rb") as file,
            progress.bar(f"reading {what}", size // _MEGABYTE, "MB") as advance,
        ):
            for number, line in enumerate(file, 1):
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    record = None
                if not isinstance(record, dict):
                    raise UserError(f"{path}, line {number}: damaged: not a JSON object")
                yield number, record
                read += len(line)
                if read // _MEGABYTE > shown:
                    advance(read // _MEGABYTE - shown)
                    shown = read // _MEGABYTE
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
