"""Lines of text files: encodings, and the three ends that a line may have."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxsvd.runtime.errors import UserError

POINTER = b"version https://git-lfs"
"""How the three lines begin that a clone without git-lfs has in place of a large file."""


def text_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Lines as text with their ends, numbered from 1.

    A line feed alone ends a line; in a file that has none, as old Macs wrote, a carriage return.

    Args:
        path: the file.
        encoding: of its text, as Python names it.

    Yields:
        Number and text of a line.

    Raises:
        UserError: the file can't be read, is not text of the encoding, or is a git-lfs pointer.
    """
    if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig"):
        yield from _lines_of(path, encoding)
        return
    try:
        with path.open("rb") as handle:
            lines = handle if _line_feeds(path) else _old_lines(handle)
            for number, raw in enumerate(lines, 1):
                if number == 1 and raw.startswith(POINTER):
                    raise UserError(f"{path}: a git-lfs pointer and not the file; run git lfs pull")
                if b"\0" in raw:
                    raise UserError(
                        f"{place(path, number)}: a NUL byte; UTF-8 text is expected (a task file "
                        'can name another: encoding = "utf-16")'
                    )
                try:
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    at = error.start + 1
                    raise UserError(
                        f"{place(path, number)}: byte {at} is not UTF-8 text ({error.reason}; a "
                        'task file can name another: encoding = "cp1252")'
                    ) from error
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error


def _line_feeds(path: Path) -> bool:
    """Whether a file has a line feed, or no end of a line at all."""
    returns = False
    with path.open("rb") as handle:
        while chunk := handle.read(2**20):
            if b"\n" in chunk:
                return True
            returns = returns or b"\r" in chunk
    return not returns


def _old_lines(handle: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while chunk := handle.read(2**20):
        *lines, rest = (rest + chunk).split(b"\r")
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def _lines_of(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Lines of another encoding than UTF-8; any of the three ends of a line is one."""
    number = 1
    try:
        with path.open(encoding=encoding) as handle:
            for number, line in enumerate(handle, 1):
                text = line.removeprefix("\ufeff") if number == 1 else line
                if "\0" in text:
                    raise UserError(f"{place(path, number)}: a NUL; {encoding} text is expected")
                yield number, text
    except UnicodeError as error:
        raise UserError(f"{place(path, number)}: not {encoding} text ({error})") from error
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error


def place(path: Path, line: int) -> str:
    """``path, line N``, as all messages have it.

    Args:
        path: the file.
        line: counted from 1.

    Returns:
        The words.
    """
    return f"{path}, line {line}"
