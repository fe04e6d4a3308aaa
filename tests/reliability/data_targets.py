"""Files of data and of tasks that are damaged, and how what is read is told to be correct."""

import csv
import io
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from random import Random

import pyarrow
import pyarrow.parquet

from jaxsvd.tasks import sources, userfile
from jaxsvd.tasks.built_in import SPECS
from jaxsvd.tasks.specs import Row, TaskSpec

from .damage import damaged, damaged_json_text
from .trials import DamageTarget

_WORDS = [
    "a",
    "fine",
    "dull",
    "film",
    "plot",
    "naïve",
    "'acting'",
    "quite,",
    '"so"',
    "你好",
    "really",
    "tedious",
    "joy",
]


def texts(count: int) -> list[str]:
    """Short sentences, all different."""
    random = Random(1)
    return [f"{' '.join(random.choices(_WORDS, k=6))} {i}" for i in range(count)]


RECORDS = [{"sentence": text, "label": i % 2} for i, text in enumerate(texts(160))]


def csv_text(delimiter: str = ",") -> bytes:
    """The records with a header; tsv without quoting."""
    if delimiter == "\t":
        lines = ["sentence\tlabel", *(f"{r['sentence']}\t{r['label']}" for r in RECORDS)]
        return "".join(line + "\n" for line in lines).encode()
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["sentence", "label"])
    writer.writerows(r.values() for r in RECORDS)
    return buffer.getvalue().encode()


def said(path: Path, *, spaced: bool = False) -> list[tuple[object, object]] | None:
    """Text and label of every row by a plain reading of the file; None where there is none.

    ``spaced``: of a csv file, without the spaces after its commas.
    """
    if path.suffix == ".parquet":
        return [(r["sentence"], str(r["label"])) for r in RECORDS]  # pages have checksums
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix == ".jsonl":
        found = [json.loads(line) for line in text.split("\n") if line.strip()]
        return [(r["sentence"], r["label"]) for r in found]
    if path.suffix == ".tsv":
        lines = [line.removesuffix("\r") for line in text.split("\n")]
        cells = [line.split("\t") for line in lines if line]
    else:
        reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=spaced)
        cells = [row for row in reader if row]
    where = [cells[0].index(name) for name in ("sentence", "label")]
    return [(row[where[0]], row[where[1]]) for row in cells[1:]]


def reads(spec: TaskSpec, path: Path) -> Callable[[], None]:
    """Reads the rows and compares them with the plain reading."""

    def attempt() -> None:
        rows = sources.load(spec, path.parent)[0]["train"]
        expected = said(path)
        if expected is None or [text for text, _ in expected] != [
            row.fields["sentence"] for row in rows
        ]:
            expected = said(path, spaced=True)
        assert expected is not None
        assert [row.fields["sentence"] for row in rows] == [text for text, _ in expected]
        for row, (_, label) in zip(rows, expected, strict=True):
            name = _class_name(label)  # spaces around it are allowed
            assert spec.class_of[name if name in spec.class_of else name.strip()] == row.label

    return attempt


def _class_name(label: object) -> str:
    if isinstance(label, bool):
        return str(label).lower()
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def write_parquet(path: Path, *, checksums: bool) -> None:
    """The records, with or without a checksum of each page."""
    table = pyarrow.Table.from_pylist(RECORDS)
    kind = None if checksums else "gzip"
    pyarrow.parquet.write_table(
        table, path, write_page_checksum=checksums, compression=kind, row_group_size=80
    )


def plausible(spec: TaskSpec, path: Path) -> Callable[[], None]:
    """Reads rows; without checksums nobody can tell a damaged text from another one."""

    def attempt() -> None:
        rows: tuple[Row, ...] = sources.load(spec, path.parent)[0]["train"]
        assert all(row.fields["sentence"].strip() and row.label in (0, 1) for row in rows)

    return attempt


TASK = """name = "reviews"
template = "Review: {sentence} Verdict:"
label_field = "label"
shots = 4
validation_size = 10
test_size = 10

[files]
train = "train.csv"
test = "test.csv"

[labels]
"0" = "bad"
"1" = "good"
"""


def describes(path: Path) -> Callable[[], None]:
    """Reads a task file with its data; the task is what the TOML says."""

    def attempt() -> None:
        spec, paths = userfile.load(path)
        splits, _ = sources.read_files(spec, paths)
        table = tomllib.loads(path.read_bytes().decode())
        assert spec.template == table["template"]
        assert spec.classes == tuple(table["labels"])
        assert {key: paths[key].name for key in paths} == {
            key: Path(name).name for key, name in table["files"].items()
        }
        assert set(splits) == set(paths)

    return attempt


def data_targets(root: Path) -> list[DamageTarget]:
    """Every format of data, and the file of a task."""
    spec, targets = SPECS["sst2"], []
    contents = {
        "csv": csv_text(),
        "tsv": csv_text("\t"),
        "jsonl": b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS),
    }
    for name, content in contents.items():
        path = root / name / f"train.{name}"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        damage = damaged_line if name == "jsonl" else damaged
        targets.append(DamageTarget(name, path, damage, reads(spec, path)))
    for name, checksums in (("parquet", True), ("parquet without checksums", False)):
        path = root / name.replace(" ", "-") / "train.parquet"
        path.parent.mkdir(parents=True)
        write_parquet(path, checksums=checksums)
        attempt = reads(spec, path) if checksums else plausible(spec, path)
        targets.append(DamageTarget(name, path, damaged, attempt))
    folder = root / "toml"
    folder.mkdir(parents=True)
    for name in ("train.csv", "test.csv"):
        (folder / name).write_bytes(csv_text())
    (folder / "task.toml").write_text(TASK)
    files = (folder / "train.csv", folder / "test.csv")
    task = folder / "task.toml"
    targets.append(DamageTarget("task file", task, damaged, describes(task), files))
    return targets


def damaged_line(data: bytes, random: Random) -> bytes:
    """Damage to the bytes, or to the structure of one line of JSON."""
    if random.random() < 0.5:
        return damaged(data, random)
    lines = data.splitlines()
    at = random.randrange(len(lines))
    lines[at] = damaged_json_text(lines[at], random)
    return b"\n".join(lines) + b"\n"
