"""Packing: every line once, whole, in one place, whatever the shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsvd.engine.packing import ROW, choose_shape, pack
from jaxsvd.engine.requests import Group, Line, line_of


def make_line(i: int, length: int, follow: list[int]) -> Line:
    """A line with that many tokens of prompt, and candidates of those lengths or label tokens."""
    context = [1 + (7 * i + j) % 89 for j in range(length)]
    if not follow:
        return line_of(i, context, [[1]], "label tokens")
    continuations = [[1 + (5 * i + c + j) % 89 for j in range(n)] for c, n in enumerate(follow)]
    return line_of(i, context, continuations, "mean log-likelihood")


lengths = st.tuples(
    st.one_of(st.integers(1, 40), st.integers(1, 500)), st.lists(st.integers(1, 9), max_size=3)
)


@given(
    lengths=st.lists(lengths, min_size=1, max_size=60),
    budget=st.sampled_from([1, 64, 500, 4096]),
)
def test_every_line_is_packed_once(lengths: list[tuple[int, list[int]]], budget: int) -> None:
    lines = tuple(make_line(i, *length) for i, length in enumerate(lengths))
    shape = choose_shape([Group(np.zeros(0, np.int32), lines, "label tokens")], budget)
    assert shape.tokens % ROW == 0
    seen = []
    batches = pack(lines, shape)
    assert len({(*batch.tokens.shape, *batch.reads.shape) for batch in batches}) <= 2
    for batch in batches:
        rows, tokens = batch.tokens.shape
        if tokens == shape.tokens:
            assert (rows, tokens) == (shape.rows, shape.tokens)
            assert batch.reads.shape == batch.lines.shape == (shape.rows, shape.reads)
        for r in range(rows):
            for i in sorted({int(i) for i in batch.lines[r] if i >= 0}):
                slots = batch.lines[r] == i
                reads = batch.reads[r][slots]
                segment = batch.segments[r] == batch.segments[r, reads[0]]
                start = np.flatnonzero(segment)[0]
                for name in ("tokens", "positions", "continuations"):
                    np.testing.assert_array_equal(
                        getattr(batch, name)[r][segment], getattr(lines[i], name)
                    )
                np.testing.assert_array_equal(reads - start, lines[i].reads)
                for name in ("targets", "scored"):
                    np.testing.assert_array_equal(
                        getattr(batch, name)[r][slots], getattr(lines[i], name)
                    )
                seen.append(i)
            assert np.all(batch.tokens[r][batch.segments[r] == 0] == 0)
    assert sorted(seen) == list(range(len(lines)))


def test_one_long_line_does_not_lengthen_every_row() -> None:
    nothing = np.zeros(0, np.int32)
    lengths = [20] * 200 + [1900]
    lines = tuple(make_line(i, length, []) for i, length in enumerate(lengths))
    shape = choose_shape([Group(nothing, lines, "label tokens")], 512)
    assert shape.tokens <= 100
    *short, long = pack(lines, shape)
    assert {batch.tokens.shape for batch in short} == {(shape.rows, shape.tokens)}
    assert long.tokens.shape == (1, 1920)
    assert (long.segments > 0).sum() == 1900


@pytest.mark.long
def test_little_padding() -> None:
    """Suffixes as in the paper's tasks fill their rows to more than nine tenths."""
    rng = np.random.default_rng(0)
    nothing = np.zeros(0, np.int32)
    lines = tuple(
        line_of(i, [1] * int(n), [[1]], "label tokens")
        for i, n in enumerate(rng.integers(10, 40, 2000))
    )
    shape = choose_shape([Group(nothing, lines, "label tokens")], 2048)
    batches = pack(lines, shape)
    filled = sum(int((batch.segments > 0).sum()) for batch in batches)
    assert filled / (len(batches) * shape.rows * shape.tokens) > 0.9
