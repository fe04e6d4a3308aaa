"""Run directories: what a command leaves behind, and how an interrupted one is resumed.

``run.json`` (the request: everything that decides the results) is written first, then a line of
``predictions.jsonl`` for each example as it is scored, and ``result.json`` at the end. Whole files
are written under a temporary name and renamed. A process that is killed leaves, at most, a last
line cut short and a temporary file; resuming repairs both. Two processes never work in one
directory (:mod:`jaxsvd.runs.lock`).
"""

import contextlib
import datetime
import json
import math
import platform
import secrets
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jaxsvd.runs.request_diff import differences
from jaxsvd.runs.files import KEPT, append_lines, whole_lines, write_whole
from jaxsvd.runtime.errors import UserError, path_errors
from jaxsvd.runs.lock import LOCK, Lock, refuse_held
from jaxsvd.runtime.paths import resolved
from jaxsvd.runtime.progress import SILENT, Progress

JsonObject = Mapping[str, object]
"""An object of a JSON file."""

RESULT, REQUEST, PREDICTIONS, PROMPTS = (
    "result.json",
    "run.json",
    "predictions.jsonl",
    "prompts.jsonl",
)
_PACKAGES = ("jaxsvd", "jax", "jaxlib", "flax", "numpy", "scipy", "transformers", "tokenizers")


def dump(value: Any) -> str:
    """JSON on one line, with ``"inf"``, ``"-inf"`` and ``"nan"`` as strings.

    JSON has no such numbers, and null would make an infinite bound look like a missing one.
    """
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def pretty(value: Any) -> str:
    """As :func:`dump`, but indented, for files that people open."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=2) + "\n"


@dataclass
class Run:
    """An open run directory, locked until it is closed or the process ends.

    Attributes:
        path: the directory.
        request: everything that decides the results; only the same request resumes the run.
        lock: keeps other processes out.
        done: the prediction lines of earlier, interrupted starts.
    """

    path: Path
    request: JsonObject
    lock: Lock
    done: Sequence[JsonObject] = ()

    @classmethod
    def open(
        cls,
        path: str | Path,
        request: JsonObject,
        *,
        resume: bool = False,
        progress: Progress = SILENT,
    ) -> "Run":
        """Create a run directory, or open one to resume its run.

        Args:
            path: the directory.
            request: everything that decides the results.
            resume: continue the run in an existing directory, if its request was the same.
            progress: shows the path of a new run, and a warning if there are no locks.

        Raises:
            UserError: the directory exists (without ``resume``), is no run, is the run of another
                request (the difference is named), or another process works in it.
        """
        path = resolved(path)
        _refuse_used(path, resume)
        if _in_use(path) and not (path / REQUEST).is_file():
            raise UserError(f"{path}: not a run directory (no {REQUEST} there)")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be created ({error.strerror})") from None
        lock = Lock(path)
        try:
            return cls._locked(path, json.loads(dump(request)), lock, resume, progress)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _locked(
        cls, path: Path, request: JsonObject, lock: Lock, resume: bool, progress: Progress
    ) -> "Run":
        _refuse_used(path, resume)  # again: before the lock another process could have written
        if not lock.holds:
            progress.notice(
                f"{path}: the file system has no locks; do not start a second run in it"
            )
        for name in (RESULT, REQUEST, PREDICTIONS, PROMPTS):
            for leftover in path.glob(f".{name}-*"):  # of a process killed while it wrote
                leftover.unlink(missing_ok=True)
        if not _in_use(path):
            write_whole(path / REQUEST, pretty(request))
            progress.run_directory(path)
            return cls(path, request, lock)
        if differing := differences(_recorded_request(path), request):
            raise UserError(f"{path} is the run of another command: {'; '.join(differing)}")
        return cls(path, request, lock, whole_lines(path / PREDICTIONS))

    def close(self) -> None:
        """Let other processes work in the directory."""
        self.lock.release()

    def __enter__(self) -> "Run":
        """The run itself, which is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """As :meth:`close`."""
        self.close()

    def append(self, records: Iterable[JsonObject]) -> None:
        """Add prediction lines; they are on disk when this returns.

        Raises:
            UserError: they cannot be written; the file is as it was before.
        """
        append_lines(self.path / PREDICTIONS, (dump(record) for record in records))

    def write_lines(self, name: str, records: Iterable[JsonObject]) -> None:
        """Write a whole .jsonl file."""
        lines = "".join(dump(record) + "\n" for record in records)
        write_whole(self.path / name, lines, hint=KEPT)

    def finish(self, result: JsonObject) -> None:
        """Write result.json, which completes the run."""
        write_whole(self.path / RESULT, pretty(result), hint=KEPT)


@contextlib.contextmanager
def opened(
    path: str | Path | None, request: JsonObject, *, resume: bool, progress: Progress
) -> Iterator[Run | None]:
    """:meth:`Run.open`, closed at the end; None where nothing is to be written.

    Without closing, a traceback that is kept (as notebooks do) would keep the lock.
    """
    if path is None:
        yield None
        return
    with Run.open(path, request, resume=resume, progress=progress) as run:
        yield run


def refuse_existing(path: str | Path | None, *, resume: bool) -> None:
    """Refuse, before any work is done, a run directory that could not be opened after it.

    Raises:
        UserError: the directory exists and ``resume`` is not set, or another process works in it.
    """
    if path is not None:
        path = resolved(path)
        _refuse_used(path, resume)
        refuse_held(path)


def _refuse_used(path: Path, resume: bool) -> None:
    if not resume and _in_use(path):
        raise UserError(f"{path} exists already; choose another --out, or --resume to continue it")


@path_errors()
def _in_use(path: Path) -> bool:
    """Whether there is anything but an empty directory, or that of a run killed at its start."""
    if not path.is_dir():
        return path.exists()
    return any(not _is_leftover(entry.name) for entry in path.iterdir())


def _is_leftover(name: str) -> bool:
    return name == LOCK or name.startswith(f".{REQUEST}-")


def _recorded_request(path: Path) -> JsonObject:
    try:
        before = json.loads((path / REQUEST).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: not a run directory ({REQUEST} is not readable: {error})"
        ) from None
    if not isinstance(before, dict):
        raise UserError(f"{path}: not a run directory ({REQUEST} should be an object)")
    return before


def default_path(command: str, task: str) -> Path:
    """``runs/COMMAND-TASK-TIME-SUFFIX``, for a run without ``--out``.

    The random suffix keeps runs apart that start within one second.
    """
    name = f"{command}-{task}-{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    return Path("runs") / name


def surroundings() -> dict[str, object]:
    """``versions``, ``git`` and ``device`` of result.json."""
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
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _git_commit() -> str | None:
    """The commit of the checkout, with "+changes" if files differ from it; None if installed."""

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
