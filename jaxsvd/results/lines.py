"""The lines of a .jsonl file, one at a time: it may be larger than memory."""

import json
from collections.abc import Iterator
from pathlib import Path

from jaxsvd.results.fields import JsonObject
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress

_MEGABYTE = 1_000_000


def read_lines(path: Path, what: str, progress: Progress) -> Iterator[tuple[int, JsonObject]]:
    """The objects of a .jsonl file, with their line numbers from 1, read as they are asked for.

    Args:
        path: the file.
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
