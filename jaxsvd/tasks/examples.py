"""A task of examples that a program holds: pairs, splits of pairs, or tables of columns.

Three forms, and ``template`` says how a query reads::

    [("a fine film", "pos"), ("a bore", "neg"), ...]        template="Review: {text} Verdict:"
    {"train": [...], "test": [...]}                         the same, with splits of their own
    frame                                                   columns and rows, as pandas has them

Pairs have the columns ``text`` and ``label``. A table is whatever has ``columns`` and ``to_dict``
as a pandas ``DataFrame`` does; pandas itself is not imported. Examples in one piece are split by a
draw: 60 % train (demonstrations and validation), 40 % test, whatever the seed of the run.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.files import Record, shown
from jaxsvd.tasks.rows import to_rows
from jaxsvd.tasks.sources import Splits, split_rows
from jaxsvd.tasks.specs import Reading, TaskSpec
from jaxsvd.tasks.templates import check_labels, check_template

DEFAULT_TEMPLATE = "text: {text} label:"

_SPLITS = ("train", "validation", "test")
_SHARES = (("train", 0.6), ("test", 0.4))
_ROUNDS = 5  # demonstrations of each label, as most of the paper's tasks


def load(
    examples: object, template: str | None = None, label_field: str = "label"
) -> tuple[TaskSpec, Splits]:
    """A task of examples in memory.

    Args:
        examples: pairs of text and label, a table, or a mapping of splits (``train``, ``test`` and,
            if any, ``validation``) to either.
        template: of the query, with columns in braces; ``text: {text} label:`` when left out.
        label_field: the column with the label.

    Returns:
        The task, called ``examples``, with its labels in sorted order; and its rows by split.

    Raises:
        UserError: examples of another form, or what a task file would be refused for.
    """
    template = DEFAULT_TEMPLATE if template is None else template
    check_template("template", template, label_field)
    parts: Mapping[Any, Any] = examples if isinstance(examples, Mapping) else {"train": examples}
    if isinstance(examples, Mapping):
        unknown = [str(name) for name in parts if name not in _SPLITS]
        if unknown or not {"train", "test"} <= set(parts):
            raise UserError(
                "a mapping of examples needs train and test, and may have validation; it has "
                + ", ".join(map(str, parts))
            )
    records = {name: _records(name, part, label_field) for name, part in parts.items()}
    words = tuple(sorted({_word(r, label_field) for part in records.values() for r in part}))
    if len(words) < 2:
        raise UserError("the examples have fewer than two labels; a task needs two at least")
    check_labels("examples", words)
    spec = TaskSpec(
        name="examples",
        description="examples of a program",
        kind="labels",
        template=template,
        labels=words,
        classes=words,
        label_of=tuple(range(len(words))),
        shots=_ROUNDS * len(words),
        validation_size=None,
        test_size=None,
        validation_split="validation" if "validation" in parts else "train",
        label_field=label_field,
        numbered=False,
    )
    splits = {name: to_rows(spec, name, part) for name, part in records.items()}
    if not isinstance(examples, Mapping):
        splits = split_rows(splits["train"], Reading(shares=_SHARES))
    return spec, splits


def _word(record: Record, label_field: str) -> str:
    if label_field not in record.values:
        names = ", ".join(map(shown, record.values))
        raise UserError(f"{record.place}: no {label_field!r}; it has {names}")
    word = str(record.values[label_field])
    if not word or word != " ".join(word.split()):
        raise UserError(
            f"{record.place}: the label must be a word without outer spaces, not {shown(word)}"
        )
    return word


def _records(split: str, part: object, label_field: str) -> list[Record]:
    """The examples of a split, each with its place for messages."""
    return [
        Record(f"{split}, example {i}", _text_label(row, label_field))
        for i, row in enumerate(_rows(split, part), 1)
    ]


def _text_label(row: Mapping[str, object], label_field: str) -> dict[str, object]:
    """The row, its label as text: a number, of numpy too, is written as it is."""
    return {
        name: str(value) if name == label_field and value is not None else value
        for name, value in row.items()
    }


def _rows(split: str, part: object) -> Iterable[Mapping[str, object]]:
    if hasattr(part, "columns") and hasattr(part, "to_dict"):
        rows: Any = part
        return rows.to_dict("records")
    if not isinstance(part, Sequence) or isinstance(part, str):
        raise UserError(
            f"{split}: examples should be pairs of text and label, or a table with columns, not "
            f"{type(part).__name__}"
        )
    return [_pair(split, i, pair) for i, pair in enumerate(part, 1)]


def _pair(split: str, number: int, pair: object) -> Mapping[str, object]:
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
        raise UserError(
            f"{split}, example {number}: a pair of text and label expected, not {shown(pair)}"
        )
    return {"text": pair[0], "label": pair[1]}
