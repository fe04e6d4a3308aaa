"""Tasks of examples that a program holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import jaxsvd
from jaxsvd import tasks
from jaxsvd.runtime.errors import UserError

PAIRS = [(f"text {i}", ("bad", "good")[i % 2]) for i in range(40)]


class Frame:
    """What is used of a pandas ``DataFrame``."""

    def __init__(self, columns: Mapping[str, list[Any]]) -> None:
        """Equally long columns."""
        self.columns = list(columns)
        self._rows = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        """The rows."""
        assert orient == "records"
        return self._rows


def test_pairs() -> None:
    """Labels in sorted order, 60 % to train on, no example twice."""
    prepared = tasks.prepare(PAIRS, template="Review: {text} Verdict:", shots=4)
    assert (prepared.name, prepared.labels, prepared.source) == (
        "examples",
        ("bad", "good"),
        "examples",
    )
    assert (len(prepared.validation), len(prepared.test)) == (14, 16)
    texts = dict(PAIRS)
    shown = [line.removesuffix("\n") for line in prepared.test[0].demonstrations]
    queries = [q.query for q in (*prepared.validation, *prepared.test)]
    assert len(set(queries)) == 30
    for line in shown:
        text, label = line.removeprefix("Review: ").split(" Verdict: ")
        assert texts[text] == label
        assert f"Review: {text} Verdict:" not in queries
    for question in prepared.test:
        text = question.query.removeprefix("Review: ").removesuffix(" Verdict:")
        assert question.candidates[question.gold] == " " + texts[text]


def test_splits_and_tables_say_the_same() -> None:
    """A mapping of splits; of tables too, with labels that are numpy's numbers."""
    numbers = [(text, int(label == "good")) for text, label in PAIRS]
    pairs = {"train": numbers[:30], "test": numbers[30:]}
    frames = {
        name: Frame({"text": [t for t, _ in part], "label": list(np.array([n for _, n in part]))})
        for name, part in pairs.items()
    }
    one, other = (tasks.prepare(part, shots=2, seed=3) for part in (pairs, frames))
    assert one == other
    assert one.labels == ("0", "1")
    assert len(one.test) == 10
    named = {
        name: Frame({"body": [t for t, _ in part], "stars": [n for _, n in part]})
        for name, part in pairs.items()
    }
    template = "text: {body} label:"
    third = tasks.prepare(named, template=template, label_field="stars", shots=2, seed=3)
    assert third.test == one.test


@pytest.mark.parametrize(
    ("examples", "options", "message"),
    [
        (PAIRS, {"template": "{text} {label}:"}, "template names the label's own column {label}"),
        (PAIRS, {"template": "{body}:"}, "train, example 1: no 'body'"),
        (PAIRS, {"label_field": "stars"}, "train, example 1: no 'stars'; it has 'text', 'label'"),
        (PAIRS, {"protocol": "scripts"}, "examples have no data folder, scripts protocol"),
        ("sst2", {"template": "{text}:"}, "template and label_field are for examples"),
        ({"train": PAIRS}, {}, "a mapping of examples needs train and test"),
        (
            {"train": PAIRS, "test": PAIRS, "dev": PAIRS},
            {},
            "and may have validation; it has train",
        ),
        (["a", "b"], {}, "train, example 1: a pair of text and label expected, not 'a'"),
        ([("a", "x"), ("b",)], {}, "train, example 2: a pair of text and label expected"),
        ([("a", "x"), ("b", "x")], {}, "the examples have fewer than two labels"),
        ([("a", "x"), ("b", "xy")], {}, "the label 'x' is the beginning of 'xy'"),
        ([("a", "x"), ("b", "")], {}, "train, example 2: the label must be a word"),
        ([("a", "x"), (" ", "y")], {}, "train, example 2: 'text' is blank"),
    ],
)
def test_mistakes(examples: Any, options: dict[str, Any], message: str) -> None:
    """One line that names the example."""
    with pytest.raises(UserError) as caught:
        tasks.prepare(examples, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_evaluated() -> None:
    """By the bundled model, as any task."""
    words = [("salmon trout", "early"), ("cotton silk", "inner")] * 2
    pairs = [(f"{text} {word}", label) for word in ("cod", "wool", "tuna") for text, label in words]
    pairs = list(dict.fromkeys(pairs))
    result = jaxsvd.evaluate(
        jaxsvd.load(), {"train": pairs[:4], "test": pairs[4:]}, template="text: {text} label :",
        shots=2, validation_size=1,
    )  # fmt: skip
    assert result.task.name == "examples"
    assert result.accuracy.total == 2
