"""Where rows come from: local files in their own formats, or the hub.

A folder given with ``--data`` holds either the files as the data set is distributed or plain
``train``, ``validation`` (``val``, ``dev``) and ``test`` files in csv, tsv, jsonl or parquet with
the hub's field names, the class by name or by the hub's number.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import files, hub
from jaxsvd.tasks.files import Record
from jaxsvd.tasks.rows import to_rows
from jaxsvd.tasks.specs import Row, TaskSpec

Splits = dict[str, tuple[Row, ...]]

_STEMS = {"train": ("train",), "validation": ("validation", "val", "dev"), "test": ("test",)}


def load(spec: TaskSpec, data: Path | None) -> tuple[Splits, str]:
    """The rows of every split that a built-in task reads.

    Args:
        spec: the task.
        data: folder with local files; ``None`` is the hub.

    Returns:
        Rows by split, and a line that says where they came from. The validation split may be
        missing when it can be drawn from train instead (MRPC's own files have none).

    Raises:
        UserError: the hub can't be reached, a file is missing or a row is bad.
    """
    if data is None:
        return hub.load(spec), f"hub: {spec.hub}"
    if not os.path.isdir(data):
        raise UserError(f"--data {data} is not a folder; it must hold the files of {spec.name}")
    paths = {split: _find(spec, data, split) for split in spec.splits}
    found = {split: path for split, path in paths.items() if path is not None}
    splits = {
        split: to_rows(spec, str(path), _records(spec, split, path))
        for split, path in found.items()
    }
    return splits, named(found)


def read_files(spec: TaskSpec, paths: dict[str, Path]) -> tuple[Splits, str]:
    """Rows of plain files, for a user's own task.

    Args:
        spec: the task.
        paths: a file for every split.

    Returns:
        Rows by split, and a line that names the files.

    Raises:
        UserError: a file is missing or a row is bad.
    """
    columns = (*spec.fields, spec.label_field)
    splits = {
        split: to_rows(spec, str(path), files.read(path, columns)) for split, path in paths.items()
    }
    return splits, named(paths)


def named(paths: dict[str, Path]) -> str:
    """A source of local files as ``Prepared.source`` has it.

    Args:
        paths: the files by split.

    Returns:
        One line.
    """
    return "files: " + ", ".join(str(path) for path in dict.fromkeys(paths.values()))


@dataclasses.dataclass(frozen=True)
class _Native:
    """Files as a data set is distributed, where they differ from plain ones.

    Attributes:
        names: their names by split.
        read: gives records with the hub's field names.
    """

    names: dict[str, str]
    read: Callable[[Path], Iterable[Record]]


def _find(spec: TaskSpec, data: Path, split: str) -> Path | None:
    """The one file of a split, or ``None`` where the split can be done without."""
    plain = [stem + suffix for stem in _STEMS[split] for suffix in files.SUFFIXES]
    native = [_NATIVE[spec.name].names.get(split)] if spec.name in _NATIVE else []
    names = dict.fromkeys([name for name in native if name] + plain)
    found = [name for name in names if os.path.isfile(data / name)]
    if len(found) > 1:
        raise UserError(f"{data} has more than one {split} file: {', '.join(found)}; keep one")
    if found:
        return data / found[0]
    if split == spec.validation_split and split not in ("train", spec.test_split):
        return None
    raise UserError(f"no {split} file in {data}; it may be named {', '.join(names)}")


def _records(spec: TaskSpec, split: str, path: Path) -> Iterable[Record]:
    native = _NATIVE.get(spec.name)
    if native is not None and path.name == native.names.get(split):
        return native.read(path)
    return files.read(path, (*spec.fields, spec.label_field))


def _mrpc(path: Path) -> list[Record]:
    names = {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}
    records = files.with_header(path, files.tsv_rows(path), tuple(names.values()))
    return [
        Record(record.place, {ours: record.values[theirs] for ours, theirs in names.items()})
        for record in records
    ]


def _emoc(path: Path) -> list[Record]:
    """The hub's text is the three turns with a space between."""
    turns = ("turn1", "turn2", "turn3")
    records = files.with_header(path, files.tsv_rows(path), (*turns, "label"))
    return [
        Record(
            record.place,
            {
                "text": " ".join(str(record.values[turn]) for turn in turns),
                "label": record.values["label"],
            },
        )
        for record in records
    ]


_AGNEWS_CLASSES = {"1": "World", "2": "Sports", "3": "Business", "4": "Sci/Tech"}


def _agnews(path: Path) -> list[Record]:
    """Class, title and description, with a header or without; or the hub's text and label."""
    rows = list(files.csv_rows(path))
    if not rows:
        raise UserError(f"{path} is empty")
    first = [cell.strip().lower() for cell in rows[0][1]]
    if first[1:] == ["title", "description"]:
        rows = rows[1:]
    elif first[0] not in _AGNEWS_CLASSES:
        return list(files.with_header(path, iter(rows), ("text", "label")))
    return [_agnews_record(path, line, cells) for line, cells in rows]


def _agnews_record(path: Path, line: int, cells: list[str]) -> Record:
    """The hub's text is title and description with a space between."""
    number, title, description = files.check_width(
        path, line, cells, ["class", "title", "description"]
    )
    label = _AGNEWS_CLASSES.get(number.strip())
    if label is None:
        raise UserError(
            f"{files.place(path, line)}: unknown label {files.shown(number)}; agnews' own files"
            f" number the classes 1 to 4 ({', '.join(_AGNEWS_CLASSES.values())})"
        )
    return Record(files.place(path, line), {"text": f"{title} {description}", "label": label})


_NATIVE = {
    "agnews": _Native({"train": "train.csv", "test": "test.csv"}, _agnews),
    "emoc": _Native({"train": "train.txt", "test": "test.txt"}, _emoc),
    "mrpc": _Native(
        {"train": "msr_paraphrase_train.txt", "test": "msr_paraphrase_test.txt"}, _mrpc
    ),
}
