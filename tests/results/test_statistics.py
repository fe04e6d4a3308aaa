"""Intervals and tests against published values, scipy, and simulated coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from jaxsvd.results.statistics import Accuracy, mcnemar, paired_difference, wilson


@given(total=st.integers(1, 3000), data=st.data())
def test_wilson_is_scipys(total: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, total))
    reference = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    assert wilson(correct, total) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_wilson_at_the_ends() -> None:
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)
    assert math.isnan(Accuracy(0, 0).value)


def test_mcnemar_by_hand() -> None:
    """1 against 9: twice the tail 11 / 1024; no change is no evidence."""
    assert mcnemar(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar(9, 1) == mcnemar(1, 9)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_paired_difference_is_consistent(pairs: list[tuple[bool, bool]]) -> None:
    """Counts add up, the interval holds the difference, swapping the two mirrors it."""
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    paired, mirrored = paired_difference(first, second), paired_difference(second, first)
    assert paired.difference == pytest.approx((sum(second) - sum(first)) / len(pairs))
    low, high = paired.interval
    assert -1 <= low <= paired.difference <= high <= 1
    assert mirrored.interval == pytest.approx((-high, -low))
    assert mirrored.p_value == pytest.approx(paired.p_value)


@pytest.mark.long
def test_paired_interval_covers() -> None:
    """In 4,000 simulated experiments the 95 % interval holds the true difference 93-98 %."""
    rng = np.random.default_rng(0)
    for n, p_gain, p_loss in ((50, 0.15, 0.05), (300, 0.03, 0.03), (100, 0.4, 0.1)):
        hits = 0
        for gained, lost, _ in rng.multinomial(n, [p_gain, p_loss, 1 - p_gain - p_loss], 4000):
            first = np.arange(n) < lost
            second = (np.arange(n) >= lost) & (np.arange(n) < lost + gained)
            low, high = paired_difference(first, second).interval
            hits += low <= p_gain - p_loss <= high
        assert 0.93 <= hits / 4000 <= 0.985


def test_bad_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="match"):
        paired_difference([True], [True, False])
    with pytest.raises(ValueError, match="empty"):
        paired_difference([], [])
