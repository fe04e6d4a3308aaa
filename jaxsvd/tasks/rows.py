"""From records as read to checked rows of a task."""

from collections.abc import Iterable

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import files
from jaxsvd.tasks.files import Record
from jaxsvd.tasks.specs import Row, TaskSpec


def to_rows(spec: TaskSpec, where: str, records: Iterable[Record]) -> tuple[Row, ...]:
    """Checks records and makes rows of them.

    Args:
        spec: the task.
        where: what they are of, for the message that there are none.
        records: what was read.

    Returns:
        The rows, numbered from 0.

    Raises:
        UserError: no record, a missing or blank field, a value that is not text, or an unknown
            class.
    """
    rows = tuple(
        Row(
            index=index,
            fields={name: _text(record, name) for name in spec.fields},
            label=_class(spec, record),
        )
        for index, record in enumerate(records)
    )
    if not rows:
        raise UserError(f"{where} holds no rows")
    return rows


def _text(record: Record, name: str) -> str:
    value = record.values.get(name)
    if value is None:
        raise UserError(f"{record.place}: no {name!r} ({files.listed(list(record.values))})")
    if not isinstance(value, str):
        raise UserError(f"{record.place}: {name!r} must be text, not {files.shown(value)}")
    if not value.strip():
        raise UserError(f"{record.place}: {name!r} is blank")
    # JSON can spell both with an escape. Tokenizers refuse the one and stop at the other.
    if "\0" in value:
        raise UserError(f"{record.place}: {name!r} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{record.place}: {name!r} holds half a surrogate pair") from error
    return value


def _class(spec: TaskSpec, record: Record) -> int:
    value = record.values.get(spec.label_field)
    if value is None:
        raise UserError(
            f"{record.place}: no {spec.label_field!r} ({files.listed(list(record.values))})"
        )
    match value:
        case bool():
            name = str(value).lower()
        case float() if value.is_integer():  # parquet from tables that once had gaps
            name = str(int(value))
        case _:
            name = str(value)
    if name not in spec.class_of:
        numbers = f", or 0 to {len(spec.classes) - 1}" if spec.numbered else ""
        raise UserError(
            f"{record.place}: unknown label {files.shown(value)};"
            f" {spec.name} knows {', '.join(spec.classes)}{numbers}"
        )
    return spec.class_of[name]
