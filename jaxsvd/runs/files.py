"""Files that survive a crash: written whole or line by line, and repaired where cut short."""

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxsvd.runtime.errors import UserError

KEPT = "finished work is kept, and --resume continues from it"
"""The hint of an error where a run's file cannot be written."""


def write_whole(path: Path, text: str, *, hint: str = "") -> None:
    """Write a file atomically: at any moment either the old or the new one is there, whole.

    Args:
        path: the file.
        text: its content.
        hint: for the error message: what the user can do.

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
            _sync_directory(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise unwritable(path, error, hint) from None


def unwritable(path: Path, error: OSError, hint: str = "") -> UserError:
    """The error for a file that cannot be written."""
    return UserError(f"{path}: cannot be written ({error.strerror})" + (hint and f"; {hint}"))


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def full_disk(error: OSError) -> UserError:
    """The error for a full disk, from whatever call noticed it; any other error is raised."""
    if error.errno not in _FULL:
        raise error
    where = f"{error.filename}: cannot be written" if error.filename else "cannot write"
    return UserError(f"{where} ({error.strerror}); {KEPT}")


def _sync_directory(path: Path) -> None:
    """Make a rename survive a crash of the machine, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add lines to a file; they are on disk when this returns.

    Raises:
        UserError: they cannot be written; the file is as it was before.
    """
    left = memoryview("".join(f"{line}\n" for line in lines).encode())
    try:
        with path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
    except OSError as error:
        raise unwritable(path, error, KEPT) from None


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; lines that a crash or a bad disk damaged are removed from it.

    Raises:
        UserError: the file cannot be read, or cannot be repaired.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    tail = lines.pop()
    records = [_object(line) for line in lines]
    sound = records.index(None) if None in records else len(records)
    if any(record is not None for record in records[sound:]):
        kept = (line for line, record in zip(lines, records, strict=True) if record is not None)
        write_whole(path, b"".join(line + b"\n" for line in kept).decode())
    elif tail or sound < len(records):
        try:
            os.truncate(path, sum(len(line) + 1 for line in lines[:sound]))
        except OSError as error:
            raise unwritable(path, error) from None
    return [record for record in records if record is not None]


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
