"""What the model reads of a question: a prompt's end, and its candidates as branches."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from jaxtyping import Int

Scoring = Literal[
    "label tokens", "sequence log-likelihood", "mean log-likelihood", "mean raw logit"
]
"""What a score is. Chosen by the task's rule and by how the labels encode; recorded in a run."""


@dataclass(frozen=True)
class Line:
    """The tokens of one question without the prefix of its group: a prompt's end, then branches.

    Every candidate continues the same prompt, so its tokens stand once, followed by those of
    each candidate; a branch sees the prompt and itself.

    Attributes:
        question: position of the question among those encoded.
        tokens: after the prefix; at least one.
        positions: of the tokens, counted from the prefix's end.
        branches: 0 for the prompt, c + 1 for candidate c.
        reads: columns (in ``tokens``) that are read.
        targets: the token whose log-probability is read there; 0 where something else is.
        candidates: the candidate that each read counts for; 0 where one read tells all.
    """

    question: int
    tokens: Int[np.ndarray, " tokens"]
    positions: Int[np.ndarray, " tokens"]
    branches: Int[np.ndarray, " tokens"]
    reads: Int[np.ndarray, " reads"]
    targets: Int[np.ndarray, " reads"]
    candidates: Int[np.ndarray, " reads"]


@dataclass(frozen=True)
class Group:
    """Lines that begin with the same tokens.

    Attributes:
        prefix: the tokens common to all, possibly none.
        lines: what follows in each.
    """

    prefix: Int[np.ndarray, " prefix"]
    lines: tuple[Line, ...]


def line_of(
    question: int, context: list[int], continuations: list[list[int]], scoring: Scoring
) -> Line:
    """The line of a question.

    Args:
        question: its position among those encoded.
        context: tokens of the prompt after the group's prefix, at least one.
        continuations: tokens of each candidate.
        scoring: what is read.
    """
    last = len(context) - 1
    if scoring == "label tokens":
        return _line(question, context, [[]], [([last], [0])])
    if scoring == "mean raw logit":
        # Every position of prompt and candidate is averaged over; the prompt's count for each.
        whole, reads, column = list(range(len(context))), [], len(context)
        for tokens in continuations:
            columns = [*whole, *range(column, column + len(tokens))]
            reads.append((columns, [0] * len(columns)))
            column += len(tokens)
        return _line(question, context, continuations, reads)
    # A token is told by the position before it: the first by the prompt's last.
    branches, reads, column = [tokens[:-1] for tokens in continuations], [], len(context)
    for tokens in continuations:
        reads.append(([last, *range(column, column + len(tokens) - 1)], tokens))
        column += len(tokens) - 1
    return _line(question, context, branches, reads)


def _line(
    question: int,
    context: list[int],
    branches: list[list[int]],
    reads: list[tuple[list[int], list[int]]],
) -> Line:
    def flat(parts: Iterable[Iterable[int]]) -> Int[np.ndarray, " n"]:
        return np.fromiter(chain.from_iterable(parts), np.int32)

    n = len(context)
    return Line(
        question=question,
        tokens=flat([context, *branches]),
        positions=flat([range(n), *(range(n, n + len(tokens)) for tokens in branches)]),
        branches=flat([[0] * n, *([c] * len(tokens) for c, tokens in enumerate(branches, 1))]),
        reads=flat(columns for columns, _ in reads),
        targets=flat(targets for _, targets in reads),
        candidates=flat([c] * len(columns) for c, (columns, _) in enumerate(reads)),
    )
