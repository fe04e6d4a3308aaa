"""Where rows come from: local files in their own formats, or the hub.

A folder given with ``--data`` holds either the files as the data set is distributed or plain
``train``, ``validation`` (``val``, ``dev``) and ``test`` files in csv, tsv, jsonl or parquet with
the hub's field names, the class by name or by the hub's number; also as the hub's own snapshots
name them (``train-00000-of-00001.parquet``), there or in a folder ``data``, and with GLUE's column
names.
"""

import collections
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
    """The rows of every split of a task that the hub has.

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
    columns = spec.columns
    skipped: collections.Counter[str] = collections.Counter()
    splits = {
        split: to_rows(spec, str(path), files.read(path, columns, spec.reading.encoding), skipped)
        for split, path in paths.items()
    }
    if spec.reading.shares:
        splits = split_rows(splits["train"], spec.reading)
    left_out = f" ({counted(skipped)})" if skipped else ""
    return splits, named(paths) + left_out


def split_rows(rows: tuple[Row, ...], reading: Reading) -> Splits:
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


def _find(spec: TaskSpec, data: Path, split: str) -> list[Path]:
    """The file of a split, or its parts; none where the split can be done without."""
    plain = [stem + suffix for stem in _STEMS[split] for suffix in files.SUFFIXES]
    original = spec.original.names.get(split) if spec.original else None
    names = dict.fromkeys(([original] if original else []) + plain)
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
    if spec.original is not None and path.name == spec.original.names.get(split):
        return _ORIGINAL[spec.original.format](spec, path)
    return _renamed(spec, path) or files.read(path, spec.columns)


def _renamed(spec: TaskSpec, path: Path) -> Iterable[Record] | None:
    """Records of a file whose columns have the other names; None for any other file."""
    if not spec.renamed or not set(spec.renamed.values()) <= set(_columns(path)):
        return None
    theirs = tuple(spec.renamed.get(name, name) for name in spec.columns)
    return (
        Record(
            record.place,
            {
                ours: record.values[name]
                for ours, name in zip(spec.columns, theirs, strict=True)
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


def _mrpc(spec: TaskSpec, path: Path) -> list[Record]:
    names = spec.renamed
    records = files.with_header(path, files.tsv_rows(path), tuple(names.values()))
    return [
        Record(record.place, {ours: record.values[theirs] for ours, theirs in names.items()})
        for record in records
    ]


def _emoc(spec: TaskSpec, path: Path) -> list[Record]:
    """The hub's text is the three turns with a space between."""
    del spec
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


def _agnews(spec: TaskSpec, path: Path) -> list[Record]:
    """Class, title and description, with a header or without; or the hub's text and label."""
    rows = list(files.csv_rows(path))
    if not rows:
        raise UserError(f"{path} is empty")
    first = [cell.strip().lower() for cell in rows[0][1]]
    classes = {str(i): name for i, name in enumerate(spec.classes, 1)}
    if first[1:] == ["title", "description"]:
        rows = rows[1:]
    elif first[0] not in classes:
        return list(files.with_header(path, iter(rows), ("text", "label")))
    return [_agnews_record(path, line, cells, classes) for line, cells in rows]


def _agnews_record(path: Path, line: int, cells: list[str], classes: dict[str, str]) -> Record:
    """The hub's text is title and description with a space between."""
    number, title, description = files.check_width(
        path, line, cells, ["class", "title", "description"]
    )
    label = classes.get(number.strip())
    if label is None:
        raise UserError(
            f"{place(path, line)}: unknown label {files.shown(number)}; agnews' own files"
            f" number the classes 1 to 4 ({', '.join(classes.values())})"
        )
    return Record(place(path, line), {"text": f"{title} {description}", "label": label})


_ORIGINAL: dict[str, Callable[[TaskSpec, Path], Iterable[Record]]] = {
    "agnews": _agnews,
    "emoc": _emoc,
    "mrpc": _mrpc,
}
"""Readers of data sets as they are distributed; they give the hub's field names."""

FORMATS = tuple(_ORIGINAL)
