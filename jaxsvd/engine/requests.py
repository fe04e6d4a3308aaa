"""What the engine scores: token ids of a context, and of what might continue it.

Requests that begin alike are grouped, and every one becomes a line: the tokens that are its own,
and where in them something is read.
"""

import functools
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import numpy as np
from jaxtyping import Int

Scoring = Literal[
    "label tokens",
    "sequence log-likelihood",
    "mean log-likelihood",
    "log-likelihood and shortfall",
    "mean raw logit",
]
"""What a score is. Chosen by the task's rule and by how the labels encode; recorded in a run.

``label tokens``: the logit of a single token right after the context. ``sequence log-likelihood``:
the sum of a continuation's log-probabilities; ``mean``: by its number of tokens.
``log-likelihood and shortfall``: these sums, and after those of all continuations, for each the sum
of its tokens' logits less the largest there: 0 exactly where greedy decoding writes it. ``mean raw
logit``: the mean of the logits over the whole vocabulary and all positions of context and
continuation, as the reference scripts score choices.
"""


@dataclass(frozen=True)
class Request:
    """A context and what might continue it, to be scored.

    Attributes:
        context: token ids, at least one.
        continuations: token ids of each, any number of them; one token each for ``label tokens``,
            at least one for log-likelihoods.
        kind: what a score is.
        family: requests of one family are expected to begin alike, such as those that share their
            demonstrations: the tokens that all contexts of it share are computed once.

    Raises:
        ValueError: an empty context, no continuation, or one of a length that the kind forbids.
    """

    context: Int[np.ndarray, " tokens"] | Sequence[int]
    continuations: Sequence[Sequence[int]]
    kind: Scoring = "sequence log-likelihood"
    family: Hashable = None
    before: Int[np.ndarray, " before"] | Sequence[int] = ()

    def __post_init__(self) -> None:
        if not len(self.context) and not len(self.before):
            raise ValueError("a request's context needs at least one token")
        if not self.continuations:
            raise ValueError("a request needs at least one continuation")
        if self.kind == "label tokens" and any(len(tokens) != 1 for tokens in self.continuations):
            raise ValueError("label tokens are one token each")
        if "log-likelihood" in self.kind and not all(map(len, self.continuations)):
            raise ValueError("a continuation without tokens has no log-likelihood")

    @property
    def labels(self) -> tuple[int, ...]:
        """The label tokens, where they are what is read."""
        label = self.kind == "label tokens"
        return tuple(int(tokens[0]) for tokens in self.continuations) if label else ()


@dataclass(frozen=True)
class Line:
    """The tokens of one request without the prefix of its group: a context's end, then more.

    Every continuation follows the same context, so its tokens stand once, followed by those of
    each continuation, which sees the context and itself.

    Attributes:
        request: its position among those scored.
        tokens: after the prefix; at least one.
        positions: of the tokens, counted from the prefix's end.
        continuations: 0 for the context, c + 1 for continuation c.
        reads: columns (in ``tokens``) that are read.
        targets: the token whose log-probability is read there; 0 where something else is.
        scored: the continuation that each read counts for; 0 where one read tells all.
        count: how many continuations there are.
    """

    request: int
    tokens: Int[np.ndarray, " tokens"]
    positions: Int[np.ndarray, " tokens"]
    continuations: Int[np.ndarray, " tokens"]
    reads: Int[np.ndarray, " reads"]
    targets: Int[np.ndarray, " reads"]
    scored: Int[np.ndarray, " reads"]
    count: int


@dataclass(frozen=True)
class Group:
    """Lines that begin with the same tokens and are scored in the same way.

    Attributes:
        prefix: the tokens common to all, possibly none.
        lines: what follows in each.
        kind: what their scores are.
        labels: the tokens whose logits are read, for ``label tokens``.
    """

    prefix: Int[np.ndarray, " prefix"]
    lines: tuple[Line, ...]
    kind: Scoring
    labels: tuple[int, ...] = ()


def grouped(requests: Sequence[Request]) -> tuple[Group, ...]:
    """Requests by family, kind and label tokens, and what their contexts share."""
    alike: dict[tuple[Hashable, Scoring, tuple[int, ...]], list[int]] = {}
    for i, request in enumerate(requests):
        alike.setdefault((request.family, request.kind, request.labels), []).append(i)
    groups = []
    for (_, kind, labels), members in alike.items():
        before, contexts = _contexts([requests[i] for i in members], kind)
        # At least one token of every context stays with its line: the scores are read there.
        n = min(common_prefix(contexts), min(map(len, contexts)) - 1)
        n = 0 if kind == "mean raw logit" else n  # there the prefix is averaged over too
        lines = tuple(
            line_of(i, context[n:], requests[i].continuations, kind)
            for i, context in zip(members, contexts, strict=True)
        )
        prefix = contexts[0][:n]
        prefix = np.concatenate([before, prefix]) if len(before) else prefix
        groups.append(Group(prefix, lines, kind, labels))
    return tuple(groups)


def _contexts(
    requests: Sequence[Request], kind: Scoring
) -> tuple[Int[np.ndarray, " before"], list[Int[np.ndarray, "_"]]]:
    """What is known to be shared by all contexts, and the rest of each."""
    before = requests[0].before
    shared = all(r.before is before and len(r.context) for r in requests)
    contexts = [np.asarray(r.context, np.int32) for r in requests]
    if shared and kind != "mean raw logit":
        return np.asarray(before, np.int32), contexts
    whole = [
        np.concatenate([np.asarray(r.before, np.int32), context])
        for r, context in zip(requests, contexts, strict=True)
    ]
    return np.zeros(0, np.int32), whole


def only(groups: Iterable[Group], requests: Collection[int]) -> tuple[Group, ...]:
    """The lines of some of the requests; each keeps its group's prefix, and its position."""
    wanted = set(requests)
    kept = (
        replace(group, lines=tuple(line for line in group.lines if line.request in wanted))
        for group in groups
    )
    return tuple(group for group in kept if group.lines)


def common_prefix(sequences: Sequence[list[int] | Int[np.ndarray, "_"]]) -> int:
    """How many first tokens all sequences share."""
    n = min(map(len, sequences))
    first = np.asarray(sequences[0][:n])
    for start in range(1, len(sequences), _COMPARED):
        rows = np.array([sequence[:n] for sequence in sequences[start : start + _COMPARED]])
        differ = np.flatnonzero((rows != first[:n]).any(0))
        n = int(differ[0]) if len(differ) else n
    return n


_COMPARED = 256
"""Sequences compared at a time."""


def line_of(
    request: int,
    context: Sequence[int] | Int[np.ndarray, " tokens"],
    continuations: Sequence[Sequence[int]],
    kind: Scoring,
) -> Line:
    """The line of a request.

    Args:
        request: its position among those scored.
        context: tokens after the group's prefix, at least one.
        continuations: tokens of each.
        kind: what is read.
    """
    last, count = len(context) - 1, len(continuations)
    if kind == "label tokens":
        tokens = np.asarray(context, np.int32)
        positions, nowhere, reads = _label_columns(last + 1)
        return Line(request, tokens, positions, nowhere, reads, _ZERO, _ZERO, count)
    context = [int(token) for token in context]
    if kind == "mean raw logit":
        # Every position of context and continuation is averaged over; the context's for each.
        whole, reads, column = list(range(len(context))), [], len(context)
        for tokens in continuations:
            columns = [*whole, *range(column, column + len(tokens))]
            reads.append((columns, [0] * len(columns)))
            column += len(tokens)
        return _line(request, context, continuations, reads, count)
    # A token is predicted by the position before it: the first by the context's last.
    seen, reads, column = [tokens[:-1] for tokens in continuations], [], len(context)
    for tokens in continuations:
        reads.append(([last, *range(column, column + len(tokens) - 1)], tokens))
        column += len(tokens) - 1
    return _line(request, context, seen, reads, count)


_ZERO = np.zeros(1, np.int32)


@functools.lru_cache(maxsize=4096)
def _label_columns(
    length: int,
) -> tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"], Int[np.ndarray, "_"]]:
    """Positions, continuations and reads of a line that is read at its end: shared by many."""
    return np.arange(length, dtype=np.int32), np.zeros(length, np.int32), np.array([length - 1])


def _line(
    request: int,
    context: list[int],
    continuations: Sequence[Sequence[int]],
    reads: Sequence[tuple[Sequence[int], Sequence[int]]],
    count: int,
) -> Line:
    def flat(parts: Iterable[Iterable[int]]) -> Int[np.ndarray, " n"]:
        return np.fromiter(chain.from_iterable(parts), np.int32)

    n, own = len(context), [len(tokens) for tokens in continuations]
    return Line(
        request=request,
        tokens=flat([context, *continuations]),
        positions=flat([range(n), *(range(n, n + length) for length in own)]),
        continuations=flat([[0] * n, *([c] * length for c, length in enumerate(own, 1))]),
        reads=flat(columns for columns, _ in reads),
        targets=flat(targets for _, targets in reads),
        scored=flat([c] * len(columns) for c, (columns, _) in enumerate(reads)),
        count=count,
    )
