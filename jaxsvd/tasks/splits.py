"""Who demonstrates, who validates and who tests, in the ``clean`` protocol.

All draws come from ``numpy.random.default_rng`` with the user's seed and a stream number, so that
they do not move each other:

- Demonstrations: each class in a random order, interleaved in label order; ``shots`` takes the
  first so many. A row whose text occurs anywhere else in the data read never demonstrates.
- The first ``max(shots, default shots)`` rows of that sequence are set aside, so up to the
  default number of shots validation and test are the same whatever the shots.
- What remains of train is the pool. Validation is the head of a random order of the pool; a test
  set that comes from train (SST-2) is the tail of it, taken from the end. A split of its own is
  put in random order and its head is taken. A smaller size is thus the beginning of a larger.
"""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.sources import Splits
from jaxsvd.tasks.specs import Row, TaskSpec

DEFAULT_SIZE = 2_000
"""Rows of validation and of test, at most, where nobody says how many. No more than the paper's."""

_DEMONSTRATIONS, _POOL, _VALIDATION, _TEST = range(4)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the user asked for; ``None`` is the task's default.

    Attributes:
        shots: demonstrations in all.
        validation: rows that choose the rate.
        test: rows that report it.
    """

    shots: int | None = None
    validation: int | None = None
    test: int | None = None


@dataclasses.dataclass(frozen=True)
class Draw:
    """Rows by their use.

    Attributes:
        demonstrations: in the order shown.
        validation: in the order of their draw.
        test: in the order of their draw.
        notices: a line for each default that had to shrink.
    """

    demonstrations: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    notices: tuple[str, ...]


def draw(spec: TaskSpec, splits: Splits, *, seed: int, sizes: Sizes) -> Draw:
    """Draws demonstrations, validation and test (the paper's Appendix C.3, by default).

    Args:
        spec: the task.
        splits: its rows; without the validation split, validation comes from train.
        seed: at least 0.
        sizes: what was asked for.

    Returns:
        The rows. None is used twice, and no demonstration has the text of another row.

    Raises:
        UserError: an explicit size that the data can't meet, or too little data for any.
    """
    notices: list[str] = []
    train = splits["train"]
    # None: the rows come from train.
    validation, test = (
        None if split == "train" else splits.get(split)
        for split in (spec.validation_split, spec.test_split)
    )
    if validation is None and spec.validation_split != "train":
        notices.append(f"{spec.name}: no validation split; its rows are drawn from train")
    needed = 0 if validation is not None else sizes.validation or 1
    needed += 0 if test is not None else sizes.test or 1
    if needed > len(train):
        raise UserError(
            f"{spec.name}: validation and test need {needed:,} rows of train, which has"
            f" {len(train):,}"
        )
    sequence, shots = _demonstrations(spec, splits, seed, sizes.shots, needed, notices)
    taken = {row.index for row in sequence}
    pool = tuple(row for row in _shuffled(train, seed, _POOL) if row.index not in taken)

    if validation is not None:
        rows, room = _shuffled(validation, seed, _VALIDATION), len(validation)
    else:
        rows, room = pool, _room_for_validation(len(pool), test is None, sizes)
    size = _size(spec, "validation", sizes.validation, room, notices)
    drawn_validation = rows[:size]

    if test is not None:
        rows = _shuffled(test, seed, _TEST)
    else:
        rows = (pool[size:] if validation is None else pool)[::-1]
    size = _size(spec, "test", sizes.test, len(rows), notices)
    return Draw(sequence[:shots], drawn_validation, rows[:size], tuple(notices))


def _room_for_validation(pool: int, shared: bool, sizes: Sizes) -> int:
    """How many rows of the pool validation may take; ``shared``: the test set needs some."""
    if not shared:
        return pool
    if sizes.validation is None and sizes.test is None:
        # Out of little data the default validation would leave the test set a single row.
        return max(1, pool // 2)
    return pool - (sizes.test or 1)


def _shuffled(rows: Sequence[Row], seed: int, *stream: int) -> tuple[Row, ...]:
    order = np.random.default_rng([seed, *stream]).permutation(len(rows))
    return tuple(rows[i] for i in order)


def _size(
    spec: TaskSpec,
    what: Literal["validation", "test"],
    requested: int | None,
    available: int,
    notices: list[str],
) -> int:
    default = spec.validation_size if what == "validation" else spec.test_size
    if requested is not None:
        if requested > available:
            raise UserError(
                f"{spec.name}: a {what} size of {requested:,} was asked for,"
                f" the data has {available:,} rows for it"
            )
        return requested
    if default is None:
        paper = getattr(spec.paper, what, DEFAULT_SIZE)
        return min(DEFAULT_SIZE, paper, available)
    if default > available:
        notices.append(
            f"{spec.name}: {available:,} {what} rows instead of the default {default:,}:"
            " the data is small"
        )
    return min(default, available)


def _demonstrations(
    spec: TaskSpec,
    splits: Splits,
    seed: int,
    requested: int | None,
    needed: int,
    notices: list[str],
) -> tuple[tuple[Row, ...], int]:
    """The rows set aside, in the order shown, and how many of them are shown."""
    queues = [
        _shuffled(rows, seed, _DEMONSTRATIONS, label)
        for label, rows in enumerate(_eligible(spec, splits))
    ]
    count = len(queues)
    # Position i shows class i % count, so class c runs out at position c + count * its rows.
    limit = min(
        len(splits["train"]) - needed,
        *(label + count * len(queue) for label, queue in enumerate(queues)),
    )
    default = spec.shots if spec.shots <= limit else limit // count * count
    if requested is None and default < spec.shots:
        if default == 0:
            raise UserError(_too_few(spec, f"{count} demonstrations, one of each class,", queues))
        notices.append(
            f"{spec.name}: {default} demonstrations instead of the default {spec.shots}:"
            " the data is small"
        )
    shots = default if requested is None else requested
    if shots > limit:
        raise UserError(_too_few(spec, f"{shots} demonstrations", queues))
    reserved = max(shots, default)
    return tuple(queues[i % count][i // count] for i in range(reserved)), shots


def _eligible(spec: TaskSpec, splits: Splits) -> list[list[Row]]:
    """The rows of train whose text occurs once in all the data, by label."""

    def text(row: Row) -> tuple[str, ...]:
        return tuple(" ".join(row.fields[name].split()) for name in spec.fields)

    times = collections.Counter(text(row) for rows in splits.values() for row in rows)
    by_label: dict[int, list[Row]] = {label: [] for label in spec.demonstrated}
    for row in splits["train"]:
        if times[text(row)] == 1:
            by_label[spec.label_of[row.label]].append(row)
    return list(by_label.values())


def _too_few(spec: TaskSpec, wanted: str, queues: list[tuple[Row, ...]]) -> str:
    counts = ", ".join(
        f"{spec.labels[label]}: {len(queue):,}"
        for label, queue in zip(spec.demonstrated, queues, strict=True)
    )
    return (
        f"{spec.name}: {wanted} can't be drawn beside validation and test;"
        f" rows of train whose text occurs once, by label: {counts}"
    )
