"""Small local data folders for the tests."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from jaxsvd.tasks.built_in import PAPER, SPECS
from jaxsvd.tasks.specs import Row

Record = Mapping[str, object]

FIELDS = {name: SPECS[name].fields for name in PAPER}
CLASSES = {name: len(spec.classes) for name, spec in SPECS.items()}


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Writes one object a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def folder(root: Path, **splits: Iterable[Record]) -> Path:
    """A folder of plain jsonl files: ``folder(path, train=[...], validation=[...])``."""
    root.mkdir(parents=True, exist_ok=True)
    for split, records in splits.items():
        write_jsonl(root / f"{split}.jsonl", records)
    return root


def record(task: str, i: int, label: int, tag: str = "") -> dict[str, object]:
    """A record whose texts are all different: field name, tag and number."""
    return {name: f"{name} {tag}{i}" for name in FIELDS[task]} | {"label": label}


def records(task: str, count: int, tag: str = "") -> list[dict[str, object]]:
    """So many records, the classes in turn."""
    return [record(task, i, i % CLASSES[task], tag) for i in range(count)]


def rows(task: str, labels: Iterable[int], tag: str = "") -> tuple[Row, ...]:
    """Rows in memory, with outer spaces around their texts."""
    return tuple(
        Row(i, {name: f" {name} {tag}{i} " for name in FIELDS[task]}, label)
        for i, label in enumerate(labels)
    )
