"""Any JSON as tables: what a page shows of results that it has no picture for."""

from collections.abc import Iterator
from typing import TypedDict

from jaxsvd.runs.directory import JsonObject

MAX_ROWS = 1_000
MAX_ITEMS = 200
"""Of a list in a cell of a table."""


class Table(TypedDict):
    """A table of the page; ``left_out`` counts the rows that were cut off its end."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    left_out: int


def tables(result: JsonObject, leave_out: frozenset[str]) -> list[Table]:
    """A table for each part of a result: lists of objects by column, all else by name.

    Args:
        result: an object.
        leave_out: fields that the page shows elsewhere.

    Returns:
        The tables, that of single values first.
    """
    single: list[list[str]] = []
    collected: list[Table] = []
    for name, value in result.items():
        if name in leave_out:
            continue
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            collected.append(_table(name, value))
        elif isinstance(value, dict):
            collected += _of_object(name, value)
        else:
            single.append([name, as_text(value)])
    summary = Table(title="Values", columns=["name", "value"], rows=single, left_out=0)
    return [summary, *collected] if single else collected


def _of_object(title: str, value: JsonObject) -> list[Table]:
    lists = {k: v for k, v in value.items() if isinstance(v, list) and v and _objects(v)}
    plain = {k: v for k, v in value.items() if k not in lists}
    rows = [list(pair) for pair in _flat(plain)]
    table = Table(
        title=title,
        columns=["name", "value"],
        rows=rows[:MAX_ROWS],
        left_out=max(0, len(rows) - MAX_ROWS),
    )
    own = [table] if rows else []
    return own + [_table(f"{title}.{name}", items) for name, items in lists.items()]


def _objects(items: list[object]) -> bool:
    return all(isinstance(item, dict) for item in items)


def _table(title: str, items: list[object]) -> Table:
    flat = [dict(_flat(i if isinstance(i, dict) else {"value": i})) for i in items[:MAX_ROWS]]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    rows = [[row.get(name, "") for name in columns] for row in flat]
    return Table(title=title, columns=columns, rows=rows, left_out=max(0, len(items) - MAX_ROWS))


def _flat(value: JsonObject, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Fields of an object, those of inner ones with dotted names."""
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", as_text(inner)


def as_text(value: object) -> str:
    """A value in a cell: numbers to six digits, lists by their items."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Seeds, years and sizes alike: no separators below five digits.
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shown = ", ".join(as_text(item) for item in value[:MAX_ITEMS])
        more = len(value) - MAX_ITEMS
        return shown + (f", and {more:,} more" if more > 0 else "")
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in _flat(value))
    return str(value)
