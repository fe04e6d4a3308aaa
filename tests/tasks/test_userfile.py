"""Tasks of the user's own."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsvd import tasks
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import userfile

REVIEWS = """
name = "reviews"
template = "Review: {body} Verdict:"
label_field = "stars"
{more}
[files]
train = "train.csv"
test = "test.csv"

[labels]
"1" = "bad"
"2" = "bad"
"5" = "good"
"""


def write(folder: Path, more: str = "") -> Path:
    """The task file and its data: 12 rows to train on, 3 to test on."""
    path = folder / "reviews.toml"
    path.write_text(REVIEWS.replace("{more}", more), encoding="utf-8")
    lines = "".join(f"train {i},{(1, 5, 2, 5)[i % 4]}\n" for i in range(12))
    (folder / "train.csv").write_text("body,stars\n" + lines)
    (folder / "test.csv").write_text("stars,body\n5,  so\n2,no\n1,not so\n")
    return path


def test_labels(tmp_path: Path) -> None:
    """Several values for one word, words in the order of the table."""
    prepared = tasks.prepare(write(tmp_path, "shots = 2"), seed=4)
    assert prepared.name == "reviews"
    assert prepared.labels == ("bad", "good")
    assert prepared.rule == "label"
    assert (prepared.shots, prepared.round_size) == (2, 2)
    assert (len(prepared.validation), len(prepared.test)) == (10, 3)
    assert prepared.source == f"files: {tmp_path / 'train.csv'}, {tmp_path / 'test.csv'}"
    queries = {question.index: question.query for question in prepared.test}
    assert queries == {
        0: "Review: so Verdict:",
        1: "Review: no Verdict:",
        2: "Review: not so Verdict:",
    }
    assert {question.index: question.gold for question in prepared.test} == {0: 1, 1: 0, 2: 0}
    first, second = prepared.test[0].demonstrations
    assert first.startswith("Review: train ")
    assert first.endswith(" Verdict: bad\n")
    assert second.endswith(" Verdict: good\n")


def test_default_sizes(tmp_path: Path) -> None:
    """Five of each label, as far as there are; explicit sizes win over the file's."""
    assert tasks.prepare(str(write(tmp_path))).shots == 10
    path = write(tmp_path, "shots = 4\nvalidation_size = 3\ntest_size = 2")
    prepared = tasks.prepare(path)
    assert (prepared.shots, len(prepared.validation), len(prepared.test)) == (4, 3, 2)
    prepared = tasks.prepare(path, shots=0, validation_size=5, test_size=1)
    assert (prepared.shots, len(prepared.validation), len(prepared.test)) == (0, 5, 1)
    prepared = tasks.prepare(write(tmp_path, "test_size = 9"))
    assert prepared.notices == ("reviews: 3 test rows instead of the default 9: the data is small",)


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_choices_and_other_formats(suffix: str, tmp_path: Path) -> None:
    """Every row brings its answers; validation has its own file."""
    rows = [
        {"premise": f"p{i}", "ending a": f"a{i}", "ending_b": f"b{i}", "label": "AB"[i % 2]}
        for i in range(6)
    ]
    for i, split in enumerate(("train", "test", "validation")):
        part = rows[2 * i : 2 * i + 2]
        if suffix == "tsv":
            lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in part)]
        else:
            lines = [json.dumps(row) for row in part]
        (tmp_path / f"{split}.{suffix}").write_text("\n".join(lines))
    (tmp_path / "task.toml").write_text(
        'name = "endings"\nkind = "choices"\ntemplate = "{premise} then"\n[files]\n'
        + "".join(f'{s} = "{s}.{suffix}"\n' for s in ("train", "test", "validation"))
        + '[labels]\nA = "ending a"\nB = "ending_b"\n'
    )
    prepared = tasks.prepare(tmp_path / "task.toml")
    assert (prepared.rule, prepared.labels) == ("choice", ("1", "2"))
    assert prepared.test[0].demonstrations == ("p0 then a0\n", "p1 then b1\n")
    questions = {question.index: question for question in prepared.test}
    assert questions[1].query == "p3 then"
    assert questions[1].candidates == (" a3", " b3")
    assert questions[1].gold == 1
    assert {question.query for question in prepared.validation} == {"p4 then", "p5 then"}


def test_data_folder(tmp_path: Path) -> None:
    """`--data` says where the files are."""
    write(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = (tmp_path / "reviews.toml").rename(elsewhere / "reviews.toml")
    with pytest.raises(UserError, match="there is no train file"):
        tasks.prepare(path)
    assert len(tasks.prepare(path, data=tmp_path).test) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "reviews"\n', "", "reviews.toml: name missing"),
        ("name =", "nam =", "unknown nam; known are name, template, labels, files, kind, label_f"),
        ('"reviews"', "3", "name must be a text, not 3"),
        ("{more}", 'kind = "other"', "kind is 'other'"),
        ("{more}", "shots = -1", "shots must be a whole number from 0, not -1"),
        ("{more}", "test_size = 0", "test_size must be a whole number from 1, not 0"),
        ("{more}", "test_size = true", "test_size must be a whole number from 1, not True"),
        (" Verdict:", " Verdict: ", "template must be one line without a space at its end"),
        ("{body}", "body", "template names no column"),
        ("{body}", "{body} {stars}", "template names the label's own column {stars}"),
        ("{body}", "{body", "the brace at character 9 is not closed ('Review: {body Verd'"),
        ("{body}", "{{body}}", "the brace at character 9 is not closed"),
        ("{body}", "{body}}", "the brace at character 15 closes nothing"),
        ("{body}", "{body} {}", "the brace at character 16 names no column"),
        ('"5" = "good"', '"5" = "Bad"', "the labels 'bad' and 'Bad' differ in their case alone"),
        ('"5" = "good"', '"5" = "bad luck"', "the label 'bad' is the beginning of 'bad luck'"),
        ('"5" = "good"', '"5" = ""', "the label of '5' must be a word without outer spaces"),
        ('"5" = "good"', '"5" = "bad"', "labels needs two different label words"),
        ('"5" = "good"', '"5" = " good"', "the label of '5' must be a word without outer spaces"),
        ('"5" = "good"', '"5" = 5', "the label of '5' must be a word"),
        ('test = "test.csv"', "", "files needs a test file"),
        ('test = "test.csv"', 'test = "test.xls"', "the test file must end in .csv, .tsv"),
        ('test = "test.csv"', 'test = "train.csv"', "must be different files"),
        ('test = "test.csv"', 'test = "no.csv"', "there is no test file"),
        ('test = "test.csv"', 'test = "test.csv"\ndev = "d.csv"', "unknown files dev"),
        ("[files]", "[files", "is not TOML"),
        ("[labels]", "[labels.more]", "the label of 'more' must be a word"),
        ("{body}", "{text}", "train.csv, line 1: no column 'text'"),
        ('"5" = "good"', '"6" = "good"', "train.csv, line 3: unknown label '5'; reviews knows 1"),
    ],
)
def test_bad_files(old: str, new: str, message: str, tmp_path: Path) -> None:
    """One line that names the file and what is wrong in it."""
    path = write(tmp_path)
    path.write_text(REVIEWS.replace(old, new).replace("{more}", ""), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        tasks.prepare(path)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_file_under_two_names(tmp_path: Path) -> None:
    """A link to the training rows is no test set."""
    path = write(tmp_path)
    (tmp_path / "test.csv").unlink()
    (tmp_path / "test.csv").symlink_to(tmp_path / "train.csv")
    with pytest.raises(UserError, match="must be different files"):
        tasks.prepare(path)


def test_files_that_are_no_task(tmp_path: Path) -> None:
    """Missing, a folder, not text, nested without end."""
    path = tmp_path / "task.toml"
    for content in (b"\xff\xfe", b"a = " + b"[" * 20_000):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is not TOML"):
            tasks.prepare(path)
    path.unlink()
    with pytest.raises(UserError, match=r"can't read the task file .*No such file"):
        tasks.prepare(path)
    path.mkdir()
    with pytest.raises(UserError, match="can't read the task file"):
        tasks.prepare(path)


TOML = st.recursive(
    st.integers(-3, 3).map(str) | st.sampled_from(('""', '"a"', '"{b}"', "true", "1.5")),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda items: "[" + ", ".join(items) + "]")
        | inner.map(lambda item: "{ a = " + item + " }")
    ),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from(userfile._KNOWN), TOML))
def test_any_table_gives_a_task_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, str]
) -> None:
    """Whatever the values' types."""
    path = tmp_path_factory.mktemp("toml") / "task.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in table.items()))
    with pytest.raises(UserError):
        userfile.load(path)
