"""The bundled task: which of two words labels a handful of words, known from demonstrations alone.

Each question belongs to a pair of categories that the bundled model never saw together. A pair
has demonstrations of its own, and chance decides which of the task's two label words goes with
which category, so nothing but the demonstrations tells. Beside the noise words of the training
language, which the model ignores perfectly, texts hold stray words of other categories, which it
never saw there: without them it makes no mistakes, and nothing could be seen to help.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.base import Prepared, Question
from jaxsvd.tasks.words import (
    CATEGORIES,
    CERTAIN,
    LABELS,
    LONGEST,
    NOISE,
    NOISE_RATE,
    SHORTEST,
    held_out_pairs,
)

SUMMARY = "words of two categories under two label words; made here, needs no network"

SHOTS = 8
MAX_SHOTS = 32
"""33 examples of at most 12 tokens fit the bundled model's context of 512."""

VALIDATION_SIZE, TEST_SIZE = 1_000, 2_000
MAX_SIZE = 20_000
STRAY_RATE = 0.3
"""Share of the words beyond the first two that come from any other category."""

VALIDATION_PAIRS, TEST_PAIRS = 10, 20
"""Pairs of a split in one draw: few, as every pair is a prefix to be computed."""


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A pair of categories by index; category ``c`` of the two has label ``labels[c]``."""

    categories: tuple[int, int]
    labels: tuple[int, int]
    demonstrations: tuple[tuple[int, str], ...]


def prepare(
    *,
    shots: int | None = None,
    seed: int = 0,
    validation_size: int | None = None,
    test_size: int | None = None,
) -> Prepared:
    """Draw the bundled task.

    The held-out pairs (:func:`~jaxsvd.tasks.words.held_out_pairs`) whose number is divisible by
    three are for validation, the others for test; the seed draws 10 and 20 of them, the label
    words, the demonstrations and the texts. Rows go round the pairs, so that smaller sizes are
    the first rows of larger ones and every pair has an equal share; questions of a pair stand
    together, and ``index`` is the row. Fewer shots are the first of more.

    Args:
        shots: demonstrations in all, 0 to 32; 8 if left out.
        seed: 0 or more.
        validation_size: examples, 0 to 20,000; 1,000 if left out.
        test_size: examples, 1 to 20,000; 2,000 if left out.

    Raises:
        UserError: a number out of its range.
    """
    shots = SHOTS if shots is None else shots
    validation_size = VALIDATION_SIZE if validation_size is None else validation_size
    test_size = TEST_SIZE if test_size is None else test_size
    _check("shots", shots, 0, MAX_SHOTS)
    _check("seed", seed, 0, 2**63 - 1)
    _check("validation size", validation_size, 0, MAX_SIZE)
    _check("test size", test_size, 1, MAX_SIZE)

    rng = np.random.default_rng([seed, 0])
    labels = tuple(LABELS[i] for i in rng.permutation(len(LABELS))[:2])
    pairs = held_out_pairs()
    validation = [pairs[i] for i in rng.permutation(range(0, len(pairs), 3))[:VALIDATION_PAIRS]]
    rest = [i for i in range(len(pairs)) if i % 3]
    test = [pairs[i] for i in rng.permutation(rest)[:TEST_PAIRS]]
    return Prepared(
        name="bundled",
        source="bundled",
        protocol="clean",
        rule="label",
        labels=labels,
        shots=shots,
        seed=seed,
        round_size=2,
        validation=_questions("validation", validation, labels, shots, [seed, 1], validation_size),
        test=_questions("test", test, labels, shots, [seed, 2], test_size),
    )


def permuted(prepared: Prepared) -> Prepared:
    """The same questions with the two label words swapped in every demonstration.

    The gold labels stay, so whoever learns from the demonstrations is now always wrong.
    """
    first, second = prepared.labels
    other = {first: second, second: first}

    def swap(demonstration: str) -> str:
        stem, label = demonstration.rstrip("\n").rsplit(" ", 1)
        return f"{stem} {other[label]}\n"

    def swapped(questions: Sequence[Question]) -> tuple[Question, ...]:
        return tuple(
            dataclasses.replace(q, demonstrations=tuple(swap(d) for d in q.demonstrations))
            for q in questions
        )

    return dataclasses.replace(
        prepared, validation=swapped(prepared.validation), test=swapped(prepared.test)
    )


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UserError(f"{name} = {value}: the bundled task takes {least:,} to {most:,}")


def _questions(
    split: str,
    pairs: Sequence[tuple[int, int]],
    labels: tuple[str, ...],
    shots: int,
    seed: list[int],
    size: int,
) -> tuple[Question, ...]:
    seen: set[str] = set()
    drawn = [_pair(np.random.default_rng([*seed, n]), pair, seen) for n, pair in enumerate(pairs)]
    prefixes = [
        tuple(
            f"{_query(text)} {labels[pair.labels[which]]}\n"
            for which, text in pair.demonstrations[:shots]
        )
        for pair in drawn
    ]
    rng = np.random.default_rng([*seed, len(pairs)])
    orders = [0] * len(pairs)
    of_pair: list[list[Question]] = [[] for _ in pairs]
    for row in range(size):
        n = row % len(pairs)
        if len(of_pair[n]) % 2 == 0:  # every two questions of a pair have both labels
            orders[n] = int(rng.integers(2))
        which = (orders[n] + len(of_pair[n])) % 2
        text = _new_text(rng, drawn[n].categories[which], seen)
        of_pair[n].append(
            Question(
                split=split,
                index=row,
                demonstrations=prefixes[n],
                query=_query(text),
                candidates=tuple(f" {label}" for label in labels),
                gold=drawn[n].labels[which],
            )
        )
    return tuple(question for questions in of_pair for question in questions)


def _pair(rng: np.random.Generator, categories: tuple[int, int], seen: set[str]) -> _Pair:
    first = int(rng.integers(2))
    demonstrations: list[tuple[int, str]] = []
    # All that any number of shots may ask for, so that fewer are the first of more.
    while len(demonstrations) < MAX_SHOTS:
        start = int(rng.integers(2))
        demonstrations += [
            (which, _new_text(rng, categories[which], seen)) for which in (start, 1 - start)
        ]
    return _Pair(categories, (first, 1 - first), tuple(demonstrations))


def _query(text: str) -> str:
    return f"text: {text}\nlabel :"


_WORDS = tuple(CATEGORIES.values())


def _new_text(rng: np.random.Generator, category: int, seen: set[str]) -> str:
    """Words of the category with noise among them; a text not in ``seen``, which it joins."""
    others = [c for c in range(len(_WORDS)) if c != category]
    while True:
        length = int(rng.integers(SHORTEST, LONGEST + 1))
        words = [_WORDS[category][i] for i in rng.permutation(len(_WORDS[category]))[:length]]
        for slot in range(CERTAIN, length):
            if rng.random() < NOISE_RATE:
                words[slot] = NOISE[rng.integers(len(NOISE))]
            elif rng.random() < STRAY_RATE:
                words[slot] = str(rng.choice(_WORDS[int(rng.choice(others))]))
        text = " ".join(words[i] for i in rng.permutation(length))
        if text not in seen:
            seen.add(text)
            return text
