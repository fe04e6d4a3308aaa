"""Examples that a truncation turned, with their prompts: as many as a page can hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxsvd.results.predictions import Outcomes, PairedAnswers, QuestionSet, Variant
from jaxsvd.results.prompts import Prompt, read_prompts
from jaxsvd.runtime.progress import Progress

MAX_FLIPS = 3_000
MAX_CHARACTERS = 4_000_000
"""Of all prompts on a page."""
MAX_PROMPT = 20_000
"""Characters of one prompt; the middle of a longer one is left out."""
_HEAD = 4_000

Question = tuple[QuestionSet, int]
"""A set of questions and a row in its source split."""


@dataclass(frozen=True)
class FlippedExample:
    """An example that is right in one of the two variants only."""

    variant: Variant
    index: int
    gold: int
    before: int
    after: int

    @property
    def question(self) -> Question:
        """Which example."""
        return self.variant.questions, self.index


def shares(counts: Sequence[int], limit: int) -> list[int]:
    """How many of each to keep so that there are at most ``limit``: small groups stay whole.

    What they leave is shared evenly by the larger ones; the first get what does not divide.
    """
    kept = [0] * len(counts)
    left = limit
    waiting = sorted((count, i) for i, count in enumerate(counts) if count)
    for place, (count, i) in enumerate(waiting):
        rest = len(waiting) - place
        kept[i] = min(count, -(-left // rest))
        left -= kept[i]
    return kept


def flips_data(
    outcomes: Outcomes, prompts: Path | None, labels: Sequence[str], progress: Progress
) -> dict[str, object] | None:
    """The flips of a run, for its page.

    Args:
        outcomes: the predictions.
        prompts: prompts.jsonl, where there is one.
        labels: words of the candidates, where all questions share them.
        progress: where to show it.

    Returns:
        ``total`` and ``shown`` counts, the ``cells`` (a variant each, with its counts), the
        ``rows`` (number of the cell, index, gold, before, after, number of the text or null), the
        ``texts`` and the ``prefixes`` that they begin with, each once. None where nothing was
        truncated.

    Raises:
        UserError: prompts that are damaged.
    """
    compared = [(v, c) for v in outcomes.truncated() if (c := outcomes.compare(v)) is not None]
    if not compared:
        return None
    chosen, total = _choose(compared)
    questions = dict.fromkeys(flip.question for flip in chosen)
    recorded = _read_prompts(prompts, questions, progress) if prompts else {}
    texts, prefixes = _texts({q: recorded[q] for q in questions if q in recorded})
    number = {question: i for i, question in enumerate(texts)}
    cells = {variant: i for i, (variant, _) in enumerate(compared)}
    return {
        "total": total,
        "shown": len(chosen),
        "cells": [
            variant.questions._asdict()
            | {"module": variant.module, "layer": variant.layer, "rate": variant.rate}
            | ({} if variant.edits is None else {"edits": variant.edits})
            | {"gained": int(c.gained.sum()), "lost": int(c.lost.sum())}
            for variant, c in compared
        ],
        "rows": [
            [cells[f.variant], f.index, f.gold, f.before, f.after, number.get(f.question)]
            for f in chosen
        ],
        "texts": list(texts.values()),
        "prefixes": prefixes,
        "labels": list(labels),
        "prompts_saved": prompts is not None,
        "texts_left_out": len(set(recorded) - set(texts)),
    }


def _choose(compared: list[tuple[Variant, PairedAnswers]]) -> tuple[list[FlippedExample], int]:
    """A fair share of the flips of every variant and direction, the first of each."""
    groups = [(v, c, np.flatnonzero(w)) for v, c in compared for w in (c.gained, c.lost)]
    counts = [len(where) for _, _, where in groups]
    chosen = [
        FlippedExample(
            variant, *(int(values[i]) for values in (c.index, c.gold, c.before, c.after))
        )
        for (variant, c, where), share in zip(groups, shares(counts, MAX_FLIPS), strict=True)
        for i in where[:share]
    ]
    return chosen, sum(counts)


def _read_prompts(
    path: Path, questions: dict[Question, None], progress: Progress
) -> dict[Question, Prompt]:
    """Prompts of the questions asked for."""
    prompts = ((p.questions, p.index, p) for p in read_prompts(path, progress))
    return {(q, index): prompt for q, index, prompt in prompts if (q, index) in questions}


Clipped = dict[str, str | int]
"""A text that may lack its middle: ``head``, how many characters are ``omitted``, ``tail``."""


def _texts(
    recorded: dict[Question, Prompt],
) -> tuple[dict[Question, dict[str, object]], list[Clipped]]:
    """Each prompt once, without the demonstrations that those of its set begin with."""
    by_set: dict[QuestionSet, list[str]] = {}
    for (questions, _), prompt in recorded.items():
        by_set.setdefault(questions, []).append(prompt.prompt)
    prefix = {questions: _shared(prompts) for questions, prompts in by_set.items()}
    places = {questions: i for i, questions in enumerate(prefix)}
    room = MAX_CHARACTERS
    texts = {}
    for (questions, index), prompt in recorded.items():
        text = _clipped(prompt.prompt[len(prefix[questions]) :])
        candidates = [_clipped(candidate) for candidate in prompt.candidates]
        room -= sum(map(_size, (text, *candidates)))
        if room < 0:
            break
        texts[questions, index] = text | {"prefix": places[questions], "candidates": candidates}
    return texts, [_clipped(p) for p in prefix.values()]


def _shared(prompts: list[str]) -> str:
    """The whole lines that all prompts begin with."""
    # What the first and the last in order share, all share.
    first, last = min(prompts), max(prompts)
    differs = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    common = first[: next(differs, len(first))]
    return common[: common.rfind("\n") + 1]


def _clipped(text: str) -> Clipped:
    if len(text) <= MAX_PROMPT:
        return {"head": text, "omitted": 0, "tail": ""}
    tail = text[_HEAD - MAX_PROMPT :]
    return {"head": text[:_HEAD], "omitted": len(text) - MAX_PROMPT, "tail": tail}


def _size(text: Clipped) -> int:
    return len(str(text["head"])) + len(str(text["tail"]))
