"""The bundled language, task and model as shipped."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.train_bundled_model.measure import accuracy, answers
from jaxsvd import UserError, load
from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.model import Model, load_tokenizer
from jaxsvd.tasks import bundled
from jaxsvd.tasks.base import Prepared, Question
from jaxsvd.tasks.words import (
    CATEGORIES,
    LABELS,
    NOISE,
    NOISE_RATE,
    held_out_pairs,
    trained_pairs,
)

WORDS = [*(word for words in CATEGORIES.values() for word in words), *NOISE, *LABELS]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(BUNDLED)


@pytest.fixture(scope="module")
def model() -> Model:
    return load()


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return bundled.prepare()


@pytest.fixture(scope="module")
def without_strays() -> Prepared:
    """The same task when every word is of its text's category, or noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled, "STRAY_RATE", 0.0)
        return bundled.prepare()


def text_of(question: Question) -> str:
    return question.query.removeprefix("text: ").removesuffix("\nlabel :")


def demonstration_texts(question: Question) -> list[str]:
    return [demo.removeprefix("text: ").split("\n")[0] for demo in question.demonstrations]


def categories_of(text: str) -> set[int]:
    lists = list(CATEGORIES.values())
    return {i for i, words in enumerate(lists) if set(words) & set(text.split())}


# Words


def test_each_word_is_in_one_list_and_plain():
    assert len(WORDS) == len(set(WORDS))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)
    assert len(CATEGORIES) >= 40
    assert {len(words) for words in CATEGORIES.values()} == {12}
    assert len(LABELS) >= 16


def test_held_out_and_trained_pairs_are_all_pairs():
    held_out = [frozenset(pair) for pair in held_out_pairs()]
    trained = [frozenset(pair) for pair in trained_pairs()]
    count = len(CATEGORIES)
    assert len(set(held_out)) == count
    assert not set(held_out) & set(trained)
    assert len(set(held_out) | set(trained)) == count * (count - 1) // 2


# Tokenizer


def test_every_word_with_its_space_is_one_token(tokenizer):
    ids = tokenizer([f" {word}" for word in WORDS])["input_ids"]
    assert {len(i) for i in ids} == {1}
    assert len({i[0] for i in ids}) == len(WORDS)


pieces = st.lists(st.sampled_from([*WORDS, "text:", "\n", ":", "x"])).map(" ".join)


@given(text=st.one_of(st.text(), pieces))
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert all(0 <= i < len(tokenizer) for i in ids)


def test_prompt_and_label_jointly_are_the_prompt_and_one_token(tokenizer, prepared):
    for question in prepared.validation[::50]:
        before = tokenizer(question.prompt)["input_ids"]
        for candidate in question.candidates:
            joint = tokenizer(question.prompt + candidate)["input_ids"]
            assert joint[:-1] == before
            assert tokenizer.decode(joint[-1:]) == candidate


def test_longest_prompt_fits_the_context(tokenizer, model):
    task = bundled.prepare(shots=bundled.MAX_SHOTS, validation_size=100, test_size=100)
    prompts = [q.prompt for q in (*task.validation, *task.test)]
    assert max(map(len, tokenizer(prompts)["input_ids"])) < model.config.context
    assert model.config.context > (bundled.MAX_SHOTS + 1) * 12


# Task


def test_defaults(prepared):
    assert (prepared.name, prepared.source) == ("bundled", "bundled")
    assert (prepared.protocol, prepared.rule, prepared.round_size) == ("clean", "label", 2)
    assert (len(prepared.validation), len(prepared.test), prepared.shots) == (1000, 2000, 8)
    assert len(set(prepared.labels)) == 2
    assert set(prepared.labels) <= set(LABELS)


def test_questions(prepared):
    for split, questions in (("validation", prepared.validation), ("test", prepared.test)):
        assert {q.split for q in questions} == {split}
        assert sorted(q.index for q in questions) == list(range(len(questions)))
        assert {q.candidates for q in questions} == {tuple(f" {w}" for w in prepared.labels)}
        assert 2 * sum(q.gold for q in questions) == len(questions)
        assert len({text_of(q) for q in questions}) == len(questions)


def test_demonstrations_decide_the_label(without_strays):
    for question in (*without_strays.validation, *without_strays.test):
        label_of = {}
        for demonstration in question.demonstrations:
            text, end = demonstration.removeprefix("text: ").split("\nlabel : ")
            (category,) = categories_of(text)
            assert label_of.setdefault(category, end.rstrip("\n")) == end.rstrip("\n")
        (category,) = categories_of(text_of(question))
        assert label_of[category] == without_strays.labels[question.gold]
        assert len(set(label_of.values())) == 2


def test_strays_are_few(prepared):
    """Two words of the category at least; of the others about a fifth come from elsewhere."""
    category_of = {word: i for i, words in enumerate(CATEGORIES.values()) for word in words}
    strays = others = 0
    for question in prepared.test:
        words = text_of(question).split()
        known = [category_of[word] for word in words if word in category_of]
        most = max(known.count(category) for category in known)
        assert most >= 2
        strays += len(known) - most
        others += len(words) - 2
    expected = (1 - NOISE_RATE) * bundled.STRAY_RATE
    assert abs(strays / others - expected) < 5 * (expected / others) ** 0.5


def test_pairs_are_held_out_and_splits_share_none(without_strays):
    prepared = without_strays
    held_out = {frozenset(pair) for pair in held_out_pairs()}
    pairs = {
        split: {frozenset(categories_of(" ".join(demonstration_texts(q)))) for q in questions}
        for split, questions in (("validation", prepared.validation), ("test", prepared.test))
    }
    assert len(pairs["validation"]) == bundled.VALIDATION_PAIRS
    assert len(pairs["test"]) == bundled.TEST_PAIRS
    assert pairs["validation"] | pairs["test"] <= held_out
    assert not pairs["validation"] & pairs["test"]


def test_no_demonstration_is_scored_and_rounds_are_balanced(prepared):
    for questions in (prepared.validation, prepared.test):
        scored = {text_of(q) for q in questions}
        for demonstrations in {q.demonstrations for q in questions}:
            labels = [demo.split()[-1] for demo in demonstrations]
            assert all(a != b for a, b in zip(labels[::2], labels[1::2], strict=True))
        for question in questions:
            assert not scored & set(demonstration_texts(question))


def test_questions_of_a_pair_stand_together(prepared):
    for questions in (prepared.validation, prepared.test):
        changes = sum(a.demonstrations != b.demonstrations for a, b in pairwise(questions))
        assert changes + 1 == len({q.demonstrations for q in questions})


def test_smaller_sizes_and_fewer_shots_are_nested(prepared):
    small = bundled.prepare(shots=3, validation_size=77, test_size=1)
    for few, many in ((small.validation, prepared.validation), (small.test, prepared.test)):
        rows = {q.index: q for q in many}
        for question in few:
            wanted = rows[question.index]
            shorter = dataclasses.replace(wanted, demonstrations=wanted.demonstrations[:3])
            assert question == shorter


def test_seeds(prepared):
    assert bundled.prepare() == prepared
    other = bundled.prepare(seed=1)
    assert other.labels != prepared.labels
    assert not {q.prompt for q in other.test} & {q.prompt for q in prepared.test}


@pytest.mark.parametrize(
    "wrong",
    [
        {"shots": -1},
        {"shots": 33},
        {"seed": -1},
        {"validation_size": -1},
        {"test_size": 20_001},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=r"\d"):
        bundled.prepare(**wrong)


def test_permuted_swaps_the_labels_of_demonstrations_only(prepared):
    swapped = bundled.permuted(prepared)
    assert bundled.permuted(swapped) == prepared
    for was, now in zip(prepared.test, swapped.test, strict=True):
        assert (was.query, was.gold, was.index) == (now.query, now.gold, now.index)
        for a, b in zip(was.demonstrations, now.demonstrations, strict=True):
            assert a.rsplit(" ", 1)[0] == b.rsplit(" ", 1)[0]
            assert {a.split()[-1], b.split()[-1]} == set(prepared.labels)


# Model


def test_size():
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) <= 2_000_000


def test_it_learns_in_context(model):
    task = bundled.prepare(test_size=400)
    assert accuracy(model, task.test).value >= 0.9


def test_it_follows_permuted_labels(model):
    task = bundled.permuted(bundled.prepare(test_size=400))
    assert accuracy(model, task.test).value <= 0.1


def test_without_demonstrations_it_is_at_chance(model):
    # Four standard errors of a fair coin.
    task = bundled.prepare(shots=0, test_size=400)
    assert abs(accuracy(model, task.test).value - 0.5) <= 4 * (0.25 / 400) ** 0.5


def test_it_learns_from_either_label_alike(model):
    task = bundled.prepare(test_size=400)
    given = answers(model, task.test)
    gold = np.array([q.gold for q in task.test])
    for label in (0, 1):
        assert (given[gold == label] == label).mean() >= 0.85
