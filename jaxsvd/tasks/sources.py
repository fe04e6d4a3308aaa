"""Where rows come from: local files in their own formats, or the hub.

A folder given with ``--data`` holds either the files as the data set is distributed or plain
``train``, ``validation`` (``val``, ``dev``) and ``test`` files in csv, tsv, jsonl or parquet with
the hub's field names, the class by name or by the hub's number; also as the hub's own snapshots
name them (``train-00000-of-00001.parquet``), there or in a folder ``data``, and with GLUE's column
names.
"""

import collections
import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import files, hub
from jaxsvd.tasks.files import Record
from jaxsvd.tasks.lines import place
from jaxsvd.tasks.rows import counted, to_rows
from jaxsvd.tasks.specs import Reading, Row, TaskSpec

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
    files = {split: paths for split in spec.splits if (paths := _find(spec, data, split))}
    splits = {
        split: to_rows(
            spec,
            str(paths[0]),
            itertools.chain.from_iterable(_records(spec, split, path) for path in paths),
        )
        for split, paths in files.items()
    }
    return splits, named({str(path): path for paths in files.values() for path in paths})


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
    skipped: collections.Counter[str] = collections.Counter()
    splits = {
        split: to_rows(spec, str(path), files.read(path, columns, spec.reading.encoding), skipped)
        for split, path in paths.items()
    }
    if spec.reading.shares:
        splits = _split(splits["train"], spec.reading)
    left_out = f" ({counted(skipped)})" if skipped else ""
    return splits, named(paths) + left_out


def _split(rows: tuple[Row, ...], reading: Reading) -> Splits:
    """One file's rows, drawn into splits by their shares; each keeps the file's order."""
    order = np.random.default_rng(reading.seed).permutation(len(rows))
    splits: Splits = {}
    start, total = 0, 0.0
    for name, share in reading.shares:
        total += share
        stop = len(rows) if name == "test" else round(total * len(rows))
        splits[name] = tuple(rows[i] for i in sorted(order[start:stop]))
        start = stop
    if empty := [name for name, part in splits.items() if not part]:
        raise UserError(f"split leaves no row for {', '.join(empty)} of {len(rows)}")
    return splits


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


def _find(spec: TaskSpec, data: Path, split: str) -> list[Path]:
    """The file of a split, or its parts; none where the split can be done without."""
    plain = [stem + suffix for stem in _STEMS[split] for suffix in files.SUFFIXES]
    native = [_NATIVE[spec.name].names.get(split)] if spec.name in _NATIVE else []
    names = dict.fromkeys([name for name in native if name] + plain)
    present = [name for name in names if os.path.isfile(data / name)]
    if len(present) > 1:
        raise UserError(f"{data} has more than one {split} file: {', '.join(present)}; keep one")
    if present:
        return [data / present[0]]
    if parts := _snapshot(data, split):
        return parts
    if split == spec.validation_split and split not in ("train", spec.test_split):
        return []
    raise UserError(f"no {split} file in {data}; it may be named {', '.join(names)}")


_PART = re.compile(r"(?P<stem>\w+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.parquet")


def _snapshot(data: Path, split: str) -> list[Path]:
    """The parts of a split as the hub names them, in the folder or in its folder ``data``.

    Raises:
        UserError: some of the parts are missing.
    """
    for folder in (data, data / "data"):
        for stem in _STEMS[split]:
            matches = [
                match
                for path in (sorted(folder.iterdir()) if os.path.isdir(folder) else ())
                if (match := _PART.fullmatch(path.name)) and match["stem"] == stem
            ]
            if matches:
                whole = int(matches[0]["parts"])
                if [int(match["part"]) for match in matches] != list(range(whole)):
                    raise UserError(
                        f"{folder}: {len(matches)} of {whole} parts of the {split} split are there"
                    )
                return [folder / match.string for match in matches]
    return []


def _records(spec: TaskSpec, split: str, path: Path) -> Iterable[Record]:
    native = _NATIVE.get(spec.name)
    if native is not None and path.name == native.names.get(split):
        return native.read(path)
    columns = (*spec.fields, spec.label_field)
    return _by_glue_names(spec, path, columns) or files.read(path, columns)


_GLUE = {
    "mrpc": {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"},
    "rte": {"premise": "sentence1", "hypothesis": "sentence2"},
    "cb": {"premise": "sentence1", "hypothesis": "sentence2"},
}
"""GLUE's names of columns, by task and by the hub's name."""


def _by_glue_names(spec: TaskSpec, path: Path, columns: tuple[str, ...]) -> Iterable[Record] | None:
    """Records of a file whose columns are GLUE's, under the hub's names; None for any other."""
    aliases = _GLUE.get(spec.name)
    if aliases is None or not set(aliases.values()) <= set(_columns(path)):
        return None
    theirs = tuple(aliases.get(name, name) for name in columns)
    return (
        Record(
            record.place,
            {
                ours: record.values[name]
                for ours, name in zip(columns, theirs, strict=True)
                if name in record.values
            },
        )
        for record in files.read(path, theirs)
    )


def _columns(path: Path) -> Iterable[str]:
    """The names of a file's columns, or of its first record's keys; none where it is damaged."""
    try:
        return next(iter(files.read(path, ())), Record("", {})).values
    except UserError:
        return ()


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
            f"{place(path, line)}: unknown label {files.shown(number)}; agnews' own files"
            f" number the classes 1 to 4 ({', '.join(_AGNEWS_CLASSES.values())})"
        )
    return Record(place(path, line), {"text": f"{title} {description}", "label": label})


_NATIVE = {
    "agnews": _Native({"train": "train.csv", "test": "test.csv"}, _agnews),
    "emoc": _Native({"train": "train.txt", "test": "test.txt"}, _emoc),
    "mrpc": _Native(
        {"train": "msr_paraphrase_train.txt", "test": "msr_paraphrase_test.txt"}, _mrpc
    ),
}
