"""Many short lines in rows of one fixed length, so that little is computed for padding.

A row holds several lines, distinguished by segment numbers; attention is block-diagonal within a
row, plus the prefix that all lines share. This module is the one place that decides shapes: one
batch shape for a group of lines, whatever their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from jaxsvd.engine.requests import Group, Line

ROW = 16
"""Row lengths are multiples of this, so that few shapes are ever compiled."""


_SAMPLE = 500
"""Lines that are packed to choose a row length."""

_ATTENTION = 2.5
"""Time of an operation in attention, relative to one in a product of matrices (measured)."""


@dataclass(frozen=True)
class Shape:
    """What is compiled: rows of a batch, tokens of a row, positions read in a row."""

    rows: int
    tokens: int
    reads: int


@dataclass(frozen=True)
class Batch:
    """Rows of packed lines. Padding has segment 0; lines count from 1 within a row.

    Attributes:
        tokens, segments: of every column.
        positions, continuations: as in :class:`~jaxsvd.engine.requests.Line`.
        reads: column that is read, at each read slot of a row.
        targets, scored: of each read slot, as in a line.
        lines: position of the line (in its group) that a read slot belongs to, -1 if unused.
    """

    tokens: Int[np.ndarray, "rows tokens"]
    segments: Int[np.ndarray, "rows tokens"]
    positions: Int[np.ndarray, "rows tokens"]
    continuations: Int[np.ndarray, "rows tokens"]
    reads: Int[np.ndarray, "rows reads"]
    targets: Int[np.ndarray, "rows reads"]
    scored: Int[np.ndarray, "rows reads"]
    lines: Int[np.ndarray, "rows reads"]


def round_up(n: int, multiple: int) -> int:
    """The least multiple that is at least ``n``."""
    return -(-n // multiple) * multiple


def padded_length(n: int) -> int:
    """The length that a prefix of n tokens is padded to: one of few, at most an eighth more."""
    octave = 1 << max(n - 1, 1).bit_length()
    return max(round_up(n, max(16, octave // 16)), 16)


def choose_shape(groups: Sequence[Group], token_budget: int, *, width: int = 1024) -> Shape:
    """One shape for all groups of a run.

    Long rows leave less room at their ends, but compute more attention between lines that do not
    see each other: of a few lengths the one that makes a sample cheapest is taken. The few lines
    of a set that are far longer than the rest do not count (:func:`pack` gives them rows of their
    own). A batch has about ``token_budget`` tokens, or fewer if the typical group would not fill
    half of it; reads are as many per token as the lines ask for, with a margin.

    Args:
        groups: all lines of a run.
        token_budget: of a batch.
        width: of the model: a token costs 24 width^2 operations in the matrices of a layer, and
            4 width for each position that its row attends to.
    """
    lines = [line for group in groups for line in group.lines]
    lengths = np.array([len(line.tokens) for line in lines])
    usual = int(np.quantile(lengths, 0.98, method="lower"))
    sample = np.sort(lengths[lengths <= usual][:_SAMPLE])[::-1]
    prefix = int(np.median([len(group.prefix) for group in groups]))

    def cost(tokens: int) -> float:
        rows: list[int] = []
        for length in sample:
            fitting = [r for r, left in enumerate(rows) if left >= length]
            best = min(fitting, key=rows.__getitem__) if fitting else len(rows)
            rows[best:] = [(rows[best] if fitting else tokens) - length, *rows[best + 1 :]]
        attention = _ATTENTION * (prefix + tokens) / (6 * width)
        return len(rows) * tokens * (1 + attention)

    step = max(ROW, round_up(usual // 4, ROW))
    tokens = min((round_up(usual, ROW) + n * step for n in range(10)), key=cost)
    if usual < lengths.max() <= 2 * tokens:
        tokens = max(tokens, round_up(int(lengths.max()), ROW))
    per_group = int(np.median([sum(len(line.tokens) for line in g.lines) for g in groups]))
    rows = max(1, token_budget // tokens)
    while rows > 1 and (rows // 2) * tokens >= per_group:
        rows //= 2
    density = sum(len(line.reads) for line in lines) / int(lengths.sum())
    short = (len(line.reads) for line in lines if len(line.tokens) <= tokens)
    return Shape(rows, tokens, round_up(max(int(1.5 * density * tokens), *short), 4))


def pack(lines: Sequence[Line], shape: Shape, *, rows_multiple: int = 1) -> list[Batch]:
    """Lines into batches, longest first, each in the fullest row that has room.

    Args:
        lines: of one group.
        shape: of the batches; see :func:`choose_shape`. Lines that do not fit in such a row come
            last, in batches of a shape of their own.
        rows_multiple: what the rows of every batch are a multiple of; those beyond the shape's
            stay empty.
    """
    shape = replace(shape, rows=round_up(shape.rows, rows_multiple))
    fits = [len(n.tokens) <= shape.tokens and len(n.reads) <= shape.reads for n in lines]
    short = [i for i, fit in enumerate(fits) if fit]
    long = [i for i, fit in enumerate(fits) if not fit]
    batches = _batches(lines, short, shape)
    if long:
        tokens = max(padded_length(max(len(lines[i].tokens) for i in long)), shape.tokens)
        reads = max(round_up(max(len(lines[i].reads) for i in long), 4), shape.reads)
        rows = round_up(max(1, shape.rows * shape.tokens // tokens), rows_multiple)
        batches += _batches(lines, long, Shape(rows, tokens, reads))
    return batches


def _batches(lines: Sequence[Line], chosen: Sequence[int], shape: Shape) -> list[Batch]:
    """Some of the lines, each fitting in a row, best fit decreasing."""
    rows: list[list[int]] = []
    reads_left: list[int] = []
    with_room: list[list[int]] = [[] for _ in range(shape.tokens + 1)]  # rows by free tokens
    for i in sorted(chosen, key=lambda i: -len(lines[i].tokens)):
        need, reads = len(lines[i].tokens), len(lines[i].reads)
        room = next(
            (
                n
                for n in range(need, shape.tokens + 1)
                for r in with_room[n][-1:]
                if reads_left[r] >= reads
            ),
            None,
        )
        if room is None:
            r, room = len(rows), shape.tokens
            rows.append([])
            reads_left.append(shape.reads)
        else:
            r = with_room[room].pop()
        rows[r].append(i)
        reads_left[r] -= reads
        with_room[room - need].append(r)
    # Examples are finished in the order they were given, as far as packing allows.
    rows.sort(key=min)
    return [
        _fill(lines, rows[start : start + shape.rows], shape)
        for start in range(0, len(rows), shape.rows)
    ]


def _fill(lines: Sequence[Line], rows: Sequence[Sequence[int]], shape: Shape) -> Batch:
    def zeros(width: int) -> Int[np.ndarray, "rows width"]:
        return np.zeros((shape.rows, width), np.int32)

    tokens, segments, positions, continuations = (zeros(shape.tokens) for _ in range(4))
    reads, targets, scored = (zeros(shape.reads) for _ in range(3))
    owners = zeros(shape.reads) - 1
    for r, row in enumerate(rows):
        column = slot = 0
        for segment, i in enumerate(sorted(row), start=1):
            line = lines[i]
            columns = slice(column, column + len(line.tokens))
            tokens[r, columns] = line.tokens
            segments[r, columns] = segment
            positions[r, columns] = line.positions
            continuations[r, columns] = line.continuations
            slots = slice(slot, slot + len(line.reads))
            reads[r, slots] = column + line.reads
            targets[r, slots] = line.targets
            scored[r, slots] = line.scored
            owners[r, slots] = i
            column, slot = columns.stop, slots.stop
    return Batch(tokens, segments, positions, continuations, reads, targets, scored, owners)
