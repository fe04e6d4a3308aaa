"""A task as data: template, labels, sizes and where the rows come from.

It is read from a task file (``userfile.py``), of the user's own or built in (``built_in.py``). How
a template becomes a prompt stands in ``clean.py``; what the authors' scripts do instead, in
``scripts.py``.
"""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Mapping
from typing import Literal

from jaxsvd.tasks.scriptspecs import ScriptSpec

Kind = Literal["labels", "choices"]

_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One raw example.

    Attributes:
        index: 0-based row in its source split.
        fields: the texts that the template uses, by field name, as they were read.
        label: position in ``TaskSpec.classes``.
    """

    index: int
    fields: dict[str, str]
    label: int


@dataclasses.dataclass(frozen=True)
class HubSource:
    """A data set on the Hugging Face hub.

    Attributes:
        repository: its id.
        config: its configuration, where it has several.
        revision: branch, tag or commit; ``None`` is the main branch.
    """

    repository: str
    config: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        """``repository/config@revision``."""
        config = f"/{self.config}" if self.config else ""
        return f"{self.repository}{config}@{self.revision or 'main'}"


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a user's own files are read.

    Attributes:
        encoding: of csv, tsv and jsonl files, as Python names it.
        skip: rows that are left out instead of refused: ``"unlisted"`` (a class that the task
            does not list, or none) and ``"blank"`` (a text that is missing or blank).
        shares: where one file holds all rows: each split's share of them; what is left is test.
        seed: of the draw that splits them.
    """

    encoding: str = "utf-8"
    skip: tuple[str, ...] = ()
    shares: tuple[tuple[str, float], ...] = ()
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Original:
    """The files of a data set as it is distributed, where they differ from plain ones.

    Attributes:
        format: names their reader in ``sources.py``.
        names: of the files, by split.
    """

    format: str
    names: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class PaperSizes:
    """How many rows the paper validated and tested on (its Appendix C.3)."""

    validation: int
    test: int


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """A task, before any data is read.

    Attributes:
        name: what users type.
        description: one line.
        kind: ``"labels"``: label words are compared after the query; ``"choices"``: every row
            brings its own candidate texts.
        template: the query, with the row's fields in braces; it ends right before the space
            that precedes the label or the choice.
        labels: the label words in label order; for choices their numbers from 1.
        classes: the data set's own classes, in its own order.
        label_of: for each class, the position of its label word in ``labels``.
        shots: default number of demonstrations.
        validation_size: default number of validation rows; ``None`` is as many as there are, at
            most ``splits.DEFAULT_SIZE`` or the paper's number, whichever is smaller.
        test_size: default number of test rows; ``None`` as of ``validation_size``.
        validation_split: source split of the validation rows.
        test_split: source split of the test rows.
        choices: the fields with the candidate texts, for ``kind="choices"``.
        label_field: the field with the class.
        gold: the class of every row, where no field tells it.
        numbered: whether rows may give the class as its number, as the hub does.
        hub: where the hub has the data.
        reading: how files are read.
        original: the data set's own files.
        renamed: other names that files may have for fields, by the task's.
        paper: the paper's sizes.
        scripts: what the authors' script does.
    """

    name: str
    description: str
    kind: Kind
    template: str
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    label_of: tuple[int, ...]
    shots: int
    validation_size: int | None
    test_size: int | None
    validation_split: str = "train"
    test_split: str = "test"
    choices: tuple[str, ...] = ()
    label_field: str = "label"
    gold: int | None = None
    numbered: bool = True
    hub: HubSource | None = None
    reading: Reading = Reading()
    original: Original | None = None
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    paper: PaperSizes | None = None
    scripts: ScriptSpec | None = None

    @functools.cached_property
    def fields(self) -> tuple[str, ...]:
        """The text fields that a row must have, in the order of their use."""
        return tuple(dict.fromkeys((*_FIELD.findall(self.template), *self.choices)))

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that a file must have: of ``endings.0``, the first of a list, ``endings``."""
        label = (self.label_field,) if self.gold is None else ()
        return tuple(dict.fromkeys((*(column_of(name) for name in self.fields), *label)))

    @property
    def demonstrated(self) -> tuple[int, ...]:
        """The labels that rows can have, in label order: demonstrations show them in turn."""
        if self.gold is not None:
            return (self.label_of[self.gold],)
        return tuple(range(len(self.labels)))

    @functools.cached_property
    def class_of(self) -> dict[str, int]:
        """What a row may say for its class, as composed Unicode (NFC), and the class meant."""
        numbers = {str(i): i for i in range(len(self.classes))} if self.numbered else {}
        named = {unicodedata.normalize("NFC", name): i for i, name in enumerate(self.classes)}
        return numbers | named

    @property
    def splits(self) -> tuple[str, ...]:
        """The source splits that the task reads, train first."""
        return tuple(dict.fromkeys(("train", self.validation_split, self.test_split)))


_ITEM = re.compile(r"(?P<column>.+)\.(?P<item>\d+)")


def column_of(field: str) -> str:
    """The column that a field is read from: itself, or the list that it is an item of."""
    match = _ITEM.fullmatch(field)
    return match["column"] if match else field


def value_of(field: str, values: Mapping[str, object]) -> object:
    """A field's value in a record; of ``endings.0`` the first of ``endings``.

    Raises:
        KeyError: the record has no such column, or no list with such an item in it.
    """
    if field in values:
        return values[field]
    match = _ITEM.fullmatch(field)
    items = values[match["column"]] if match else None
    if match is None or not isinstance(items, list | tuple) or int(match["item"]) >= len(items):
        raise KeyError(field)
    return items[int(match["item"])]


def field_names(template: str) -> list[str]:
    """The names in a template's braces, as often as they stand there."""
    return _FIELD.findall(template)


def fill(template: str, values: dict[str, str]) -> str:
    """The template with every ``{name}`` replaced, once: braces within the values stay.

    Args:
        template: text with names in braces.
        values: a text for every name.

    Returns:
        The text.
    """
    return _FIELD.sub(lambda match: values[match.group(1)], template)
