"""Packing: every line once, whole, in one place, whatever the shape."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsvd.scoring.encoding import Group, Line
from jaxsvd.scoring.packing import ROW, choose_shape, pack


@st.composite
def lines(draw: st.DrawFn) -> tuple[Line, ...]:
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    made = []
    for i, length in enumerate(draw(st.lists(st.integers(1, 150), min_size=1, max_size=60))):
        reads = int(rng.integers(1, length + 1)) if draw(st.booleans()) else 1
        tokens = rng.integers(1, 90, length).astype(np.int32)
        targets = rng.integers(1, 90, reads).astype(np.int32)
        made.append(Line(i, 0, tokens, reads, targets))
    return tuple(made)


@given(lines=lines(), budget=st.sampled_from([1, 64, 500, 4096]))
@settings(deadline=None)
def test_every_line_is_packed_once(lines: tuple[Line, ...], budget: int) -> None:
    shape = choose_shape([Group(np.zeros(0, np.int32), lines)], budget)
    assert shape.tokens % ROW == 0
    seen = []
    for batch in pack(lines, shape):
        assert batch.tokens.shape == (shape.rows, shape.tokens)
        assert batch.reads.shape == batch.lines.shape == (shape.rows, shape.reads)
        for r in range(shape.rows):
            for i in sorted({int(i) for i in batch.lines[r] if i >= 0}):
                slots = batch.lines[r] == i
                reads = batch.reads[r][slots]
                segment = batch.segments[r] == batch.segments[r, reads[0]]
                np.testing.assert_array_equal(batch.tokens[r][segment], lines[i].tokens)
                np.testing.assert_array_equal(
                    batch.positions[r][segment], np.arange(len(lines[i].tokens))
                )
                last = np.flatnonzero(segment)[-lines[i].reads :]
                np.testing.assert_array_equal(reads, last)
                np.testing.assert_array_equal(batch.targets[r][slots], lines[i].targets)
                seen.append(i)
            assert np.all(batch.tokens[r][batch.segments[r] == 0] == 0)
    assert sorted(seen) == list(range(len(lines)))


def test_little_padding() -> None:
    """Suffixes as in the paper's tasks fill their rows to more than nine tenths."""
    rng = np.random.default_rng(0)
    nothing = np.zeros(0, np.int32)
    lines = tuple(
        Line(i, 0, np.ones(n, np.int32), 1, nothing)
        for i, n in enumerate(rng.integers(10, 40, 2000))
    )
    shape = choose_shape([Group(nothing, lines)], 2048)
    batches = pack(lines, shape)
    filled = sum(int((batch.segments > 0).sum()) for batch in batches)
    assert filled / (len(batches) * shape.rows * shape.tokens) > 0.9
