"""Run directories: what a command leaves behind, and how it goes on after an interruption.

``run.json`` (what was asked) is written first, then a line of ``predictions.jsonl`` for each
scored example as it is finished, and at the end ``result.json``. Files appear whole: written
beside their place and renamed.
"""

import contextlib
import datetime
import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jaxsvd.errors import UserError

Record = dict[str, Any]

RESULT, REQUEST, PREDICTIONS, PROMPTS = (
    "result.json",
    "run.json",
    "predictions.jsonl",
    "prompts.jsonl",
)
_PACKAGES = ("jaxsvd", "jax", "jaxlib", "flax", "numpy", "scipy", "transformers", "tokenizers")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that at any moment either the old or the new one is there, never a part.

    Raises:
        UserError: the disk is full, or the directory cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def dump(value: Any) -> str:
    """JSON with numbers that are no number told in words: ``"inf"``, ``"nan"``.

    JSON has neither, and a reader must not mistake an infinite bound for a missing one.
    """
    return json.dumps(_told(value), ensure_ascii=False, allow_nan=False)


def _told(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _told(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_told(v) for v in value]
    return value


def pretty(value: Any) -> str:
    """As :func:`dump`, indented, for files that people open."""
    return json.dumps(_told(value), ensure_ascii=False, allow_nan=False, indent=2) + "\n"


@dataclass
class Run:
    """An open run directory.

    Attributes:
        path: the directory.
        request: what was asked: resuming anything else is refused.
        done: the prediction lines that an earlier start left.
    """

    path: Path
    request: Record
    done: list[Record] = field(default_factory=list)

    @classmethod
    def open(cls, path: str | Path, request: Record, *, resume: bool = False) -> "Run":
        """Create a run directory, or go on in one.

        Args:
            path: the directory.
            request: everything that decides the results.
            resume: go on in an existing directory that was asked the same.

        Raises:
            UserError: the directory exists (without ``resume``), is no run, or was asked
                something else; the difference is named.
        """
        path = Path(path)
        refuse_existing(path, resume=resume)
        request = json.loads(dump(request))
        if not _in_use(path):
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{path}: cannot be created ({error.strerror})") from None
            write_whole(path / REQUEST, pretty(request))
            return cls(path, request)
        try:
            before = json.loads((path / REQUEST).read_text("utf-8"))
        except (OSError, ValueError):
            raise UserError(f"{path}: not a run directory ({REQUEST} is not readable)") from None
        differing = [
            f"{key} was {before.get(key)!r}, is {request.get(key)!r}"
            for key in sorted({*before, *request})
            if before.get(key) != request.get(key)
        ]
        if differing:
            raise UserError(f"{path} is the run of another command: {'; '.join(differing)}")
        return cls(path, request, _whole_lines(path / PREDICTIONS))

    def append(self, records: Iterable[Record]) -> None:
        """Add prediction lines; they are on the disk when this returns."""
        text = "".join(dump(record) + "\n" for record in records)
        try:
            with (self.path / PREDICTIONS).open("a", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"{self.path / PREDICTIONS}: cannot be written ({error.strerror}); "
                "what was finished is kept, --resume goes on from there"
            ) from None

    def write_lines(self, name: str, records: Iterable[Record]) -> None:
        """Write a whole .jsonl file."""
        write_whole(self.path / name, "".join(dump(record) + "\n" for record in records))

    def finish(self, result: Record) -> None:
        """Write result.json: the run is complete."""
        write_whole(self.path / RESULT, pretty(result))


def refuse_existing(path: str | Path | None, *, resume: bool) -> None:
    """Fail before any work is done if a run directory could not be opened after it.

    Raises:
        UserError: the directory exists and ``resume`` is not set.
    """
    if path is not None and not resume and _in_use(Path(path)):
        raise UserError(f"{path} exists already; choose another --out, or --resume to go on")


def _in_use(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _whole_lines(path: Path) -> list[Record]:
    """The records of a .jsonl file; a last line cut short by a crash is removed."""
    if not path.exists():
        return []
    data = path.read_bytes()
    records, kept = [], 0
    for line in data.splitlines(keepends=True):
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if not isinstance(record, dict):
            break
        records.append(record)
        kept += len(line)
    if kept != len(data):
        with path.open("r+b") as file:
            file.truncate(kept)
    return records


def default_path(command: str, task: str) -> Path:
    """``runs/COMMAND-TASK-TIME``, where no directory is named."""
    return Path("runs") / f"{command}-{task}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def surroundings() -> Record:
    """Versions, commit and device: what a result was measured with."""
    import jax

    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version()} | _versions(),
        "git": _git_commit(),
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
        },
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _git_commit() -> str | None:
    """The commit of the library's checkout, marked if it was changed; None if installed."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        if not git("ls-files", Path(__file__).name):
            return None  # inside somebody else's repository
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None
