"""The task files that come with jaxsvd."""

import importlib.resources
from pathlib import Path

import pytest

from jaxsvd import tasks
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import userfile
from jaxsvd.tasks.built_in import SPECS

from .folders import folder, records

FILES = importlib.resources.files("jaxsvd.tasks") / "built_in"
YES_NO = {
    "boolq": ("passage", "question"),
    "wic": ("sentence1", "sentence2", "word"),
    "multirc": ("paragraph", "question", "answer"),
    "wsc": ("text", "span1_text", "span2_text"),
}


def test_each_file_is_a_task_and_each_task_a_file(tmp_path: Path) -> None:
    """As a user's own file, under any name, it is the same task."""
    assert sorted(f.name for f in FILES.iterdir()) == sorted(f"{name}.toml" for name in SPECS)
    for name, spec in SPECS.items():
        path = tmp_path / "copy.toml"
        path.write_bytes((FILES / f"{name}.toml").read_bytes())
        assert userfile.load(path) == (spec, {})


@pytest.mark.parametrize("task", YES_NO)
def test_yes_or_no(task: str, tmp_path: Path) -> None:
    """Class 1 is Yes, which stands first; every text is in the query."""
    rows = [{f: f"{f} {i}" for f in YES_NO[task]} | {"label": i % 2} for i in range(30)]
    path = folder(tmp_path, train=rows[:24], validation=rows[24:])
    prepared = tasks.prepare(task, data=path, shots=4, validation_size=2)
    assert prepared.labels == ("Yes", "No")
    for question in prepared.test:
        i = question.index + 24
        assert question.candidates[question.gold] == (" No", " Yes")[i % 2]
        assert all(f"{field} {i}" in question.query for field in YES_NO[task])


def test_trec_with_either_name_of_its_label(tmp_path: Path) -> None:
    """``coarse_label`` on the hub, ``label`` in most copies."""
    classes = SPECS["trec"].classes
    found = []
    for name in ("coarse_label", "label"):
        rows = [{"text": f"q {i}", name: classes[i % 6]} for i in range(60)]
        path = folder(tmp_path / name, train=rows[:50], test=rows[50:])
        found.append(tasks.prepare("trec", data=path))
    assert found[0].test == found[1].test
    assert found[0].shots == 12
    assert found[0].test[0].query.startswith("question: q ")


def test_hellaswag_takes_its_endings_from_a_list(tmp_path: Path) -> None:
    """Four candidates a row; the right one by its number."""
    rows = [
        {"ctx": f"c {i}", "endings": [f"e {i} {j}" for j in range(4)], "label": str(i % 4)}
        for i in range(30)
    ]
    path = folder(tmp_path, train=rows[:20], validation=rows[20:])
    prepared = tasks.prepare("hellaswag", data=path)
    for question in prepared.test:
        i = question.index + 20
        assert question.candidates == tuple(f" e {i} {j}" for j in range(4))
        assert question.gold == i % 4
    bad = folder(tmp_path / "bad", train=[{**rows[0], "endings": ["one"]}], validation=rows[20:])
    with pytest.raises(UserError, match=r"line 1: no 'endings\.1'"):
        tasks.prepare("hellaswag", data=bad)


def test_counterfact_has_one_right_column(tmp_path: Path) -> None:
    """The true object is right in every row, and the one that demonstrations show."""
    rows = [
        {"prompt": f"p {i} is", "target_true": f" t{i}", "target_false": f" f{i}"}
        for i in range(30)
    ]
    prepared = tasks.prepare("counterfact", data=folder(tmp_path, train=rows), shots=3)
    assert prepared.round_size == 1
    assert len(prepared.test[0].demonstrations) == 3
    for question in (*prepared.validation, *prepared.test):
        assert question.gold == 0
        assert question.candidates == (f" t{question.index}", f" f{question.index}")
        assert all(" t" in line and " f" not in line for line in question.demonstrations)


def test_sizes_are_at_most_2000_but_for_paper_sizes(tmp_path: Path) -> None:
    """Both tell what they take; other tasks have no sizes of the paper."""
    path = folder(tmp_path, train=records("agnews", 2_100), test=records("agnews", 2_050, "t"))
    small = tasks.prepare("agnews", data=path)
    assert (len(small.validation), len(small.test), small.notices) == (2_000, 2_000, ())
    whole = tasks.prepare("agnews", data=path, paper_sizes=True)
    assert (len(whole.validation), len(whole.test)) == (2_092, 2_050)
    assert whole.validation[:2_000] == small.validation
    assert whole.test[:2_000] == small.test
    assert any("instead of the default 7,600" in notice for notice in whole.notices)
    with pytest.raises(UserError, match="boolq: the paper has no sizes for it"):
        tasks.prepare("boolq", data=path, paper_sizes=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('repository = "aps/super_glue"', "", "hub needs a repository"),
        ('test = "validation"', 'test = "dev"', "test in hub names the data's split: train, valid"),
        ('config = "boolq"', "config = 3", "config in hub must be a text, not 3"),
        ("[hub]", '[files]\ntrain = "a.csv"\n[hub]', "both files and hub; keep one"),
        ("[hub]", "[nub]", "unknown nub; known are name, template"),
        ('["Yes", "No"]', '["Yes", "Maybe"]', "label_order must hold No, Yes, each once"),
        ("test_size = 2000", 'gold = "Yes"', "gold names the column of the right choice"),
        ("[hub]", "[paper]\ntest_size = 3\n[hub]", "paper needs validation_size and test_size"),
        ("[hub]", '[original]\nformat = "x"\n[hub]', "format in original must be one of agnews"),
        ("[hub]", "[scripts]\nseed = 3\n[hub]", "scripts is not whole"),
    ],
)
def test_mistakes_in_its_tables(old: str, new: str, message: str, tmp_path: Path) -> None:
    """One line that names the file and the table."""
    path = tmp_path / "boolq.toml"
    path.write_text((FILES / "boolq.toml").read_text().replace(old, new))
    with pytest.raises(UserError) as caught:
        tasks.prepare(path, data=tmp_path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
