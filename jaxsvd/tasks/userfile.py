"""A task of the user's own, described by a small TOML file.

An example, ``reviews.toml``::

    name = "reviews"
    template = "Review: {body} Verdict:"    # columns in braces; the label word follows a space
    label_field = "stars"                   # "label" when left out
    shots = 8                               # optional: 5 for each label when left out
    validation_size = 200                   # optional: all the rows that there are
    test_size = 500                         # optional: all the rows that there are

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

The prompts are written by the rules of ``clean.py`` and the rows are drawn by those of
``splits.py``, as for the built-in tasks.
"""

import codecs
import os
import tomllib
from pathlib import Path
from typing import Any

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.files import SUFFIXES, shown
from jaxsvd.tasks.rows import SKIPPED
from jaxsvd.tasks.specs import Kind, Reading, TaskSpec

_REQUIRED = ("name", "template", "labels", "files")
_SIZES = ("shots", "validation_size", "test_size")
_READING = ("encoding", "skip", "split")
_KNOWN = (*_REQUIRED, "kind", "label_field", *_SIZES, *_READING)
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
        The task, and its data files by split.

    Raises:
        UserError: the file can't be read, or something in it is missing, unknown or wrong.
    """
    table = _parse(path)
    unknown = [key for key in table if key not in _KNOWN]
    if unknown:
        raise UserError(f"{path}: unknown {', '.join(unknown)}; known are {', '.join(_KNOWN)}")
    missing = [key for key in _REQUIRED if key not in table]
    if missing:
        raise UserError(f"{path}: {', '.join(missing)} missing")
    kind: Kind = "choices" if table.get("kind") == "choices" else "labels"
    if table.get("kind", kind) != kind:
        raise UserError(f'{path}: kind is {shown(table["kind"])}; "labels" or "choices" expected')
    classes = _labels(path, table)
    words = tuple(dict.fromkeys(classes.values()))
    if len(words) < 2:
        raise UserError(f"{path}: labels needs two different label words or choices at least")
    reading = _reading(path, table)
    folder = Path(data) if data is not None else path.parent
    paths = _one_file(path, table, folder) if reading.shares else _paths(path, table, folder)
    splits = [name for name, _ in reading.shares] or list(paths)
    shots, validation_size, test_size = (_size(path, table, key) for key in _SIZES)
    name = _text(path, table, "name")
    spec = TaskSpec(
        name=name,
        description=f"{name}, from {path}",
        kind=kind,
        template=_template(path, table),
        labels=words if kind == "labels" else tuple(str(i + 1) for i in range(len(words))),
        classes=tuple(classes),
        label_of=tuple(words.index(word) for word in classes.values()),
        shots=_ROUNDS * len(words) if shots is None else shots,
        validation_size=validation_size,
        test_size=test_size,
        validation_split="validation" if "validation" in splits else "train",
        choices=words if kind == "choices" else (),
        label_field=_text(path, table, "label_field", "label"),
        numbered=False,
        reading=reading,
    )
    return spec, paths


def _reading(path: Path, table: dict[str, Any]) -> Reading:
    encoding = _text(path, table, "encoding", "utf-8")
    try:
        known = codecs.lookup(encoding)._is_text_encoding  # pyright: ignore
    except (LookupError, ValueError):
        known = False
    if not known:
        raise UserError(f"{path}: unknown encoding {shown(encoding)}; utf-8, utf-16 or cp1252, say")
    skip = table.get("skip", [])
    if not isinstance(skip, list) or any(reason not in tuple(SKIPPED) for reason in skip):
        listed = ", ".join(f'"{reason}"' for reason in SKIPPED)
        raise UserError(f"{path}: skip must be a list of {listed}, not {shown(skip)}")
    shares, seed = _shares(path, table.get("split"))
    return Reading(encoding, tuple(skip), shares, seed)


def _shares(path: Path, split: object) -> tuple[tuple[tuple[str, float], ...], int]:
    """Each split's share, by ``split = { train = 0.8, seed = 0 }``, and the seed of the draw."""
    if split is None:
        return (), 0
    right = "split must be a table like { train = 0.8, seed = 0 }; what is left is test"
    if not isinstance(split, dict) or "train" not in split:
        raise UserError(f"{path}: {right}")
    seed = split.get("seed", 0)
    if type(seed) is not int or seed < 0:
        raise UserError(f"{path}: the seed of split must be a whole number from 0")
    shares = {name: share for name, share in split.items() if name != "seed"}
    for name, share in shares.items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if name not in _FILES or not number or not 0 < share < 1:
            raise UserError(f"{path}: {name} = {shown(share)} in split; {right}")
    rest = 1 - sum(share for name, share in shares.items() if name != "test")
    if rest <= 1e-9 or abs(rest - shares.get("test", rest)) > 1e-9:
        raise UserError(f"{path}: the shares of split are more than 1 or not all rows; {right}")
    ordered = [(name, float(shares[name])) for name in ("train", "validation") if name in shares]
    return (*ordered, ("test", rest)), seed


def _one_file(path: Path, table: dict[str, Any], folder: Path) -> dict[str, Path]:
    """The file that is split: ``[files]`` with one name in it, or its name alone."""
    names = table["files"]
    if isinstance(names, str):
        names = {"data": names}
    if not isinstance(names, dict) or len(names) != 1 or next(iter(names)) not in _ONE:
        raise UserError(
            f"{path}: with split, files names the one file that is split: "
            '[files] and data = "all.csv"'
        )
    return {"train": _checked(path, names, next(iter(names)), folder)}


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise UserError(f"can't read the task file {path}: {error.strerror or error}") from error
    # ValueError: not UTF-8, not TOML, or a path with a NUL.
    except (ValueError, RecursionError) as error:
        raise UserError(f"the task file {path} is not TOML: {error}") from error


def _text(path: Path, table: dict[str, Any], key: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise UserError(f"{path}: {key} must be a text, not {shown(value)}")
    return value


def _size(path: Path, table: dict[str, Any], key: str) -> int | None:
    value = table.get(key)
    least = 0 if key == "shots" else 1
    if value is not None and (type(value) is not int or value < least):
        raise UserError(f"{path}: {key} must be a whole number from {least}, not {shown(value)}")
    return value


def _template(path: Path, table: dict[str, Any]) -> str:
    template = _text(path, table, "template")
    if template != template.rstrip() or "\n" in template:
        raise UserError(
            f"{path}: template must be one line without a space at its end; the space before the"
            " label is added"
        )
    if "{" not in template:
        raise UserError(f"{path}: template names no column; write {{column}} where its text goes")
    return template


def _labels(path: Path, table: dict[str, Any]) -> dict[str, str]:
    labels = table["labels"]
    if not isinstance(labels, dict) or not labels:
        raise UserError(f'{path}: labels must be a table like {{ "0" = "bad", "1" = "good" }}')
    for value, word in labels.items():
        if not isinstance(word, str) or not word or word != " ".join(word.split()):
            raise UserError(
                f"{path}: the label of {shown(value)} must be a word without outer spaces,"
                f" not {shown(word)}"
            )
    return labels


def _paths(path: Path, table: dict[str, Any], folder: Path) -> dict[str, Path]:
    names = table["files"]
    if not isinstance(names, dict):
        raise UserError(f"{path}: files must be a table with train, test and, if any, validation")
    unknown = [key for key in names if key not in _FILES]
    if unknown:
        raise UserError(
            f"{path}: unknown files {', '.join(unknown)}; known are {', '.join(_FILES)}"
        )
    for split in ("train", "test"):
        if split not in names:
            way = "; of one file: split = { train = 0.8, seed = 0 }"
            raise UserError(f"{path}: files needs a {split} file{way}")
    paths = {split: _checked(path, names, split, folder) for split in _FILES if split in names}
    # One file twice would let validation or demonstrations meet the test rows.
    if len({os.path.realpath(file) for file in paths.values()}) < len(paths):
        raise UserError(f"{path}: train, validation and test must be different files")
    return paths


def _checked(path: Path, names: dict[str, Any], split: str, folder: Path) -> Path:
    file = folder / _text(path, names, split)
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{path}: the {split} file must end in {', '.join(SUFFIXES)}, not {shown(names[split])}"
        )
    if not os.path.isfile(file):
        raise UserError(f"{path}: there is no {split} file {file}")
    return file
