"""Draws of the clean protocol: interleaving, nesting, disjointness, sizes."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxsvd import tasks
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.built_in import PAPER, SPECS
from jaxsvd.tasks.specs import Row, TaskSpec
from jaxsvd.tasks.splits import Draw, Sizes, draw

from .folders import CLASSES, folder, records, rows

TASKS = PAPER


def small(task: str, train: int, scored: int = 20) -> dict[str, tuple[Row, ...]]:
    """Rows for every split of a task, all texts different."""
    classes = CLASSES[task]
    splits = {"train": rows(task, [i % classes for i in range(train)], "train")}
    for split in SPECS[task].splits[1:]:
        splits[split] = rows(task, [i % classes for i in range(scored)], split)
    return splits


def drawn(task: str, splits: dict[str, tuple[Row, ...]], seed: int = 0, **sizes: int) -> Draw:
    """A draw with some sizes given."""
    return draw(SPECS[task], splits, seed=seed, sizes=Sizes(**sizes))


def of_paper_sizes(task: str) -> TaskSpec:
    """With the paper's sizes where none are given."""
    spec = SPECS[task]
    assert spec.paper is not None
    return dataclasses.replace(
        spec, validation_size=spec.paper.validation, test_size=spec.paper.test
    )


@pytest.mark.parametrize("task", TASKS)
def test_classes_are_interleaved_in_label_order(task: str) -> None:
    """Label 0, 1, ..., 0, 1, ..."""
    spec = SPECS[task]
    result = drawn(task, small(task, 200), shots=2 * len(spec.labels) + 1)
    labels = [spec.label_of[row.label] for row in result.demonstrations]
    once = list(range(len(spec.labels)))
    assert labels == [*once, *once, 0]


@given(
    task=st.sampled_from(TASKS),
    seed=st.integers(0, 2**40),
    few=st.integers(0, 5),
    more=st.integers(6, 8),
)
def test_fewer_shots_are_a_prefix_and_move_nothing(
    task: str, seed: int, few: int, more: int
) -> None:
    """Up to the default number of shots, validation and test stay."""
    splits = small(task, 120)
    sizes = {"validation": 30 if task != "mrpc" else 10, "test": 15}
    first, second = (drawn(task, splits, seed, shots=shots, **sizes) for shots in (few, more))
    assert second.demonstrations[:few] == first.demonstrations
    assert first.validation == second.validation
    assert first.test == second.test
    assert len(second.demonstrations) == more


@given(
    task=st.sampled_from(TASKS),
    seed=st.integers(0, 1000),
    train=st.integers(24, 90),
    shots=st.integers(0, 12),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    doubled=st.integers(0, 6),
)
def test_no_row_and_no_demonstrated_text_twice(
    task: str, seed: int, train: int, shots: int, sizes: tuple[int, int], doubled: int
) -> None:
    """Whatever the sizes, and with texts that stand in train twice or also among the scored."""
    splits = small(task, train)
    twins = [
        Row(train + i, dict(row.fields), row.label)
        for i, row in enumerate([*splits["train"][:doubled], *list(splits.values())[-1][:doubled]])
    ]
    splits["train"] = (*splits["train"], *twins)
    validation, test = sizes
    # Twins of both kinds may be of one class: enough of each must be left to demonstrate.
    assume(shots <= (train // CLASSES[task] - 2 * doubled) and shots + 10 <= train)
    result = drawn(task, splits, seed, shots=shots, validation=validation, test=test)
    assert (len(result.demonstrations), len(result.validation), len(result.test)) == (
        shots,
        validation,
        test,
    )
    shown = [tuple(row.fields.values()) for row in result.demonstrations]
    scored = [tuple(row.fields.values()) for row in (*result.validation, *result.test)]
    assert len(set(shown)) == len(shown)
    assert not set(shown) & set(scored)
    spec = SPECS[task]
    used = [("train", row.index) for row in result.demonstrations]
    used += [(spec.validation_split, row.index) for row in result.validation]
    used += [(spec.test_split, row.index) for row in result.test]
    assert len(set(used)) == len(used)


@given(task=st.sampled_from(TASKS), seed=st.integers(0, 1000), size=st.integers(1, 14))
def test_smaller_sizes_are_prefixes(task: str, seed: int, size: int) -> None:
    """A size is the beginning of a larger one, and does not move the other part."""
    splits = small(task, 80)
    large = drawn(task, splits, seed, validation=15, test=15)
    less_validation = drawn(task, splits, seed, validation=size, test=15)
    less_test = drawn(task, splits, seed, validation=15, test=size)
    assert less_validation.validation == large.validation[:size]
    assert less_validation.test == large.test
    assert less_test.test == large.test[:size]
    assert less_test.validation == large.validation


def test_seed() -> None:
    """The same seed draws the same, another seed something else."""
    splits = small("rte", 100)
    assert drawn("rte", splits, 1) == drawn("rte", splits, 1)
    assert drawn("rte", splits, 1).demonstrations != drawn("rte", splits, 2).demonstrations
    assert drawn("rte", splits, 1).validation != drawn("rte", splits, 2).validation
    assert drawn("rte", splits, 1, test=5).test != drawn("rte", splits, 2, test=5).test


@pytest.mark.parametrize("seed", range(8))
def test_whitespace_makes_no_other_text(seed: int) -> None:
    """A text that differs from a scored one in whitespace only does not demonstrate."""
    splits = {"train": rows("rte", [0, 0, 1, 1]), "validation": rows("rte", [0, 1], "scored")}
    for row, scored in zip(splits["train"][1:3], splits["validation"], strict=True):
        row.fields.update({n: text.replace(" ", "\n ") for n, text in scored.fields.items()})
    result = drawn("rte", splits, seed, shots=2)
    assert [row.index for row in result.demonstrations] == [0, 3]


@pytest.mark.parametrize("task", TASKS)
def test_paper_sizes_shrink_with_a_notice(task: str) -> None:
    """Small data: everything is used, and said."""
    spec = of_paper_sizes(task)
    result = draw(spec, small(task, 100), seed=0, sizes=Sizes())
    shots = spec.shots
    assert len(result.demonstrations) == shots
    if task == "sst2":
        assert (len(result.validation), len(result.test)) == (45, 45)
    elif task == "mrpc":
        assert (len(result.validation), len(result.test)) == (20, 20)
    else:
        assert (len(result.validation), len(result.test)) == (100 - shots, 20)
    assert len(result.notices) == 2
    assert f"validation rows instead of the default {spec.validation_size:,}" in result.notices[0]
    assert f"test rows instead of the default {spec.test_size:,}" in result.notices[1]


def test_paper_sizes_with_data_of_the_paper() -> None:
    """RTE's 2,490 and 277 rows give the paper's splits, without a notice."""
    result = draw(of_paper_sizes("rte"), small("rte", 2_490, 277), seed=0, sizes=Sizes())
    assert (len(result.demonstrations), len(result.validation), len(result.test)) == (
        10,
        2_480,
        277,
    )
    assert result.notices == ()


def test_sst2_of_the_paper() -> None:
    """67,349 rows of train: 10 shown, 8,000 validate, 59,339 test."""
    labels = [0] * 29_780 + [1] * 37_569
    splits = {"train": rows("sst2", labels)}
    result = draw(of_paper_sizes("sst2"), splits, seed=0, sizes=Sizes())
    sizes = (len(result.demonstrations), len(result.validation), len(result.test))
    assert sizes == (10, 8_000, 59_339)
    assert result.notices == ()


def test_default_shots_shrink_by_whole_rounds() -> None:
    """CB with 10 rows of train: 9 demonstrations, one validation row."""
    result = drawn("cb", small("cb", 10))
    assert (len(result.demonstrations), len(result.validation)) == (9, 1)
    assert result.notices[0] == (
        "cb: 9 demonstrations instead of the default 15: the data is small"
    )


def test_reserve_gives_way_to_explicit_sizes() -> None:
    """All of train that is not shown can be asked for."""
    result = drawn("copa", small("copa", 40), shots=2, validation=38)
    assert (len(result.demonstrations), len(result.validation)) == (2, 38)
    with pytest.raises(UserError, match="demonstrations can't be drawn"):
        drawn("copa", small("copa", 40), shots=2, validation=39)


def test_validation_of_mrpc_without_its_split() -> None:
    """MRPC's own files have no validation rows: they come from train, with a notice."""
    splits = small("mrpc", 500, 30)
    del splits["validation"]
    result = drawn("mrpc", splits)
    assert len(result.validation) == 408
    assert result.notices[0] == "mrpc: no validation split; its rows are drawn from train"


@pytest.mark.parametrize(
    ("task", "sizes", "message"),
    [
        ("rte", {"test": 21}, "rte: a test size of 21 was asked for, the data has 20 rows for it"),
        ("mrpc", {"validation": 21}, "mrpc: a validation size of 21 was asked for"),
        ("rte", {"validation": 101}, "rte: validation and test need 101 rows of train.* 100"),
        ("sst2", {"validation": 60, "test": 41}, "sst2: validation and test need 101 rows"),
        ("rte", {"shots": 100}, "rte: 100 demonstrations can't be drawn.*Yes: 50, No: 50"),
        ("rte", {"validation": 100}, "rte: 2 demonstrations, one of each class, can't be drawn"),
    ],
)
def test_explicit_sizes_that_cannot_be_met(task: str, sizes: dict[str, int], message: str) -> None:
    """One line with what was asked for and what there is."""
    with pytest.raises(UserError, match=message):
        drawn(task, small(task, 100), **sizes)


def test_class_without_rows() -> None:
    """A class that can't demonstrate is named with its count."""
    splits = small("cb", 30)
    splits["train"] = tuple(row for row in splits["train"] if row.label != 2)
    with pytest.raises(UserError, match="Yes: 10, No: 10, Maybe: 0"):
        drawn("cb", splits)


def test_index_is_the_row_of_the_file(tmp_path: Path) -> None:
    """Question.index finds the row again."""
    train = records("rte", 30, "train")
    validation = records("rte", 12, "validation")
    prepared = tasks.prepare("rte", data=folder(tmp_path, train=train, val=validation))
    for question in prepared.test:
        assert question.query.startswith(str(validation[question.index]["premise"]) + " Does")
        assert question.gold == validation[question.index]["label"]
        assert question.split == "test"
    for question in prepared.validation:
        assert question.query.startswith(str(train[question.index]["premise"]) + " Does")
        assert question.split == "validation"
    assert sorted(question.index for question in prepared.test) == list(range(12))


def test_more_shots_than_the_default_take_from_validation() -> None:
    """Beyond the default, validation loses the rows shown and keeps its order."""
    splits = small("copa", 60)
    usual, many = drawn("copa", splits, shots=10), drawn("copa", splits, shots=20)
    assert many.demonstrations[:10] == usual.demonstrations
    gone = set(map(id, many.demonstrations))
    assert many.validation == tuple(row for row in usual.validation if id(row) not in gone)


def test_sizes_of_the_user_file_are_optional() -> None:
    """Without default sizes all rows are used, silently."""
    spec = dataclasses.replace(SPECS["rte"], validation_size=None, test_size=None)
    result = draw(spec, small("rte", 40), seed=0, sizes=Sizes())
    assert (len(result.validation), len(result.test), result.notices) == (30, 20, ())
