"""Local files: every format, and every way in which one can be bad."""

import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsvd import tasks
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import files, sources
from jaxsvd.tasks.built_in import PAPER, SPECS
from jaxsvd.tasks.specs import Row

from .folders import FIELDS, folder, records, write_jsonl


def load(task: str, path: Path) -> dict[str, list[tuple]]:
    """Index, texts and class of every row by split."""
    splits, _ = sources.load(SPECS[task], path)
    return {
        split: [(row.index, *row.fields.values(), row.label) for row in rows]
        for split, rows in splits.items()
    }


def fails(task: str, path: Path) -> str:
    """The message of a folder that can't be read."""
    with pytest.raises(UserError) as caught:
        sources.load(SPECS[task], path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def rows_or_message(path: Path) -> tuple[tuple[Row, ...], str]:
    """What comes of a folder for sst2: rows, or the error's line."""
    try:
        return sources.load(SPECS["sst2"], path)[0]["train"], ""
    except UserError as error:
        return (), str(error)


def sst2(path: Path, content: bytes) -> Path:
    """A folder with this train.tsv."""
    (path / "train.tsv").write_bytes(content)
    return path


def test_sst2(tmp_path: Path) -> None:
    """GLUE's tsv: no quoting, spaces kept, Windows line ends, a mark at the start."""
    content = '\ufeffsentence\tlabel\r\n" a é \t0\r\n\r\nb""\u2028c\t1'
    data = sst2(tmp_path, content.encode())
    (tmp_path / "dev.tsv").write_text("not needed")
    assert load("sst2", data) == {"train": [(0, '" a é ', 0), (1, 'b""\u2028c', 1)]}


def test_agnews_with_and_without_header(tmp_path: Path) -> None:
    """Classes 1 to 4; the text is title, space, description."""
    (tmp_path / "train.csv").write_bytes(
        b'Class Index,Title,Description\r\n3,A,one\r\n4,"B, ""b""","two\nlines"\r\n'
    )
    (tmp_path / "test.csv").write_text('"1","C","three\\four"\n"2","","five"\n')
    assert load("agnews", tmp_path) == {
        "train": [(0, "A one", 2), (1, 'B, "b" two\nlines', 3)],
        "test": [(0, "C three\\four", 0), (1, " five", 1)],
    }


def test_agnews_with_the_hubs_fields(tmp_path: Path) -> None:
    """Plain csv has the hub's numbers from 0, or the names."""
    (tmp_path / "train.csv").write_text("text,label\nA,0\nB,Sci/Tech\n")
    (tmp_path / "test.csv").write_text("label,id,text\n3,7,C\n")
    assert load("agnews", tmp_path) == {"train": [(0, "A", 0), (1, "B", 3)], "test": [(0, "C", 3)]}


def test_mrpc(tmp_path: Path) -> None:
    """Byte-order mark, no quoting, and no validation file."""
    text = (
        '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\t"A" b.\tC "d.\n0\t3\t4\tE\tF\n'
    )
    for part in ("train", "test"):
        (tmp_path / f"msr_paraphrase_{part}.txt").write_text(text, encoding="utf-8")
    rows = [(0, '"A" b.', 'C "d.', 1), (1, "E", "F", 0)]
    assert load("mrpc", tmp_path) == {"train": rows, "test": rows}


def test_emoc(tmp_path: Path) -> None:
    """The text is the three turns with spaces between."""
    text = 'id\tturn1\tturn2\tturn3\tlabel\n0\thi\tyes?\t"wow\tothers\n1\ta\tb\tc\tangry\n'
    for part in ("train", "test"):
        (tmp_path / f"{part}.txt").write_text(text, encoding="utf-8")
    rows = [(0, 'hi yes? "wow', 0), (1, "a b c", 3)]
    assert load("emoc", tmp_path) == {"train": rows, "test": rows}


def test_superglue(tmp_path: Path) -> None:
    """Lines of JSON with the classes' names, more keys than needed and a blank line."""
    rows = [
        {"premise": "A", "hypothesis": "B", "label": "not_entailment", "idx": 0},
        {"premise": "C", "hypothesis": "D", "label": "entailment", "idx": 1},
    ]
    write_jsonl(tmp_path / "train.jsonl", rows)
    (tmp_path / "val.jsonl").write_text("\n" + json.dumps(rows[0]) + "\n\n", encoding="utf-8")
    assert load("rte", tmp_path) == {
        "train": [(0, "A", "B", 1), (1, "C", "D", 0)],
        "validation": [(0, "A", "B", 1)],
    }


@pytest.mark.parametrize("task", PAPER)
@pytest.mark.parametrize("suffix", files.SUFFIXES)
@pytest.mark.parametrize("named", [False, True])
def test_plain_files(task: str, suffix: str, named: bool, tmp_path: Path) -> None:
    """All tasks read the hub's fields from every plain format, classes by number or name."""
    table = records(task, 5)
    expected = [
        (i, *(line[name] for name in FIELDS[task]), line["label"]) for i, line in enumerate(table)
    ]
    if named:
        for line in table:
            line["label"] = SPECS[task].classes[int(str(line["label"]))]
    stems = {"train": "train", "validation": "dev", "test": "test"}
    for split in SPECS[task].splits:
        write_plain(tmp_path / (stems[split] + suffix), table)
    assert load(task, tmp_path) == dict.fromkeys(SPECS[task].splits, expected)


def write_plain(path: Path, table: list[dict[str, object]]) -> None:
    """Writes records in the format of the file's ending."""
    if path.suffix == ".jsonl":
        write_jsonl(path, table)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, delimiter="," if path.suffix == ".csv" else "\t")
            writer.writerow(table[0])
            writer.writerows(line.values() for line in table)


@given(
    texts=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0")).filter(str.strip),
        min_size=1,
        max_size=4,
    ),
    suffix=st.sampled_from((".csv", ".jsonl", ".parquet")),
)
def test_any_text_survives(
    texts: list[str], suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Quotes, commas, line feeds, any script: what is written is read."""
    path = tmp_path_factory.mktemp("texts")
    write_plain(path / f"train{suffix}", [{"sentence": text, "label": 1} for text in texts])
    assert load("sst2", path)["train"] == [(i, text, 1) for i, text in enumerate(texts)]


@given(
    content=st.binary(max_size=200),
    name=st.sampled_from(("train.tsv", "train.csv", "train.jsonl", "train.parquet")),
)
def test_any_bytes_give_rows_or_one_line(
    content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a file holds, nothing else than a UserError comes of it."""
    path = tmp_path_factory.mktemp("bytes")
    (path / name).write_bytes(content)
    rows, message = rows_or_message(path)
    assert bool(rows) != (name in message)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    ),
    field=st.sampled_from(("sentence", "label", "")),
)
def test_any_json_gives_rows_or_file_and_line(
    value: object, field: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wrong types name the file and the line."""
    path = tmp_path_factory.mktemp("json")
    good = {"sentence": "fine", "label": 1}
    write_jsonl(path / "train.jsonl", [good])
    with (path / "train.jsonl").open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(good | {field: value} if field else value) + "\n")
    rows, message = rows_or_message(path)
    assert bool(rows) != ("train.jsonl, line 2" in message)
    assert all(isinstance(row.fields["sentence"], str) and row.label in (0, 1) for row in rows)


HEAD = b"sentence\tlabel\nfine\t1\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "train.tsv is empty"),
        (b"sentence\tlabel\n", "train.tsv holds no rows"),
        (b"text\tlabel\nfine\t1\n", "train.tsv, line 1: no column 'sentence' in the header"),
        (b"sentence\tlabel\tlabel\n", "train.tsv, line 1: more than one column 'label'"),
        (HEAD + b"dull\t2\n", "train.tsv, line 3: unknown label '2'; sst2 knows negative, posit"),
        (HEAD + b"dull\t-1\n", "train.tsv, line 3: unknown label '-1'"),
        (HEAD + b"\ndull\t0\textra\n", "train.tsv, line 4: 3 columns, 2 expected"),
        (HEAD + b"dull\n", "train.tsv, line 3: 1 columns, 2 expected"),
        (HEAD + b"  \t0\n", "train.tsv, line 3: 'sentence' is blank"),
        (HEAD + b"na\xefve\t0\n", "train.tsv, line 3: byte 3 is not UTF-8 text"),
        (HEAD + b"a\0b\t0\n", "train.tsv, line 3: a NUL byte"),
        ("sentence\tlabel\n".encode("utf-16"), "train.tsv, line 1: a NUL byte"),
    ],
)
def test_bad_tsv(content: bytes, message: str, tmp_path: Path) -> None:
    """File, line and what is wrong."""
    assert message in fails("sst2", sst2(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "train.jsonl holds no rows"),
        (b"\n[1, 2]\n", "train.jsonl, line 2: a JSON object expected, not [1, 2]"),
        (b'{"sentence": "a", "label": 1}\n{"sentence": "b"\n', "train.jsonl, line 2: not JSON"),
        (b'{"sentence": "a"}\n', "train.jsonl, line 1: no 'label' (it has 'sentence')"),
        (b'{"sentence": null, "label": 1}\n', "train.jsonl, line 1: 'sentence' is null"),
        (b'{"sentence": 5, "label": 1}\n', "line 1: 'sentence' must be text, not 5"),
        (b'{"sentence": "a", "label": true}\n', "line 1: unknown label True"),
        (b'{"sentence": "a", "label": "good"}\n', "line 1: unknown label 'good'"),
        (b'{"sentence": "a", "label": 1.5}\n', "line 1: unknown label 1.5"),
        (b'{"sentence": "\\u0000", "label": 1}\n', "line 1: 'sentence' holds a NUL"),
        (b'{"sentence": "\\ud800", "label": 1}\n', "line 1: 'sentence' holds half a surrogate"),
        (b"[" * 100_000, "train.jsonl, line 1: not JSON"),
        (b"1" * 5_000, "train.jsonl, line 1: not JSON"),
        (b'{"sentence": "a\xff", "label": 1}\n', "train.jsonl, line 1: byte 16 is not UTF-8"),
    ],
)
def test_bad_jsonl(content: bytes, message: str, tmp_path: Path) -> None:
    """File, line and what is wrong."""
    (tmp_path / "train.jsonl").write_bytes(content)
    assert message in fails("sst2", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "train.csv is empty"),
        (b"text,label\n", "train.csv holds no rows"),
        (b"Class Index,Title,Description\n", "train.csv holds no rows"),
        (b'1,A,"two\nlines"\n5,B,c\n', "train.csv, line 3: unknown label '5'; agnews' own files"),
        (b"1,A,b\n2,A\n", "train.csv, line 2: 2 columns, 3 expected"),
        (b"1,A\n", "train.csv, line 1: 2 columns, 3 expected"),
        (b'1,A,b\n2,"A"x,b\n', "train.csv, line 2: not csv"),
        (b'1,A,b\n2,"A,b\n3,C,d\n', "train.csv, line 2: not csv: unexpected end of data"),
        (b"A,B\n", "train.csv, line 1: no column 'text' in the header (it has 'A', 'B')"),
        (b"text,label\nA,4\n", "train.csv, line 2: unknown label '4'"),
        (b"1,A,b\n2,\xe9,b\n", "train.csv, line 2: byte 3 is not UTF-8 text"),
    ],
)
def test_bad_csv(content: bytes, message: str, tmp_path: Path) -> None:
    """File, line and what is wrong, in AG News' own csv and the plain one."""
    (tmp_path / "train.csv").write_bytes(content)
    (tmp_path / "test.csv").write_bytes(b"1,A,b\n")
    assert message in fails("agnews", tmp_path)


def test_bad_txt(tmp_path: Path) -> None:
    """MRPC's and EmoC's own files."""
    head = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    (tmp_path / "msr_paraphrase_train.txt").write_text(head + "1\t1\t2\tA\n")
    assert "msr_paraphrase_train.txt, line 2: 4 columns, 5 expected" in fails_train(
        "mrpc", tmp_path
    )
    (tmp_path / "msr_paraphrase_train.txt").write_text(head + "2\t1\t2\tA\tB\n")
    assert "line 2: unknown label '2'; mrpc knows not_equivalent, equivalent" in fails_train(
        "mrpc", tmp_path
    )
    (tmp_path / "train.txt").write_text("id\tturn1\tturn2\tlabel\n")
    assert "train.txt, line 1: no column 'turn3'" in fails_train("emoc", tmp_path)
    (tmp_path / "train.txt").write_text("id\tturn1\tturn2\tturn3\tlabel\n0\ta\tb\tc\tglad\n")
    assert "line 2: unknown label 'glad'; emoc knows others, happy" in fails_train("emoc", tmp_path)


def fails_train(task: str, path: Path) -> str:
    """As ``fails``, with a good test file beside."""
    write_jsonl(path / "test.jsonl", records(task, 4))
    return fails(task, path)


def test_bad_parquet(tmp_path: Path) -> None:
    """File and row."""
    path = tmp_path / "train.parquet"
    path.write_bytes(b"PAR1 nothing of the kind PAR1")
    assert "train.parquet: can't be read as parquet" in fails("sst2", tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"sentence": ["a"]}), path)
    assert "train.parquet: no column 'label'" in fails("sst2", tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"sentence": ["a", None], "label": [0, 1]}), path)
    assert "train.parquet, row 2: 'sentence' is null" in fails("sst2", tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"sentence": ["a", "b"], "label": [0, 7]}), path)
    assert "train.parquet, row 2: unknown label 7" in fails("sst2", tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"sentence": [1], "label": [0]}), path)
    assert "train.parquet, row 1: 'sentence' must be text, not 1" in fails("sst2", tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"sentence": [b"a"], "label": [0]}), path)
    assert "train.parquet, row 1: 'sentence' must be text" in fails("sst2", tmp_path)
    raw = pyarrow.array([b"a", b"\xff"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"sentence": raw, "label": [0, 1]}), path)
    assert "train.parquet, row 2: not UTF-8 text" in fails("sst2", tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"sentence": ["a"], "label": [1.0]}), path)
    assert load("sst2", tmp_path)["train"] == [(0, "a", 1)]


def test_long_fields(tmp_path: Path) -> None:
    """Longer than the csv module's limit, which is left as it was."""
    text = "x" * 200_000
    (tmp_path / "train.csv").write_text(f"sentence,label\n{text},1\n")
    before = csv.field_size_limit()
    assert load("sst2", tmp_path)["train"] == [(0, text, 1)]
    assert csv.field_size_limit() == before


def test_folder(tmp_path: Path) -> None:
    """No folder, no file in it, two files of a split, a folder in a file's place."""
    assert "--data" in fails("rte", tmp_path / "nowhere")
    assert "is not a folder" in fails("rte", tmp_path / "nowhere")
    assert "is not a folder" in fails("rte", Path("x" * 5_000))
    assert "is not a folder" in fails("rte", Path("x\0"))
    message = fails("mrpc", tmp_path)
    assert "no train file in" in message
    assert "msr_paraphrase_train.txt, train.csv, train.tsv, train.jsonl, train.parquet" in message
    folder(tmp_path, train=records("rte", 4))
    message = fails("rte", tmp_path)
    assert "no validation file in" in message
    assert "val.jsonl" in message
    folder(tmp_path, val=records("rte", 4), validation=records("rte", 4))
    assert "more than one validation file: validation.jsonl, val.jsonl" in fails("rte", tmp_path)
    (tmp_path / "val.jsonl").unlink()
    (tmp_path / "val.csv").mkdir()
    assert len(load("rte", tmp_path)["validation"]) == 4


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own word on it."""
    data = sst2(tmp_path, HEAD)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert fails("sst2", data).endswith("train.tsv: Permission denied")


@pytest.mark.parametrize(
    ("task", "sizes"),
    [
        ("agnews", (8, 5_993, 7_600)),
        ("rte", (10, 2_480, 277)),
        ("copa", (10, 200, 100)),
    ],
)
def test_real_files(task: str, sizes: tuple[int, int, int], shared: Path) -> None:
    """The data sets as distributed give the paper's sizes (AG News' train is a part only)."""
    prepared = tasks.prepare(task, data=shared / "data" / task, paper_sizes=True)
    assert (prepared.shots, len(prepared.validation), len(prepared.test)) == sizes
    assert len(prepared.notices) == (1 if task == "agnews" else 0)


@pytest.mark.parametrize(
    ("task", "sizes"),
    [
        pytest.param("sst2", (10, 8_000, 59_339), marks=pytest.mark.slow),
        ("rte", (5, 400, 277)),
        ("copa", (5, 200, 100)),
    ],
)
@pytest.mark.brief(task=("rte", "copa"))
def test_real_files_as_the_scripts(task: str, sizes: tuple[int, int, int], shared: Path) -> None:
    """The published splits, balanced in validation."""
    prepared = tasks.prepare(task, data=shared / "data" / task, protocol="scripts")
    assert (prepared.shots, len(prepared.validation), len(prepared.test)) == sizes
    assert sum(q.gold for q in prepared.validation) == len(prepared.validation) // 2
    assert not any("published" in notice for notice in prepared.notices)
