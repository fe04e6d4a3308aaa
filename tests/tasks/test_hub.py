"""The hub: conversion of its data sets, and what happens when it can't be reached."""

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from jaxsvd import tasks
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import hub
from jaxsvd.tasks.built_in import PAPER, SPECS

from .folders import FIELDS, records


def on_the_hub(task: str, count: int, tag: str = "", **changes: list) -> Dataset:
    """A split with the hub's features."""
    classes = list(SPECS[task].classes)
    columns = {
        name: [line[name] for line in records(task, count, tag)]
        for name in (*FIELDS[task], "label")
    } | {"idx": list(range(count))}
    features = {name: Value("string") for name in FIELDS[task]}
    features |= {"idx": Value("int32"), "label": ClassLabel(names=classes)}
    return Dataset.from_dict(columns | changes, features=Features(features))


@pytest.mark.parametrize("task", PAPER)
def test_rows(task: str) -> None:
    """Index, texts and class of the hub's rows, whatever other columns there are."""
    rows = hub.from_dataset(SPECS[task], on_the_hub(task, 6), "here")
    assert [row.index for row in rows] == list(range(6))
    assert [row.label for row in rows] == [i % len(SPECS[task].classes) for i in range(6)]
    assert rows[4].fields == {name: f"{name} 4" for name in FIELDS[task]}


def test_a_shuffled_data_set_keeps_its_order() -> None:
    """The rows as the data set shows them, not as they are stored."""
    table = on_the_hub("sst2", 20).shuffle(seed=1)
    rows = hub.from_dataset(SPECS["sst2"], table, "here")
    assert [row.fields["sentence"] for row in rows] == list(table["sentence"])


def test_bad_data_sets() -> None:
    """Missing columns, other classes, rows without a label, blank rows."""
    spec = SPECS["sst2"]
    with pytest.raises(UserError, match="here: no column sentence"):
        hub.from_dataset(spec, on_the_hub("agnews", 4), "here")
    other = on_the_hub("sst2", 4).cast_column("label", ClassLabel(names=["bad", "good"]))
    with pytest.raises(UserError, match="here: the classes are bad, good, not negative, positive"):
        hub.from_dataset(spec, other, "here")
    with pytest.raises(UserError, match="here, row 2: unknown label -1"):
        hub.from_dataset(spec, on_the_hub("sst2", 2, label=[1, -1]), "here")
    with pytest.raises(UserError, match="here, row 1: 'label' is null"):
        hub.from_dataset(spec, on_the_hub("sst2", 1, label=[None]), "here")
    with pytest.raises(UserError, match="here, row 2: 'sentence' is blank"):
        hub.from_dataset(spec, on_the_hub("sst2", 2, sentence=["a", ""]), "here")


ASKED = {
    "sst2": ("stanfordnlp/sst2", None, ["train"], None),
    "agnews": ("fancyzhx/ag_news", None, ["train", "test"], None),
    "emoc": ("SemEvalWorkshop/emo", None, ["train", "test"], "refs/convert/parquet"),
    "mrpc": ("nyu-mll/glue", "mrpc", ["train", "validation", "test"], None),
    "rte": ("aps/super_glue", "rte", ["train", "validation"], None),
    "cb": ("aps/super_glue", "cb", ["train", "validation"], None),
    "copa": ("aps/super_glue", "copa", ["train", "validation"], None),
}


@pytest.mark.parametrize("task", PAPER)
def test_what_is_asked_for(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repository, configuration, revision, and only the splits needed; quietly."""
    asked = []

    def load_dataset(
        path: str, name: str | None, *, split: list[str], revision: str | None
    ) -> list[Dataset]:
        asked.append((path, name, split, revision))
        assert not datasets.is_progress_bar_enabled()
        return [on_the_hub(task, 40, part) for part in split]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    verbosity = datasets.utils.logging.get_verbosity()
    prepared = tasks.prepare(task)
    assert asked == [ASKED[task]]
    repository, config, _, revision = ASKED[task]
    name = repository if config is None else f"{repository}/{config}"
    assert prepared.source == f"hub: {name}@{revision or 'main'}"
    assert datasets.utils.logging.get_verbosity() == verbosity
    assert datasets.is_progress_bar_enabled()


def test_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A failed probe turns to the cache at once, and the switch is put back."""
    import huggingface_hub
    from huggingface_hub import constants

    class NoNetwork:
        def head(self, *_: object, **__: object) -> None:
            raise OSError("no route")

    seen = []

    def load_dataset(*_: object, **__: object) -> None:
        seen.append((constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE))
        raise ConnectionError("not\nhere")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_session", NoNetwork)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError) as caught:
        tasks.prepare("cb")
    assert str(caught.value) == (
        "can't load aps/super_glue/cb@main from the Hugging Face hub"
        " (ConnectionError: not here); give local files with --data DIR"
    )
    assert seen == [(True, True)]
    assert (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE) == (False, False)


def test_unreachable_hub(tmp_path: Path) -> None:
    """The libraries themselves, without a network: one line, nothing else on the screen."""
    code = (
        "from jaxsvd import tasks\nfrom jaxsvd.runtime import errors\n"
        "try:\n    tasks.prepare('sst2')\n"
        "except errors.UserError as error:\n    print(error)\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("can't load stanfordnlp/sst2@main from the Hugging Face hub")
    assert done.stdout.endswith("give local files with --data DIR\n")
