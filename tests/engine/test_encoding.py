"""Joint encoding, shared prefixes, label tokens, and prompts that are too long."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.engine.encoding import Encoded, encode
from jaxsvd.engine.requests import common_prefix
from jaxsvd.model import load_tokenizer
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.base import Question

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(BUNDLED)


def question(index: int, text: str, shots: int = 3, **changes: object) -> Question:
    shown = tuple(f"text: salmon trout\nlabel : {'AB'[i % 2]}\n" for i in range(shots))
    built = Question("test", index, shown, f"text: {text}\nlabel :", (" A", " B"), 0)
    return dataclasses.replace(built, **changes)


def whole_lines(encoded: Encoded) -> dict[tuple[int, int], list[int]]:
    """The full token sequence that scores every question and candidate, and its last target."""
    built = {}
    for group in encoded.groups:
        for line in group.lines:
            for c in range(len(encoded.questions[line.request].candidates)):
                here = np.isin(line.continuations, [0, c + 1])
                assert line.positions[here].tolist() == list(range(here.sum()))
                last = line.targets[line.scored == c][-1:] if line.targets.any() else []
                built[line.request, c] = [*group.prefix, *line.tokens[here], *last]
    return {key: [int(token) for token in tokens] for key, tokens in built.items()}


def test_label_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    """Labels of one token each are read as logits after the whole prompt."""
    questions = [question(i, text) for i, text in enumerate(("lion", "tiger wolf", "cod"))]
    candidates = (" lion", " cod")  # words of the tokenizer: one token each
    questions = [dataclasses.replace(q, candidates=candidates) for q in questions]
    encoded = encode(tokenizer, questions, "label", context=500)
    assert encoded.scoring == "label tokens"
    assert [tokenizer.decode([i]) for i in encoded.label_ids] == list(candidates)
    (group,) = encoded.groups
    for (i, _), tokens in whole_lines(encoded).items():
        assert tokens == tokenizer(questions[i].prompt)["input_ids"]
    texts = [tokenizer.decode(line.tokens) for line in group.lines]
    shared = tokenizer.decode(group.prefix)
    assert shared.startswith(questions[0].demonstrations[0])
    assert len({text[0] for text in texts}) >= 1
    assert common_prefix([line.tokens.tolist() for line in group.lines]) == 0


@pytest.mark.parametrize(
    "candidates",
    [
        (" lion", " lion tiger"),  # one begins with the other's only token
        (" lion cod", " lion wolf"),  # the same first token
        (" lion", " zyx"),  # several tokens
    ],
)
def test_labels_that_one_token_does_not_tell_apart(
    tokenizer: PreTrainedTokenizerBase, candidates: tuple[str, ...]
) -> None:
    """They are scored by their sequence log-likelihood, over all their tokens."""
    questions = [dataclasses.replace(question(0, "cod"), candidates=candidates)]
    encoded = encode(tokenizer, questions, "label", context=500)
    assert encoded.scoring == "sequence log-likelihood"
    prompt = len(tokenizer(questions[0].prompt)["input_ids"])
    (line,) = encoded.groups[0].lines
    for c, candidate in enumerate(candidates):
        joint = tokenizer(questions[0].prompt + candidate)["input_ids"]
        assert line.targets[line.scored == c].tolist() == joint[prompt:]
        assert whole_lines(encoded)[0, c] == joint


@given(texts=st.lists(words, min_size=1, max_size=4), labels=st.tuples(words, words))
def test_any_text_is_encoded_jointly(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], labels: tuple[str, str]
) -> None:
    """Prefix, line and targets together are the joint encoding, whatever the text."""
    candidates = tuple(f" {label}" for label in labels)
    questions = [
        dataclasses.replace(question(i, text), candidates=candidates)
        for i, text in enumerate(texts)
    ]
    encoded = encode(tokenizer, questions, "choice", context=2000)
    whole = whole_lines(encoded)
    for group in encoded.groups:
        for line in group.lines:
            q = questions[line.request]
            for c, candidate in enumerate(q.candidates):
                joint = tokenizer(q.prompt + candidate)["input_ids"]
                targets = line.targets[line.scored == c].tolist()
                assert whole[line.request, c] == joint
                assert joint[-len(targets) :] == targets
                # Each target is predicted by the position before it.
                at = line.positions[line.reads[line.scored == c]] + len(group.prefix)
                assert at.tolist() == list(range(len(joint) - len(targets) - 1, len(joint) - 1))


def test_long_prompts_lose_whole_rounds(tokenizer: PreTrainedTokenizerBase) -> None:
    """From the front, one of each class at a time, only as many as needed."""
    short, long = question(0, "cod", shots=5), question(1, "lion " * 30, shots=5)
    length = len(tokenizer(short.prompt + " A")["input_ids"])
    encoded = encode(
        tokenizer, [short, long], "label", context=length, round_size=2, allow_zero_shot=True
    )
    assert encoded.questions[0] == short
    # 5 = 2 + 2 + 1: the demonstration over whole rounds goes first, then rounds of two.
    kept = len(encoded.questions[1].demonstrations)
    assert kept in (0, 2, 4)
    assert encoded.questions[1].demonstrations == long.demonstrations[5 - kept :]
    assert (encoded.shortened, encoded.dropped) == (1, 5 - kept)
    fuller = dataclasses.replace(long, demonstrations=long.demonstrations[5 - kept - 2 :])
    if kept < 4:
        assert len(tokenizer(fuller.prompt + " A")["input_ids"]) > length
    assert len(encoded.groups) == 2
    assert all(len(tokens) <= length for tokens in whole_lines(encoded).values())


def test_a_query_that_does_not_fit(tokenizer: PreTrainedTokenizerBase) -> None:
    """An error that names the row and the way out; with skip_long it is left out and counted."""
    questions = [question(7, "cod"), question(8, "lion " * 90)]
    with pytest.raises(UserError, match=r"1 of 2 queries .* row 8 of test .* --skip-long"):
        encode(tokenizer, questions, "label", context=60)
    encoded = encode(tokenizer, questions, "label", context=60, skip_long=True)
    assert [q.index for q in encoded.questions] == [7]
    assert encoded.skipped == 1
    with pytest.raises(UserError, match="no question is left"):
        encode(tokenizer, questions[1:], "label", context=60, skip_long=True)


def test_a_label_without_a_token(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match="row 3 of test: '' has no token of its own"):
        encode(
            tokenizer,
            [dataclasses.replace(question(3, "cod"), candidates=("", " B"))],
            "label",
            context=99,
        )


def test_the_scripts_rules(tokenizer: PreTrainedTokenizerBase) -> None:
    """Bare label words by the token after a space; raw logits read every position."""
    requested = [dataclasses.replace(question(0, "cod"), candidates=("lion", "wolf"))]
    encoded = encode(tokenizer, requested, "scripts-label", context=500)
    assert [tokenizer.decode([i]) for i in encoded.label_ids] == [" lion", " wolf"]
    assert whole_lines(encoded)[0, 0] == tokenizer(requested[0].prompt)["input_ids"]
    raw = encode(tokenizer, requested, "scripts-choice", context=500)
    assert len(raw.groups[0].prefix) == 0
    (line,) = raw.groups[0].lines
    for c in range(2):
        here = np.isin(line.continuations, [0, c + 1])
        assert line.reads[line.scored == c].tolist() == np.flatnonzero(here).tolist()


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=6))
def test_common_prefix(sequences: list[list[int]]) -> None:
    n = common_prefix(sequences)
    assert all(s[:n] == sequences[0][:n] for s in sequences)
    longer = {tuple(s[: n + 1]) for s in sequences}
    assert len(longer) > 1 or any(len(s) == n for s in sequences)


def test_prefixes_are_shared_within_demonstrations(tokenizer: PreTrainedTokenizerBase) -> None:
    """Two sets of demonstrations make two groups; every line keeps at least one token."""
    one = [question(i, "cod") for i in range(3)]  # identical prompts
    other = [question(9, "wolf", demonstrations=("text: oak\nlabel : A\n",))]
    encoded = encode(tokenizer, [*one, *other], "label", context=500)
    assert [len(group.lines) for group in encoded.groups if group.lines] == [3, 1]
    assert all(len(line.tokens) >= 1 for group in encoded.groups for line in group.lines)
    assert all(group.prefix.dtype == np.int32 for group in encoded.groups)


def brute_force(
    tokenizer: PreTrainedTokenizerBase, requested: Question, context: int, round_size: int
) -> tuple[str, ...] | None:
    """The demonstrations that fit: one round after the other goes, whole prompts encoded."""
    shown = requested.demonstrations
    while True:
        prompt = "".join(shown) + requested.query
        if max(len(tokenizer(prompt + c)["input_ids"]) for c in requested.candidates) <= context:
            return shown
        if not shown:
            return None
        shown = shown[len(shown) % round_size or round_size :]


def test_dropped_demonstrations_are_those_of_brute_force(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Demonstrations of all lengths, as many dropped as must be and no more."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 41)
    shown = tuple(f"text: {'lion zyx ' * n}\nlabel : A\n" for n in lengths)
    questions = [
        question(i, "cod " * int(n), demonstrations=shown)
        for i, n in enumerate(rng.integers(1, 150, 12))
    ]
    for context, round_size in ((150, 1), (400, 2), (900, 3)):
        expected = [brute_force(tokenizer, q, context, round_size) for q in questions]
        encoded = encode(
            tokenizer,
            questions,
            "label",
            context=context,
            round_size=round_size,
            skip_long=True,
            allow_zero_shot=True,
        )
        kept = {q.index: q.demonstrations for q in encoded.questions}
        assert kept == {i: d for i, d in enumerate(expected) if d is not None}


def test_dropping_is_linear(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 800 demonstrations, what is encoded is a few times what there is."""
    shown = tuple(f"text: {'lion ' * (i % 5 + 1)}\nlabel : A\n" for i in range(800))
    questions = [question(i, "cod " * (i + 1), demonstrations=shown) for i in range(16)]
    characters, call = [0], type(tokenizer).__call__

    def counting(self: Any, text: str | list[str], **options: Any) -> Any:
        characters[0] += sum(map(len, [text] if isinstance(text, str) else text))
        return call(self, text, **options)

    monkeypatch.setattr(type(tokenizer), "__call__", counting)
    encoded = encode(tokenizer, questions, "label", context=300)
    assert encoded.shortened == 16
    assert all(q.demonstrations[-1] == shown[-1] for q in encoded.questions)
    # The first prompt whole with two labels, and one prompt of every number of demonstrations.
    assert characters[0] < 8 * sum(map(len, shown))


def test_prompts_without_any_demonstration(tokenizer: PreTrainedTokenizerBase) -> None:
    """They are not called by the number that was asked for: refused, or allowed and counted."""
    questions = [question(4, "cod"), question(6, "lion " * 40)]
    room = len(tokenizer(questions[1].query + " A")["input_ids"])
    with pytest.raises(UserError, match=r"1 of 2 prompts .* row 6 of test; --allow-zero-shot"):
        encode(tokenizer, questions, "label", context=room)
    encoded = encode(tokenizer, questions, "label", context=room, allow_zero_shot=True)
    assert [len(q.demonstrations) for q in encoded.questions] == [3, 0]
