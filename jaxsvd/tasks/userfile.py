"""A task described by a small TOML file: the user's own, and the built-in ones (``built_in.py``).

An example, ``reviews.toml``::

    name = "reviews"
    template = "Review: {body} Verdict:"    # columns in braces; the label word follows a space
    label_field = "stars"                   # "label" when left out
    shots = 8                               # optional: 5 for each label when left out
    validation_size = 200                   # optional: what there is, at most 2,000
    test_size = 500                         # optional: what there is, at most 2,000

    [files]                                 # csv, tsv, jsonl or parquet, beside this file
    train = "train.csv"
    test = "test.csv"
    validation = "dev.csv"                  # optional: drawn from train when left out

    [labels]                                # what the file says = the label word
    "1" = "bad"
    "2" = "bad"
    "5" = "good"

More keys for files as they come::

    encoding = "cp1252"                     # of csv, tsv and jsonl files; UTF-8 when left out
    skip = ["unlisted", "blank"]            # leave out rows of other labels, rows without text
    split = { train = 0.8, seed = 0 }       # [files] names one file, as data; the rest is test
                                            # (validation = 0.1 takes a share of its own)

Where every row brings its own answers, ``kind = "choices"``, and ``labels`` names the columns::

    kind = "choices"                        # "labels" when left out
    template = "{premise} What follows?"

    [labels]                                # what the file says = the column of that choice
    A = "ending_a"
    B = "ending_b"

A column of lists: ``endings.0`` is the first of ``endings``. Where no column says which choice is
right, ``gold`` names the one that always is.

Instead of ``[files]``, data of the hub, where ``--data`` may still name a folder of local files::

    label_order = ["Yes", "No"]             # of the words, if not that of the table below

    [hub]
    repository = "aps/super_glue"
    config = "rte"                          # optional, as revision
    validation = "train"                    # the split that validation is drawn from; train
    test = "validation"                     # and test; test when left out

    [labels]                                # as the hub names the classes, in its order
    entailment = "Yes"
    not_entailment = "No"

What else the built-in tasks say: ``description``, ``[renamed]`` (other names of columns),
``[original]`` (a data set's own files), ``[paper]`` (its sizes) and ``[scripts]`` (what
the authors' scripts do).

The prompts are written by the rules of ``clean.py`` and the rows are drawn by those of
``splits.py``, as for the built-in tasks.
"""

import codecs
import dataclasses
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import file_tables
from jaxsvd.tasks.files import SUFFIXES, shown
from jaxsvd.tasks.rows import SKIPPED
from jaxsvd.tasks.specs import Kind, Reading, TaskSpec
from jaxsvd.tasks.templates import check_labels, check_template

T = TypeVar("T")

_REQUIRED = ("name", "template", "labels")
_SIZES = ("shots", "validation_size", "test_size")
_READING = ("encoding", "skip", "split")
_MORE = ("hub", "description", "label_order", "gold", "renamed", "original", "paper", "scripts")
_KNOWN = (*_REQUIRED, "files", "kind", "label_field", *_SIZES, *_READING, *_MORE)
_FILES = ("train", "validation", "test")
_ONE = ("data", "all", "train")
_ROUNDS = 5  # as most of the paper's tasks


def load(path: Path, data: Path | None = None) -> tuple[TaskSpec, dict[str, Path]]:
    """Reads and checks a task file.

    Args:
        path: the TOML file.
        data: the folder that relative names of data files start from; the file's own when
            left out.

    Returns:
        The task, and its data files by split; none of a task of the hub.

    Raises:
        UserError: the file can't be read, or something in it is missing, unknown or wrong.
    """
    where = str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"can't read the task file {where}: {error.strerror or error}") from error
    except ValueError as error:  # a path with a NUL
        raise UserError(f"can't read the task file {where}: {error}") from error
    table = parsed(content, where)
    spec, reading = spec_of(table, where)
    if spec.hub is not None:
        return spec, {}
    folder = Path(data) if data is not None else path.parent
    paths = _one_file(where, table, folder) if reading.shares else _paths(where, table, folder)
    splits = [name for name, _ in reading.shares] or list(paths)
    validation = "validation" if "validation" in splits else "train"
    return dataclasses.replace(spec, validation_split=validation), paths


def parsed(content: bytes, where: str) -> dict[str, Any]:
    """A task file's content.

    Raises:
        UserError: not TOML.
    """
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, or not TOML
        raise UserError(f"the task file {where} is not TOML: {error}") from error


def spec_of(table: dict[str, Any], where: str) -> tuple[TaskSpec, Reading]:
    """The task that a file describes, but for its data files.

    Args:
        table: the parsed file.
        where: its name, for messages.

    Raises:
        UserError: something is missing, unknown or wrong.
    """
    unknown = [key for key in table if key not in _KNOWN]
    if unknown:
        raise UserError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(_KNOWN)}")
    missing = [key for key in _REQUIRED if key not in table]
    if missing:
        raise UserError(f"{where}: {', '.join(missing)} missing")
    if ("files" in table) == ("hub" in table):
        what = "both files and hub; keep one" if "hub" in table else "files missing (or hub)"
        raise UserError(f"{where}: {what}")
    kind: Kind = "choices" if table.get("kind") == "choices" else "labels"
    if table.get("kind", kind) != kind:
        raise UserError(f'{where}: kind is {shown(table["kind"])}; "labels" or "choices" expected')
    classes = _labels(where, table, kind)
    words = tuple(dict.fromkeys(classes.values()))
    if len(words) < 2:
        raise UserError(f"{where}: labels needs two different label words or choices at least")
    words = _ordered(where, table, words)
    label_field = _text(where, table, "label_field", "label")
    template = _text(where, table, "template")
    check_template(where, template, None if "gold" in table else label_field)
    reading = _reading(where, table)
    shots, validation_size, test_size = (_size(where, table, key) for key in _SIZES)
    name = _text(where, table, "name")
    hub, validation, test = None, "train", "test"
    if "hub" in table:
        hub, validation, test = file_tables.hub_of(where, table["hub"])

    def optional(key: str, read: Callable[[str, object], T]) -> T | None:
        return read(where, table[key]) if key in table else None

    spec = TaskSpec(
        name=name,
        description=_text(where, table, "description", f"{name}, from {where}"),
        kind=kind,
        template=template,
        labels=words if kind == "labels" else tuple(str(i + 1) for i in range(len(words))),
        classes=tuple(classes),
        label_of=tuple(words.index(word) for word in classes.values()),
        shots=_ROUNDS * len(words) if shots is None else shots,
        validation_size=validation_size,
        test_size=test_size,
        validation_split=validation,
        test_split=test,
        choices=words if kind == "choices" else (),
        label_field=label_field,
        gold=_gold(where, table, kind, classes),
        numbered=hub is not None,
        hub=hub,
        reading=reading,
        original=optional("original", file_tables.original_of),
        renamed=file_tables.texts_of(where, "renamed", table.get("renamed", {})),
        paper=optional("paper", file_tables.paper_of),
        scripts=optional("scripts", file_tables.scripts_of),
    )
    return spec, reading


def _ordered(where: str, table: dict[str, Any], words: tuple[str, ...]) -> tuple[str, ...]:
    """The label words in the order that the file asks for."""
    order = table.get("label_order", list(words))
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(words):
        raise UserError(f"{where}: label_order must hold {', '.join(words)}, each once")
    return tuple(order)


def _gold(where: str, table: dict[str, Any], kind: Kind, classes: dict[str, str]) -> int | None:
    """The class whose choice is right in every row, where no column tells."""
    if "gold" not in table:
        return None
    columns = list(classes.values())
    if kind != "choices" or table["gold"] not in columns:
        raise UserError(
            f"{where}: gold names the column of the right choice, one of {', '.join(columns)}; "
            "where a column says which is right, leave gold out"
        )
    return columns.index(table["gold"])


def _reading(where: str, table: dict[str, Any]) -> Reading:
    encoding = _text(where, table, "encoding", "utf-8")
    try:
        known = codecs.lookup(encoding)._is_text_encoding  # pyright: ignore
    except (LookupError, ValueError):
        known = False
    if not known:
        raise UserError(
            f"{where}: unknown encoding {shown(encoding)}; utf-8, utf-16 or cp1252, say"
        )
    skip = table.get("skip", [])
    if not isinstance(skip, list) or any(reason not in tuple(SKIPPED) for reason in skip):
        listed = ", ".join(f'"{reason}"' for reason in SKIPPED)
        raise UserError(f"{where}: skip must be a list of {listed}, not {shown(skip)}")
    shares, seed = _shares(where, table.get("split"))
    return Reading(encoding, tuple(skip), shares, seed)


def _shares(where: str, split: object) -> tuple[tuple[tuple[str, float], ...], int]:
    """Each split's share, by ``split = { train = 0.8, seed = 0 }``, and the seed of the draw."""
    if split is None:
        return (), 0
    right = "split must be a table like { train = 0.8, seed = 0 }; what is left is test"
    if not isinstance(split, dict) or "train" not in split:
        raise UserError(f"{where}: {right}")
    seed = split.get("seed", 0)
    if type(seed) is not int or seed < 0:
        raise UserError(f"{where}: the seed of split must be a whole number from 0")
    shares = {name: share for name, share in split.items() if name != "seed"}
    for name, share in shares.items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if name not in _FILES or not number or not 0 < share < 1:
            raise UserError(f"{where}: {name} = {shown(share)} in split; {right}")
    rest = 1 - sum(share for name, share in shares.items() if name != "test")
    if rest <= 1e-9 or abs(rest - shares.get("test", rest)) > 1e-9:
        raise UserError(f"{where}: the shares of split are more than 1 or not all rows; {right}")
    ordered = [(name, float(shares[name])) for name in ("train", "validation") if name in shares]
    return (*ordered, ("test", rest)), seed


def _one_file(where: str, table: dict[str, Any], folder: Path) -> dict[str, Path]:
    """The file that is split: ``[files]`` with one name in it, or its name alone."""
    names = table["files"]
    if isinstance(names, str):
        names = {"data": names}
    if not isinstance(names, dict) or len(names) != 1 or next(iter(names)) not in _ONE:
        raise UserError(
            f"{where}: with split, files names the one file that is split: "
            '[files] and data = "all.csv"'
        )
    return {"train": _checked(where, names, next(iter(names)), folder)}


def _text(where: str, table: dict[str, Any], key: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise UserError(f"{where}: {key} must be a text, not {shown(value)}")
    return value


def _size(where: str, table: dict[str, Any], key: str) -> int | None:
    value = table.get(key)
    least = 0 if key == "shots" else 1
    if value is not None and (type(value) is not int or value < least):
        raise UserError(f"{where}: {key} must be a whole number from {least}, not {shown(value)}")
    return value


def _labels(where: str, table: dict[str, Any], kind: Kind) -> dict[str, str]:
    labels = table["labels"]
    if not isinstance(labels, dict) or not labels:
        raise UserError(f'{where}: labels must be a table like {{ "0" = "bad", "1" = "good" }}')
    for value, word in labels.items():
        if not isinstance(word, str) or not word or word != " ".join(word.split()):
            raise UserError(
                f"{where}: the label of {shown(value)} must be a word without outer spaces,"
                f" not {shown(word)}"
            )
    if kind == "labels":
        check_labels(where, tuple(dict.fromkeys(labels.values())))
    return labels


def _paths(where: str, table: dict[str, Any], folder: Path) -> dict[str, Path]:
    names = table["files"]
    if not isinstance(names, dict):
        raise UserError(f"{where}: files must be a table with train, test and, if any, validation")
    unknown = [key for key in names if key not in _FILES]
    if unknown:
        raise UserError(
            f"{where}: unknown files {', '.join(unknown)}; known are {', '.join(_FILES)}"
        )
    for split in ("train", "test"):
        if split not in names:
            way = "; of one file: split = { train = 0.8, seed = 0 }"
            raise UserError(f"{where}: files needs a {split} file{way}")
    paths = {split: _checked(where, names, split, folder) for split in _FILES if split in names}
    # One file twice would let validation or demonstrations meet the test rows.
    if len({os.path.realpath(file) for file in paths.values()}) < len(paths):
        raise UserError(f"{where}: train, validation and test must be different files")
    return paths


def _checked(where: str, names: dict[str, Any], split: str, folder: Path) -> Path:
    file = folder / _text(where, names, split)
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{where}: the {split} file must end in {', '.join(SUFFIXES)}, not"
            f" {shown(names[split])}"
        )
    if not os.path.isfile(file):
        raise UserError(f"{where}: there is no {split} file {file}")
    return file
