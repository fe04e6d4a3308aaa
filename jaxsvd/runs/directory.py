"""Run directories: what a command leaves behind, and how it goes on after an interruption.

``run.json`` (what was asked) is written first, then a line of ``predictions.jsonl`` for each
scored example as it is finished, and at the end ``result.json``. Files appear whole: written
beside their place and renamed. A process that is killed leaves, at most, a last line cut short and
a file that nobody knows yet; both are mended by the next. Two processes never work in one directory
(:mod:`jaxsvd.runs.lock`).
"""

import contextlib
import datetime
import json
import math
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jaxsvd.runs.request_diff import differences
from jaxsvd.runs.files import KEPT, append_lines, whole_lines, write_whole
from jaxsvd.runtime.errors import UserError
from jaxsvd.runs.lock import LOCK, Lock, refuse_held
from jaxsvd.runtime.progress import SILENT, Progress

Record = dict[str, Any]

RESULT, REQUEST, PREDICTIONS, PROMPTS = (
    "result.json",
    "run.json",
    "predictions.jsonl",
    "prompts.jsonl",
)
_PACKAGES = ("jaxsvd", "jax", "jaxlib", "flax", "numpy", "scipy", "transformers", "tokenizers")


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
    """An open run directory, which is its owner's alone until it is closed or the process ends.

    Attributes:
        path: the directory.
        request: what was asked: resuming anything else is refused.
        lock: keeps others out.
        done: the prediction lines that an earlier start left.
    """

    path: Path
    request: Record
    lock: Lock
    done: list[Record] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        path: str | Path,
        request: Record,
        *,
        resume: bool = False,
        progress: Progress = SILENT,
    ) -> "Run":
        """Create a run directory, or go on in one.

        Args:
            path: the directory.
            request: everything that decides the results.
            resume: go on in an existing directory that was asked the same.
            progress: told where the file system cannot keep a second process out.

        Raises:
            UserError: the directory exists (without ``resume``), is no run, was asked something
                else (the difference is named), or another process works in it.
        """
        path = Path(path)
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
        cls, path: Path, request: Record, lock: Lock, resume: bool, progress: Progress
    ) -> "Run":
        _refuse_used(path, resume)  # only now nobody else can change it
        if not lock.holds:
            progress.notice(
                f"{path}: the file system has no locks; do not start a second run in it"
            )
        for name in (RESULT, REQUEST, PREDICTIONS, PROMPTS):
            for leftover in path.glob(f".{name}-*"):  # of a process killed while it wrote
                leftover.unlink(missing_ok=True)
        if not _in_use(path):
            write_whole(path / REQUEST, pretty(request))
            return cls(path, request, lock)
        if differing := differences(_asked_before(path), request):
            raise UserError(f"{path} is the run of another command: {'; '.join(differing)}")
        return cls(path, request, lock, whole_lines(path / PREDICTIONS))

    def close(self) -> None:
        """Let other processes work in the directory."""
        self.lock.release()

    def __enter__(self) -> "Run":
        """Nothing: the directory is this run's already."""
        return self

    def __exit__(self, *_: object) -> None:
        """As :meth:`close`."""
        self.close()

    def append(self, records: Iterable[Record]) -> None:
        """Add prediction lines; they are on the disk when this returns.

        Raises:
            UserError: they cannot be written; the file is as it was before.
        """
        append_lines(self.path / PREDICTIONS, (dump(record) for record in records))

    def write_lines(self, name: str, records: Iterable[Record]) -> None:
        """Write a whole .jsonl file."""
        lines = "".join(dump(record) + "\n" for record in records)
        write_whole(self.path / name, lines, hint=KEPT)

    def finish(self, result: Record) -> None:
        """Write result.json: the run is complete."""
        write_whole(self.path / RESULT, pretty(result), hint=KEPT)


@contextlib.contextmanager
def opened(
    path: str | Path | None, request: Mapping[str, Any], *, resume: bool, progress: Progress
) -> Iterator[Run | None]:
    """:meth:`Run.open`, closed at the end; None where nothing is to be written.

    Left to the garbage collector the lock would stay as long as somebody looks at a traceback.
    """
    if path is None:
        yield None
        return
    with Run.open(path, dict(request), resume=resume, progress=progress) as run:
        yield run


def refuse_existing(path: str | Path | None, *, resume: bool) -> None:
    """Fail before any work is done if a run directory could not be opened after it.

    Raises:
        UserError: the directory exists and ``resume`` is not set, or another process works in it.
    """
    if path is not None:
        _refuse_used(Path(path), resume)
        refuse_held(Path(path))


def _refuse_used(path: Path, resume: bool) -> None:
    if not resume and _in_use(path):
        raise UserError(f"{path} exists already; choose another --out, or --resume to go on")


def _in_use(path: Path) -> bool:
    """Whether a path is more than an empty directory, or one of a run killed at its start."""
    if not path.is_dir():
        return path.exists()
    return any(not _ours(entry.name) for entry in path.iterdir())


def _ours(name: str) -> bool:
    return name == LOCK or name.startswith(f".{REQUEST}-")


def _asked_before(path: Path) -> Record:
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
