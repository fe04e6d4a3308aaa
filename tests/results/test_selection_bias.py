"""The best of several validation scores: how optimistic it is, and what the bootstrap says."""

import numpy as np
import pytest

from jaxsvd.results.selection_bias import corrected_maximum, first_best


def test_the_first_of_equals() -> None:
    assert first_best(np.array([0.1, 0.3, 0.3, 0.2])) == 1
    assert first_best(np.array([0.3, 0.1 + 0.2])) == 0  # 0.30000000000000004


def test_one_rate_has_nothing_to_choose() -> None:
    """Left-out examples are all alike: their mean score is that of all, to the bootstrap's error.

    Each resample leaves out a random third; 1,000 of them have a standard error of .5 / sqrt(200)
    * sqrt(2 / 1000) or less.
    """
    right = (np.random.default_rng(0).random((1, 200)) < 0.6).astype(float)
    actual = corrected_maximum([right], [np.arange(200)])
    assert actual.score == right.mean()
    assert actual.corrected == pytest.approx(right.mean(), abs=4 * 0.5 / 200**0.5 * 0.045)


def test_too_few_examples_to_leave_out() -> None:
    assert corrected_maximum([np.ones((2, 1))], [np.arange(1)]).corrected is None


@pytest.mark.parametrize("seeds", [1, 4])
def test_rates_that_are_all_alike(seeds: int) -> None:
    """Eight rates of the same accuracy .6, with errors of their own: the best looks better.

    The expected maximum of eight normal numbers is 1.4236. 60 data sets; four standard errors of
    the mean over them are allowed.
    """
    rng, size, sets = np.random.default_rng(1), 100, 60
    naive, corrected = [], []
    for trial in range(sets):
        right = (rng.random((seeds, 8, size)) < 0.6).astype(float)
        actual = corrected_maximum(list(right), [np.arange(size)] * seeds, seed=trial)
        assert actual.corrected is not None
        naive.append(actual.score)
        corrected.append(actual.corrected)
    error = (0.24 / (size * seeds)) ** 0.5
    assert np.mean(naive) - 0.6 == pytest.approx(1.4236 * error, rel=0.25)
    assert abs(np.mean(corrected) - 0.6) < 4 * np.std(corrected, ddof=1) / sets**0.5


def test_a_rate_that_is_clearly_best_needs_no_correction() -> None:
    rng = np.random.default_rng(2)
    right = (rng.random((3, 400)) < np.array([[0.5], [0.9], [0.6]])).astype(float)
    actual = corrected_maximum([right], [np.arange(400)])
    assert actual.score == right[1].mean()
    assert actual.corrected == pytest.approx(actual.score, abs=0.005)
