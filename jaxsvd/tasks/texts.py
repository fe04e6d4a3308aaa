"""Plain text from files: a whole text file, or a column of jsonl or parquet."""

from collections.abc import Iterator
from pathlib import Path

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import files
from jaxsvd.tasks.lines import text_lines

SUFFIXES = (".txt", ".jsonl", ".parquet")


def read_texts(path: Path, field: str = "text") -> Iterator[str]:
    """The texts of a file, each a document of its own.

    Args:
        path: ``.txt`` is one text; ``.jsonl`` and ``.parquet`` are one a line or row.
        field: the key or column that holds the text, of the latter two.

    Raises:
        UserError: the file can't be read, is of another kind or lacks the field.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: text is read from {', '.join(SUFFIXES)}")
    if suffix == ".txt":
        yield "".join(line for _, line in text_lines(path, "utf-8"))
        return
    for record in files.read(path, (field,) if suffix == ".parquet" else ()):
        value = record.values.get(field)
        if not isinstance(value, str):
            raise UserError(f"{record.place}: no text in {field!r}")
        yield value
