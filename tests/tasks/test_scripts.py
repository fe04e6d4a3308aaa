"""The scripts protocol against `datasets`' own shuffle and the scripts' strings."""

import dataclasses
import functools

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import scripts
from jaxsvd.tasks.base import Prepared
from jaxsvd.tasks.built_in import PAPER, SPECS
from jaxsvd.tasks.specs import Row
from jaxsvd.tasks.splits import Sizes

from .folders import rows

SEEDS = {"sst2": 49, "agnews": 42, "emoc": 72, "mrpc": 42, "rte": 66, "cb": 66, "copa": 66}
TRAIN = {
    "sst2": [0] * 4_011 + [1] * 4_017,
    "agnews": [0] * 2_002 + [1] * 2_003 + [2] * 2_004 + [3] * 2_002,
    "emoc": [0] * 2_505 + [1] * 900 + [2] * 850 + [3] * 900,
    "mrpc": [0] * 205 + [1] * 230,
    "rte": [0] * 209 + [1] * 206,
    "cb": [0] * 20 + [1] * 18 + [2] * 9,
    "copa": [0] * 105 + [1] * 110,
}


@functools.cache
def splits_for(task: str) -> dict[str, tuple[Row, ...]]:
    """Enough rows for the script, the classes in blocks."""
    splits = {"train": rows(task, TRAIN[task])}
    for split in SPECS[task].splits[1:]:
        splits[split] = rows(task, [i % len(SPECS[task].classes) for i in range(7)], split)
    return splits


def splits_of(task: str) -> dict[str, tuple[Row, ...]]:
    """A copy to change."""
    return dict(splits_for(task))


@functools.cache
def prepared(task: str, seed: int | None = None, **sizes: int) -> Prepared:
    """A task in the scripts protocol."""
    return scripts.prepare(SPECS[task], splits_of(task), "memory", seed=seed, sizes=Sizes(**sizes))


def of(*classes: int) -> frozenset[int]:
    """A group of classes."""
    return frozenset(classes)


@functools.cache
def blocks(task: str, *groups: frozenset[int]) -> list[list[int]]:
    """Row numbers of groups of classes after `datasets` has shuffled."""
    table = datasets.Dataset.from_dict(
        {"label": TRAIN[task], "row": list(range(len(TRAIN[task])))}
    ).shuffle(seed=SEEDS[task])
    pairs = list(zip(table["row"], table["label"], strict=True))
    return [[row for row, label in pairs if label in group] for group in groups]


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 300))
def test_shuffle_is_that_of_datasets(seed: int, count: int) -> None:
    """For any seed and length."""
    ours = scripts.shuffled(rows("sst2", [0] * count), seed)
    theirs = datasets.Dataset.from_dict({"row": list(range(count))}).shuffle(seed=seed)
    assert [row.index for row in ours] == list(theirs["row"])


def test_shuffle_pinned() -> None:
    """`datasets` 5.2 gave these with seed 42."""
    ours = scripts.shuffled(rows("sst2", [0] * 50), 42)
    assert [row.index for row in ours][:10] == [5, 25, 20, 49, 39, 27, 47, 45, 46, 17]


@pytest.mark.parametrize("task", PAPER)
def test_seed_and_rule(task: str) -> None:
    """The script's own seed; choices by raw logits, labels by the bare word's token."""
    result = prepared(task)
    assert result.seed == SEEDS[task]
    assert result.protocol == "scripts"
    assert result.rule == ("scripts-choice" if task == "copa" else "scripts-label")
    assert result.labels == SPECS[task].labels


def test_sst2() -> None:
    """Rows 4,000 to 4,004 of each class, positive first; the rest of train is the test set."""
    result = prepared("sst2")
    positive, negative = blocks("sst2", of(1), of(0))
    expected = []
    for i in range(4_000, 4_005):
        expected.append(f"text:  sentence {positive[i]} \n sentiment : pos \n")
        expected.append(f"text:  sentence {negative[i]} \n sentiment : neg \n")
    assert list(result.test[0].demonstrations) == expected
    assert result.shots == 10
    assert result.test[0].query == f"text: sentence {positive[4_005]}\n sentiment :"
    assert result.test[0].candidates == ("neg", "pos")
    assert [q.index for q in result.validation] == positive[:4_000] + negative[:4_000]
    assert [q.index for q in result.test] == positive[4_005:] + negative[4_005:]
    assert [q.gold for q in result.test] == [1] * 12 + [0] * 6


def test_agnews() -> None:
    """Rows 2,000 and 2,001 of each class; `sentiment` stands here too."""
    result = prepared("agnews")
    by_class = blocks("agnews", of(0), of(1), of(2), of(3))
    words = ("world", "sports", "business", "science")
    assert list(result.test[0].demonstrations) == [
        f"text:  text {by_class[c][i]} \n sentiment : {words[c]} \n"
        for i in (2_000, 2_001)
        for c in range(4)
    ]
    assert result.test[0].query == "text: text test0\n sentiment :"
    assert result.test[0].candidates == words
    assert [q.index for q in result.validation] == [
        row for block in by_class for row in block[:2_000]
    ]
    assert [q.gold for q in result.test] == [0, 1, 2, 3, 0, 1, 2]


def test_emoc() -> None:
    """Class 0, others, is positive; happy, sad and angry are negative."""
    result = prepared("emoc")
    first, rest = blocks("emoc", of(0), of(1, 2, 3))
    expected = []
    for i in range(2_500, 2_505):
        expected.append(f"text:  text {first[i]} \n sentiment : pos \n")
        expected.append(f"text:  text {rest[i]} \n sentiment : neg \n")
    assert list(result.test[0].demonstrations) == expected
    assert result.test[1].query == "text: text test1\n sentiment :"
    assert [q.gold for q in result.test] == [1, 0, 0, 0, 1, 0, 0]
    assert [q.index for q in result.validation] == first[:2_500] + rest[:2_500]


def test_mrpc() -> None:
    """Rows 200 to 204 of each class, equal first; validation is the data set's own."""
    result = prepared("mrpc")
    equal, unequal = blocks("mrpc", of(1), of(0))
    expected = []
    for i in range(200, 205):
        for row, word in ((equal[i], "true"), (unequal[i], "false")):
            expected.append(
                f"sentence1:  sentence1 {row}  \n sentence2:  sentence2 {row} \n label : {word} \n"
            )
    assert list(result.test[0].demonstrations) == expected
    assert result.test[0].query == (
        "sentence1:  sentence1 test0  \n sentence2:  sentence2 test0\n label :"
    )
    assert result.test[0].candidates == ("true", "false")
    assert [q.gold for q in result.test] == [1, 0, 1, 0, 1, 0, 1]
    assert [q.index for q in result.validation] == list(range(7))


def test_rte() -> None:
    """Only 5 of 10 demonstrations; the query ends with a space."""
    result = prepared("rte")
    yes, no = blocks("rte", of(0), of(1))
    chosen = [yes[200], no[200], yes[201], no[201], yes[202]]
    words = ["Yes", "No", "Yes", "No", "Yes"]
    assert list(result.test[0].demonstrations) == [
        f" premise {row}  Does this mean that  hypothesis {row}  is true?"
        f" select Yes or No? {word}\n"
        for row, word in zip(chosen, words, strict=True)
    ]
    assert result.shots == 5
    assert result.test[1].query == (
        " premise validation1  Does this mean that  hypothesis validation1  is true?"
        " select Yes or No? "
    )
    assert result.test[1].candidates == ("Yes", "No")
    assert [q.index for q in result.validation] == yes[:200] + no[:200]


def test_cb() -> None:
    """Yes Mi No Yes Mi; the query asks in other words and `Maybe` is scored."""
    result = prepared("cb")
    yes, maybe, no = blocks("cb", of(0), of(2), of(1))
    chosen = [yes[0], maybe[0], no[0], yes[1], maybe[1]]
    words = ["Yes", "Mi", "No", "Yes", "Mi"]
    assert list(result.test[0].demonstrations) == [
        f"Suppose  premise {row}  Can we infer that ' hypothesis {row} '?"
        f" Yes, No, or Maybe? {word}\n"
        for row, word in zip(chosen, words, strict=True)
    ]
    assert result.test[2].query == (
        "Suppose  premise validation2  Can we infer that ' hypothesis validation2 '?"
        " Yes, or No, or Mi? "
    )
    assert result.test[2].candidates == ("Yes", "No", "Maybe")
    assert [q.gold for q in result.test] == [0, 1, 2, 0, 1, 2, 0]
    assert [q.index for q in result.validation] == yes[5:] + maybe[5:] + no[5:]


def test_copa() -> None:
    """Label 1 first, every part on its line, the choice's newline scored with it."""
    result = prepared("copa")
    second, first = blocks("copa", of(1), of(0))
    chosen = [second[100], first[100], second[101], first[101], second[102]]
    assert list(result.test[0].demonstrations) == [
        f" premise {row} \n question {row} \n choice{number} {row} \n"
        for row, number in zip(chosen, (2, 1, 2, 1, 2), strict=True)
    ]
    assert result.test[0].query == " premise validation0 \n question validation0 \n"
    assert result.test[0].candidates == (" choice1 validation0 \n", " choice2 validation0 \n")
    assert [q.index for q in result.validation] == second[:100] + first[:100]


@pytest.mark.parametrize(
    ("task", "query"),
    [
        (
            "emoc",
            "Consider the following text: text test0."
            " Is this text sentiment pos or neg. The sentiment is",
        ),
        (
            "agnews",
            "Consider the following text: text test0. Is this text sentiment world or sports or"
            " business or science? The sentiment is",
        ),
        (
            "mrpc",
            "Consider the following text: sentence1:  sentence1 test0  \n"
            " sentence2:  sentence2 test0. Are these two sentences equal or unequal."
            " The label is",
        ),
        (
            "rte",
            " premise validation0  Does this mean that  hypothesis validation0  is true?"
            " select Yes or No? ",
        ),
    ],
)
def test_zero_shot_wording(task: str, query: str) -> None:
    """Another question where nothing is demonstrated."""
    question = prepared(task, shots=0).test[0]
    assert question.prompt == query


def test_zero_shot_wording_of_sst2() -> None:
    """As EmoC's."""
    (positive,) = blocks("sst2", of(1))
    assert prepared("sst2", shots=0).test[0].prompt == (
        f"Consider the following text: sentence {positive[4_005]}."
        " Is this text sentiment pos or neg. The sentiment is"
    )


def test_other_shots_are_the_same_sequence() -> None:
    """Fewer are its beginning, more its continuation; the rest begins after what is shown."""
    usual = prepared("sst2").test[0].demonstrations
    assert prepared("sst2", shots=4).test[0].demonstrations == usual[:4]
    assert len(prepared("sst2", shots=4).test) == 18
    more = prepared("sst2", shots=13)
    assert more.test[0].demonstrations[:10] == usual
    assert len(more.test) == 18 - 2 * 2
    positive, negative = blocks("sst2", of(1), of(0))
    assert [q.index for q in more.test] == positive[4_007:] + negative[4_007:]


def test_smaller_sizes_keep_the_classes_in_proportion() -> None:
    """The first rows of each class, in the script's order."""
    second, first = blocks("copa", of(1), of(0))
    result = prepared("copa", validation=11, test=3)
    assert [q.index for q in result.validation] == second[:6] + first[:5]
    assert [q.index for q in result.test] == [0, 1, 2]
    positive, negative = blocks("sst2", of(1), of(0))
    assert [q.index for q in prepared("sst2", test=9).test] == (
        positive[4_005:4_011] + negative[4_005:4_008]
    )


def test_too_few_rows() -> None:
    """The script's rows are named, not replaced."""
    splits = splits_of("agnews")
    splits["train"] = splits["train"][:-1]
    with pytest.raises(
        UserError,
        match=r"agnews: the scripts protocol with 8 shots takes 2,002 rows of Sci/Tech from train,"
        r" which has 2,001; .*--protocol clean",
    ):
        scripts.prepare(SPECS["agnews"], splits, "memory", seed=None, sizes=Sizes())
    with pytest.raises(UserError, match="takes 2,506 rows of others from train"):
        prepared("emoc", shots=11)


def test_missing_split_and_size() -> None:
    """MRPC from its own files, and a size that is not there."""
    splits = splits_of("mrpc")
    del splits["validation"]
    with pytest.raises(UserError, match="mrpc: the scripts protocol scores the validation split"):
        scripts.prepare(SPECS["mrpc"], splits, "memory", seed=None, sizes=Sizes())
    with pytest.raises(UserError, match=r"rte: a test size of 8 .* 7 rows"):
        prepared("rte", test=8)


def test_nothing_left() -> None:
    """More shots than CB has rows beside."""
    splits = {**splits_of("cb"), "train": rows("cb", [0] * 5 + [1] * 5 + [2] * 5)}
    with pytest.raises(UserError, match="cb: the data has no validation rows"):
        scripts.prepare(SPECS["cb"], splits, "memory", seed=None, sizes=Sizes())


def test_notices() -> None:
    """An unused seed, other data than the published, a demonstrated text that is scored."""
    assert not any("seed" in notice for notice in prepared("rte").notices)
    assert not any("seed" in notice for notice in prepared("rte", seed=66).notices)
    assert "rte: the scripts protocol shuffles with seed 66; 5 is unused" in (
        prepared("rte", seed=5).notices
    )
    assert prepared("rte").notices[0].startswith("rte: train has 415 rows, the published one 2,490")
    splits = splits_of("rte")
    yes, _ = blocks("rte", of(0), of(1))
    shown = splits["train"][yes[200]]
    splits["validation"] = (dataclasses.replace(shown, index=0), *splits["validation"][1:])
    result = scripts.prepare(SPECS["rte"], splits, "memory", seed=None, sizes=Sizes())
    assert result.notices[-1].startswith("rte: 1 scored examples repeat the text")
    assert len(result.test) == 7


def test_published_rows_give_no_notice() -> None:
    """RTE's 2,490 and 277 rows."""
    splits = {"train": rows("rte", [0, 1] * 1_245), "validation": rows("rte", [0] * 277, "v")}
    result = scripts.prepare(SPECS["rte"], splits, "memory", seed=None, sizes=Sizes())
    assert result.notices == ()
    assert (len(result.validation), len(result.test)) == (400, 277)


def test_every_task_has_a_script() -> None:
    """Those of the paper, in its order."""
    assert tuple(name for name, spec in SPECS.items() if spec.scripts) == PAPER
