"""From records as read to checked rows of a task."""

import collections
import math
import unicodedata
from collections.abc import Iterable, Iterator

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import files
from jaxsvd.tasks.files import Record
from jaxsvd.tasks.specs import Row, TaskSpec, value_of

SKIPPED = {"unlisted": "of no listed label", "blank": "without text"}
"""Rows that a task file may ask to leave out, and how a message calls them."""


class _Skip(Exception):
    """A row that was to be left out, by the reason."""


def to_rows(
    spec: TaskSpec,
    where: str,
    records: Iterable[Record],
    skipped: "collections.Counter[str] | None" = None,
) -> tuple[Row, ...]:
    """Checks records and makes rows of them.

    Args:
        spec: the task.
        where: what they are of, for the message that there are none.
        records: what was read.
        skipped: counts the rows left out, by reason, where the task asks to leave some out.

    Returns:
        The rows, numbered from 0 by their place among all records.

    Raises:
        UserError: no record, a missing or blank field, a value that is not text, or an unknown
            class.
    """
    left_out: collections.Counter[str] = collections.Counter() if skipped is None else skipped
    rows = tuple(_rows(spec, records, left_out))
    if not rows:
        why = "; " + counted(left_out) if left_out else ""
        raise UserError(f"{where} holds no rows{why}")
    return rows


def counted(skipped: "collections.Counter[str]") -> str:
    """How many rows were left out, in words."""
    parts = (f"{n} rows {SKIPPED[reason]}" for reason, n in sorted(skipped.items()) if n)
    return ", ".join(parts) + " left out"


def _rows(
    spec: TaskSpec, records: Iterable[Record], skipped: "collections.Counter[str]"
) -> Iterator[Row]:
    for index, record in enumerate(records):
        try:
            fields = {name: _text(spec, record, name) for name in spec.fields}
            yield Row(index=index, fields=fields, label=_class(spec, record))
        except _Skip as reason:
            skipped[str(reason)] += 1


def _no_column(record: Record, name: str) -> UserError:
    return UserError(f"{record.place}: no {name!r} ({files.listed(list(record.values))})")


def _missing(spec: TaskSpec, record: Record, name: str, reason: str, what: str) -> UserError:
    """For a value that is there and says nothing; leaves the row out where that was asked for."""
    if reason in spec.reading.skip:
        raise _Skip(reason)
    way = f'; skip = ["{reason}"] in the task file leaves such rows out' if spec.hub is None else ""
    return UserError(f"{record.place}: {what}{way}")


def _text(spec: TaskSpec, record: Record, name: str) -> str:
    try:
        value = value_of(name, record.values)
    except KeyError:
        raise _no_column(record, name) from None
    if value is None:
        raise _missing(spec, record, name, "blank", f"{name!r} is null; a text is expected")
    if not isinstance(value, str):
        raise UserError(f"{record.place}: {name!r} must be text, not {files.shown(value)}")
    if not value.strip():
        raise _missing(spec, record, name, "blank", f"{name!r} is blank")
    # JSON can spell both with an escape. Tokenizers refuse the one and stop at the other.
    if "\0" in value:
        raise UserError(f"{record.place}: {name!r} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{record.place}: {name!r} holds half a surrogate pair") from error
    return value


def _class(spec: TaskSpec, record: Record) -> int:
    if spec.gold is not None:
        return spec.gold
    field = spec.label_field
    if field not in record.values:
        raise _no_column(record, field)
    value = record.values[field]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise _missing(spec, record, field, "unlisted", f"{field!r} is null; a label is expected")
    for name in _spellings(value, own=spec.hub is None):
        if name in spec.class_of:
            return spec.class_of[name]
    numbers = f", or 0 to {len(spec.classes) - 1}" if spec.numbered else ""
    raise _missing(
        spec,
        record,
        field,
        "unlisted",
        f"unknown label {files.shown(value)}; {spec.name} knows {', '.join(spec.classes)}{numbers}",
    )


def _spellings(value: object, *, own: bool) -> tuple[str, ...]:
    """How a task may call the class that a file gives, the likeliest first; ``own``: a user's."""
    match value:
        case bool():
            names = (str(value).lower(), str(value), str(value).upper())  # JSON's, Python's, R's
            return (*names, str(int(value))) if own else names
        case float() if value.is_integer():  # parquet from tables that once had gaps
            return (str(int(value)), str(value))
        case _:
            text = unicodedata.normalize("NFC", str(value))
            return (text, text.strip())
