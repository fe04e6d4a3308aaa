"""Examples that a truncation turned, with their prompts: as many as a page can hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxsvd.results.predictions import Comparison, Draw, Outcomes, Variant
from jaxsvd.results.read import read_lines
from jaxsvd.runs.directory import Record
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress

MAX_FLIPS = 3_000
MAX_CHARACTERS = 4_000_000
"""Of all prompts on a page."""
MAX_PROMPT = 20_000
"""Characters of one prompt; the middle of a longer one is left out."""
_HEAD = 4_000

Question = tuple[Draw, int]
"""A draw and a row in its source split."""


@dataclass(frozen=True)
class Flip:
    """An example that is right in one of the two variants only."""

    variant: Variant
    index: int
    gold: int
    before: int
    after: int

    @property
    def question(self) -> Question:
        """Which example."""
        return self.variant.draw, self.index


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


def flips_record(
    outcomes: Outcomes, prompts: Path | None, labels: Sequence[str], progress: Progress
) -> Record | None:
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
    asked = dict.fromkeys(flip.question for flip in chosen)
    found = _read_prompts(prompts, asked, progress) if prompts else {}
    texts, prefixes = _texts({q: found[q] for q in asked if q in found})
    number = {question: i for i, question in enumerate(texts)}
    cells = {variant: i for i, (variant, _) in enumerate(compared)}
    return {
        "total": total,
        "shown": len(chosen),
        "cells": [
            variant.draw._asdict()
            | {"module": variant.module, "layer": variant.layer, "rate": variant.rate}
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
        "texts_left_out": len(set(found) - set(texts)),
    }


def _choose(compared: list[tuple[Variant, Comparison]]) -> tuple[list[Flip], int]:
    """A fair share of the flips of every variant and direction, the first of each."""
    groups = [(v, c, np.flatnonzero(w)) for v, c in compared for w in (c.gained, c.lost)]
    counts = [len(where) for _, _, where in groups]
    chosen = [
        Flip(variant, *(int(values[i]) for values in (c.index, c.gold, c.before, c.after)))
        for (variant, c, where), share in zip(groups, shares(counts, MAX_FLIPS), strict=True)
        for i in where[:share]
    ]
    return chosen, sum(counts)


def _read_prompts(
    path: Path, asked: dict[Question, None], progress: Progress
) -> dict[Question, tuple[str, list[str]]]:
    """Prompts and candidates of the questions asked for."""
    found = {}
    for number, record in read_lines(path, "prompts", progress):
        draw = Draw(str(record.get("split")), record.get("shots"), record.get("seed"))
        question = draw, record.get("index")
        if question not in asked:
            continue
        prompt, candidates = record.get("prompt"), record.get("choices", record.get("labels", []))
        if not isinstance(prompt, str) or not isinstance(candidates, list):
            raise UserError(f"{path}, line {number}: damaged: not a prompt")
        found[question] = prompt, [str(candidate) for candidate in candidates]
    return found


def _texts(
    found: dict[Question, tuple[str, list[str]]],
) -> tuple[dict[Question, Record], list[Record]]:
    """Each prompt once, without the demonstrations that those of its draw begin with."""
    by_draw: dict[Draw, list[str]] = {}
    for (draw, _), (prompt, _) in found.items():
        by_draw.setdefault(draw, []).append(prompt)
    prefix = {draw: _shared(prompts) for draw, prompts in by_draw.items()}
    places = {draw: i for i, draw in enumerate(prefix)}
    room = MAX_CHARACTERS
    texts = {}
    for question, (prompt, candidates) in found.items():
        text = _clipped(prompt[len(prefix[question[0]]) :]) | {
            "prefix": places[question[0]],
            "candidates": [_clipped(candidate) for candidate in candidates],
        }
        room -= _size(text) + sum(map(_size, text["candidates"]))
        if room < 0:
            break
        texts[question] = text
    return texts, [_clipped(p) for p in prefix.values()]


def _shared(prompts: list[str]) -> str:
    """The whole lines that all prompts begin with."""
    # What the first and the last in order share, all share.
    first, last = min(prompts), max(prompts)
    differs = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    common = first[: next(differs, len(first))]
    return common[: common.rfind("\n") + 1]


def _clipped(text: str) -> dict[str, Any]:
    if len(text) <= MAX_PROMPT:
        return {"head": text, "omitted": 0, "tail": ""}
    tail = text[_HEAD - MAX_PROMPT :]
    return {"head": text[:_HEAD], "omitted": len(text) - MAX_PROMPT, "tail": tail}


def _size(text: dict[str, Any]) -> int:
    return len(text["head"]) + len(text["tail"])
