"""Data files as spreadsheets, pandas, old programs and the hub write them."""

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import files, sources, userfile
from jaxsvd.tasks.built_in import SPECS
from jaxsvd.tasks.specs import Row

from .folders import record


def values(path: Path, columns: tuple[str, ...] = ("label", "text")) -> list[dict[str, object]]:
    return [found.values for found in files.read(path, columns)]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def own(
    folder: Path, content: str | bytes, more: str = "", *, ending: str = "csv", labels: str = ""
) -> tuple[dict[str, tuple[Row, ...]], str]:
    """A task file on two files of the same content."""
    for split in ("train", "test"):
        write(folder / f"{split}.{ending}", content)
    task = write(
        folder / "t.toml",
        f'name = "t"\ntemplate = "{{text}}"\n{more}\n[files]\ntrain = "train.{ending}"\n'
        f'test = "test.{ending}"\n[labels]\n{labels or chr(10).join(_LABELS)}\n',
    )
    return sources.read_files(*userfile.load(task))


_LABELS = ('"0" = "no"', '"1" = "yes"')
GOOD_BAD = [{"label": "1", "text": "a good film"}, {"label": "0", "text": "a bad film"}]


def test_spaces_after_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'label, text\n1, "a good film"\n0, "a bad film"\n')
    assert values(path) == GOOD_BAD
    path = write(tmp_path / "b.csv", 'label,text\n1, "good, a film"\n0,"said ""no, "" he"\n')
    assert [row["text"] for row in values(path)] == ["good, a film", 'said "no, " he']
    # Otherwise a space is text, whatever stands within quotes.
    path = write(tmp_path / "c.csv", 'label,text\n1," ""one, ""two"\n0, plain\n')
    assert [row["text"] for row in values(path)] == [' "one, "two', " plain"]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_ends_of_lines(tmp_path: Path, end: str, suffix: str) -> None:
    rows = ["label,text", "1,a good film", "0,a bad film"]
    text = end.join([*rows, ""]).replace(",", "\t" if suffix == "tsv" else ",")
    assert values(write(tmp_path / f"a.{suffix}", text)) == GOOD_BAD
    lines = ['{"label": "1", "text": "a good film"}', '{"label": "0", "text": "a bad film"}']
    assert values(write(tmp_path / "a.jsonl", end.join(lines))) == GOOD_BAD


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        # Written with quoting: doubled marks, a quoted header, a tab within a cell.
        ('label\ttext\n1\t"a ""good"" film"\n0\tplain\n', ['a "good" film', "plain"]),
        ('"label"\t"text"\n"1"\t"a good film"\n"0"\t"x"\n', ["a good film", "x"]),
        ('label\ttext\n1\t"two\tcells"\n0\tplain\n', ["two\tcells", "plain"]),
        ('label\ttext\n1\t"two\nlines"\n0\tplain\n', ["two\nlines", "plain"]),
        # Without, as GLUE: bare marks are part of the text.
        ('label\ttext\n1\t"good" , he said\n0\tan 8" disc\n', ['"good" , he said', 'an 8" disc']),
        ('label\ttext\n1\t"good"\n0\t""odd"" one\n', ['"good"', '""odd"" one']),
    ],
)
def test_tsv_with_and_without_quoting(tmp_path: Path, content: str, texts: list[str]) -> None:
    assert [row["text"] for row in values(write(tmp_path / "a.tsv", content))] == texts


def parquet(folder: Path, labels: Any) -> bytes:
    path = folder / "made"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": labels}), path)
    return path.read_bytes()


@pytest.mark.parametrize("names", [("True", "False"), ("true", "false"), ("1", "0")])
def test_bool_labels(tmp_path: Path, names: tuple[str, str]) -> None:
    labels = f'"{names[0]}" = "yes"\n"{names[1]}" = "no"'
    for ending, content in (
        ("parquet", parquet(tmp_path, [True, False])),
        ("jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": false}\n'),
    ):
        splits, _ = own(tmp_path, content, ending=ending, labels=labels)
        assert [row.label for row in splits["train"]] == [0, 1]


def test_a_null_label(tmp_path: Path) -> None:
    content = parquet(tmp_path, pyarrow.array([1, None]))
    with pytest.raises(UserError, match=r"row 2: 'label' is null; a label is expected; skip = "):
        own(tmp_path, content, ending="parquet")
    floats = parquet(tmp_path, [1.0, float("nan")])
    with pytest.raises(UserError, match="row 2: 'label' is null"):
        own(tmp_path, floats, ending="parquet")


def test_decomposed_unicode(tmp_path: Path) -> None:
    """A word that looks the same is the same label, and the same column."""
    labels = '"caf\u00e9" = "yes"\n"bar" = "no"'
    splits, _ = own(tmp_path, "text,label\na,cafe\u0301\nb,bar\n", labels=labels)
    assert [row.label for row in splits["test"]] == [0, 1]
    path = write(tmp_path / "b.csv", "cafe\u0301,label\na,1\n")
    assert values(path, ("caf\u00e9", "label")) == [{"caf\u00e9": "a", "label": "1"}]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig", "mac-roman"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    content = "text,label\nna\u00efve,1\nd\u00e9j\u00e0 vu,0\n".encode(encoding)
    splits, _ = own(tmp_path, content, f'encoding = "{encoding}"')
    assert [row.fields["text"] for row in splits["train"]] == ["na\u00efve", "d\u00e9j\u00e0 vu"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('encoding = "base64"', "unknown encoding 'base64'"),
        ('encoding = "klingon"', "unknown encoding 'klingon'"),
        ('skip = ["odd"]', r"skip must be a list of \"unlisted\", \"blank\""),
        ("split = 0.8", r"split must be a table like"),
        ("split = { train = 0.8, dev = 0.1 }", "dev = 0.1 in split"),
        ("split = { train = 0.8, validation = 0.3 }", "shares of split are more than 1"),
        ("split = { train = 0.8, seed = -1 }", "seed of split"),
        ("split = { train = 0.8 }", "with split, files names the one file"),
    ],
)
def test_keys_that_are_wrong(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        own(tmp_path, "text,label\na,1\n", more)


def test_the_wrong_encoding_is_named(tmp_path: Path) -> None:
    content = "text,label\nna\u00efve,1\n".encode("cp1252")
    with pytest.raises(UserError, match=r'byte 3 is not UTF-8 .*encoding = "cp1252"'):
        own(tmp_path, content)
    with pytest.raises(UserError, match="not ascii text"):
        own(tmp_path, content, 'encoding = "ascii"')


def test_rows_left_out_by_asking(tmp_path: Path) -> None:
    content = 'text,label\na,1\nb,3\n"",0\nc,0\nd,\n'
    with pytest.raises(UserError, match=r'unknown label \'3\'.*skip = \["unlisted"\] in the task'):
        own(tmp_path, content)
    splits, source = own(tmp_path, content, 'skip = ["unlisted", "blank"]')
    assert [(row.index, row.fields["text"], row.label) for row in splits["train"]] == [
        (0, "a", 1),
        (3, "c", 0),
    ]
    assert source.endswith(" (2 rows without text, 4 rows of no listed label left out)")
    with pytest.raises(UserError, match="'text' is blank"):
        own(tmp_path, content, 'skip = ["unlisted"]')
    with pytest.raises(UserError, match=r"holds no rows; 1 rows of no listed label left out"):
        own(tmp_path, "text,label\na,7\n", 'skip = ["unlisted"]')


@pytest.mark.parametrize("names", ['files = "all.csv"', '[files]\ndata = "all.csv"'])
def test_one_file_that_is_split(tmp_path: Path, names: str) -> None:
    """By shares and a seed: every row once, the same rows each time."""
    write(tmp_path / "all.csv", "text,label\n" + "".join(f"row {i},{i % 2}\n" for i in range(50)))

    def load(split: str) -> dict[str, tuple[Row, ...]]:
        lines = [f"split = {{ {split} }}", names, "[labels]", *_LABELS]
        head = 'name = "t"\ntemplate = "{text}"\n'
        task = write(tmp_path / "t.toml", head + "\n".join(lines))
        spec, paths = userfile.load(task)
        assert ("validation" in split) == (spec.validation_split == "validation")
        return sources.read_files(spec, paths)[0]

    splits = load("train = 0.8, seed = 0")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 40, "test": 10}
    indices = [row.index for rows in splits.values() for row in rows]
    assert sorted(indices) == list(range(50))
    assert all(row.fields["text"] == f"row {row.index}" for row in splits["test"])
    assert load("train = .8".replace(".8", "0.8")) == splits
    assert load("train = 0.8, seed = 1") != splits
    three = load("train = 0.5, validation = 0.2")
    assert {n: len(rows) for n, rows in three.items()} == {
        "train": 25,
        "validation": 10,
        "test": 15,
    }


@pytest.mark.parametrize("inner", ["", "data"])
def test_names_of_the_hubs_snapshots(tmp_path: Path, inner: str) -> None:
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)
    for part in range(2):
        rows = [record("copa", i, i % 2, f"{part}.") for i in range(3)]
        name = folder / f"train-{part:05}-of-00002.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), name)
    rows = [record("copa", i, i % 2, "v") for i in range(4)]
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows), folder / "validation-00000-of-00001.parquet"
    )
    splits, _ = sources.load(SPECS["copa"], tmp_path)
    assert [row.index for row in splits["train"]] == list(range(6))
    assert splits["train"][4].fields["premise"] == "premise 1.1"
    (folder / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="1 of 2 parts of the train split are there"):
        sources.load(SPECS["copa"], tmp_path)


def test_glues_names_of_columns(tmp_path: Path) -> None:
    """GLUE's MRPC and RTE as their tsv files are."""
    head = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    for name in ("train", "dev", "test"):
        write(tmp_path / f"{name}.tsv", head + '1\t7\t8\tone "a\ttwo\n')
    splits, _ = sources.load(SPECS["mrpc"], tmp_path)
    assert splits["validation"] == (Row(0, {"sentence1": 'one "a', "sentence2": "two"}, 1),)
    rte = tmp_path / "rte"
    rte.mkdir()
    for name in ("train", "dev"):
        write(
            rte / f"{name}.tsv",
            "index\tsentence1\tsentence2\tlabel\n0\tone\ttwo\tnot_entailment\n",
        )
    splits, _ = sources.load(SPECS["rte"], rte)
    assert splits["train"] == (Row(0, {"premise": "one", "hypothesis": "two"}, 1),)


def test_pointers_of_git_lfs(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{0:064}\nsize 10\n"
    for ending in files.SUFFIXES:
        with pytest.raises(UserError, match="a git-lfs pointer and not the file"):
            values(write(tmp_path / f"a{ending}", pointer))
