"""Calibration: shifts of the prior and changes of discrimination that are known."""

import math

import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import norm

from jaxsvd.results.calibration import (
    auc,
    batch_calibrated,
    discriminates_differently,
    explain,
    fitted_offsets,
    read_scores,
    verdict_of,
)
from jaxsvd.results.explanation import BATCH, FITTED, RAW, Change, Explanation, Share
from jaxsvd.results.explanation_over_draws import explain_over_draws
from jaxsvd.results.fields import Fields


def logistic(
    n: int, slope: float, intercept: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two labels with even odds, their evidence x, and scores that see ``slope x + intercept``.

    The noise of what a model sees is its own: a smaller slope discriminates less.
    """
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 2, n)
    evidence = (2 * gold - 1) + rng.normal(size=n)
    seen = slope * evidence + rng.normal(size=n) + intercept
    return gold, np.stack([np.zeros(n), seen], axis=1), evidence


def explained(before: tuple[float, float], after: tuple[float, float], n: int = 4000):
    data = {}
    for split, seed in (("validation", 1), ("test", 2)):
        gold, untouched, _ = logistic(n, *before, seed)
        _, truncated, _ = logistic(n, *after, seed)
        data[split] = gold, (untouched, truncated)
    (val_gold, validation), (test_gold, test) = data["validation"], data["test"]
    return explain(validation, val_gold, test, test_gold)


def test_a_shift_of_the_intercept_is_all_prior() -> None:
    """The same evidence, a wrong intercept taken away: calibrated, nothing changes."""
    actual = explained((1.0, 3.0), (1.0, 0.0))
    assert actual.raw.difference > 0.2
    assert actual.verdict == "label prior"
    assert actual.share_explained is not None
    low, high = actual.share_explained.interval
    assert low <= 1 <= high + 0.02
    assert actual.auc is not None
    assert actual.auc.difference == pytest.approx(0, abs=1e-12)


def test_a_change_of_slope_is_all_discrimination() -> None:
    """No intercept before or after: what the prior explains is none of it, to its interval."""
    actual = explained((0.3, 0.0), (2.0, 0.0))
    assert actual.verdict in ("discrimination", "both")
    assert actual.share_explained is not None
    assert abs(actual.share_explained.value) < 0.1
    assert actual.accuracy[FITTED].sign == 1


def test_both_at_once() -> None:
    actual = explained((0.4, 2.0), (2.0, 0.0))
    assert actual.verdict == "both"
    assert actual.share_explained is not None
    assert 0.1 < actual.share_explained.value < 0.9


def test_the_same_model_changes_nothing() -> None:
    actual = explained((1.0, 0.5), (1.0, 0.5))
    assert actual.verdict == "no change"
    assert actual.share_explained is None


def test_fitted_offsets_are_those_of_the_likelihood() -> None:
    """Scores that are log-odds plus a known intercept: the fit takes it away again.

    The offset of a logistic model with n examples has a standard error of about
    1 / sqrt(n mean p (1 - p)); four of them are allowed.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=20_000)
    gold = (rng.random(20_000) < expit(x)).astype(int)
    offsets = fitted_offsets(np.stack([np.zeros_like(x), x + 1.5], axis=1), gold)
    error = 4 / np.sqrt((expit(x) * expit(-x)).sum())
    assert offsets.sum() == pytest.approx(0, abs=1e-9)
    assert abs(offsets[1] - offsets[0] + 1.5) < error


def test_a_label_that_validation_lacks_stays_finite() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 3))
    assert np.isfinite(fitted_offsets(scores, np.zeros(50, int))).all()


def test_batch_calibration_ignores_offsets() -> None:
    """Adding one number to all scores of a label changes nothing where log-probabilities shift by
    a constant: with two labels the difference of the two is all that counts.
    """
    scores = np.random.default_rng(0).normal(size=(100, 2))
    shifted = batch_calibrated(scores + np.array([0.0, 3.0]))
    plain = batch_calibrated(scores)
    margin = [a[:, 1] - a[:, 0] for a in (plain, shifted)]
    np.testing.assert_allclose(margin[0], margin[1], rtol=0, atol=1e-12)
    assert plain.mean(axis=0) == pytest.approx(0, abs=1e-12)


def test_auc_against_counting_pairs() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(60, 3))
    scores[::3] = scores[0]  # ties
    gold = rng.integers(0, 3, 60)
    probability = softmax(scores, axis=1)
    areas = []
    for label in range(3):
        x, y = probability[gold == label, label], probability[gold != label, label]
        areas.append(((x[:, None] > y) + 0.5 * (x[:, None] == y)).mean())
    assert auc(scores, gold) == pytest.approx(np.mean(areas), abs=1e-12)


def test_a_shift_of_three_labels_is_all_prior() -> None:
    """Offsets of three labels that are taken away: neither accuracy nor area changes, calibrated.

    The area is compared to 1e-3: each model's offsets are fitted to it, to the optimiser's
    tolerance and the ridge.
    """
    rng = np.random.default_rng(5)
    gold = rng.integers(0, 3, (2, 3000))
    seen = np.eye(3)[gold] * 1.5 + rng.normal(size=(2, 3000, 3))
    shifted = seen + np.array([0.0, 2.0, -1.0])
    actual = explain((shifted[0], seen[0]), gold[0], (shifted[1], seen[1]), gold[1])
    assert actual.raw.difference > 0.05
    assert actual.verdict == "label prior"
    assert actual.auc is not None
    assert abs(actual.auc.difference) < 1e-3


def test_validation_and_test_may_differ_in_size() -> None:
    (val_gold, one, _), (test_gold, other, _) = logistic(30, 1.0, 1.0, 1), logistic(50, 1.0, 1.0, 2)
    assert explain((one, one), val_gold, (other, other), test_gold).verdict == "no change"


def test_numbers_survive_json() -> None:
    actual = explained((1.0, 2.0), (1.5, 0.0), n=300)
    assert Explanation.from_json(Fields(actual.to_json())) == actual
    assert set(actual.accuracy) == {RAW, BATCH, FITTED}


def change(difference: float, error: float, p_value: float | None = None) -> Change:
    """A change with a standard error."""
    half = 1.959963984540054 * error
    interval = difference - half, difference + half
    return Change(0.5, 0.5 + difference, difference, interval, p_value)


@pytest.mark.parametrize(
    ("gained", "lost", "rejected"),
    [(10, 2, False), (11, 2, True), (0, 6, False), (0, 7, True)],
)
def test_calibrated_accuracy_is_tested_at_half_of_five_percent(
    gained: int, lost: int, rejected: bool
) -> None:
    """McNemar's exact test by hand: p = .0386, .0225, .0313, .0156."""
    n, k = gained + lost, min(gained, lost)
    p_value = 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert p_value < 0.05
    fitted = change((gained - lost) / 100, 0.05, p_value)
    assert discriminates_differently(fitted, None) == rejected
    assert discriminates_differently(fitted, change(0.0, 0.01)) == rejected


@pytest.mark.parametrize(
    ("standard_errors", "rejected"), [(2.0, False), (2.24, False), (2.2415, True), (-2.3, True)]
)
def test_the_area_is_tested_at_half_of_five_percent(standard_errors: float, rejected: bool) -> None:
    """2.2414 standard errors are 2.5 %, two-sided; 1.96 would be 5 %."""
    assert 2 * norm.sf(2.241402727604945) == pytest.approx(0.025, abs=1e-15)
    area = change(0.01 * standard_errors, 0.01)
    assert discriminates_differently(change(0.0, 0.05, 1.0), area) == rejected


@pytest.mark.long
def test_two_tests_together_keep_their_level() -> None:
    """Nothing changes but noise: discrimination is said in at most 5 % of data sets.

    300 data sets; a rate of .05 has a standard error of .0126, three of them are allowed.
    """
    said = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        gold = rng.integers(0, 2, 300)
        evidence = 2 * gold - 1 + rng.normal(size=300)
        before, after = (
            np.stack([np.zeros(300), evidence + rng.normal(size=300)], axis=1) for _ in range(2)
        )
        said += explain((before, after), gold, (before, after), gold).verdict in (
            "discrimination",
            "both",
        )
    assert said / 300 <= 0.05 + 3 * 0.0126


@pytest.mark.parametrize(
    ("raw", "share", "discrimination", "verdict"),
    [
        ((0.1, 0.02), (0.9, 1.1), False, "label prior"),
        ((0.01, 0.02), None, False, "no change"),
        ((0.1, 0.02), (0.2, 0.8), True, "both"),
        ((0.1, 0.02), (-0.3, 0.4), True, "discrimination"),
        ((0.01, 0.02), None, True, "discrimination"),
    ],
)
def test_the_verdict_follows_from_its_parts(
    raw: tuple[float, float],
    share: tuple[float, float] | None,
    discrimination: bool,
    verdict: str,
) -> None:
    part = None if share is None else Share(sum(share) / 2, share)
    assert verdict_of(change(*raw), part, discrimination) == verdict


def drawn(before: tuple[float, float], after: tuple[float, float], n: int = 600, draws: int = 5):
    """Draws of demonstrations: each moves the untouched model's intercept by its own luck."""
    readings, examples = [], []
    for seed in range(draws):
        luck = np.random.default_rng([7, seed]).normal() * 0.3
        sets = []
        for split in (1, 2):
            gold, untouched, _ = logistic(n, before[0], before[1] + luck, 100 * seed + split)
            _, truncated, _ = logistic(n, *after, 100 * seed + split)
            sets += [(untouched, truncated), gold]
        readings.append(read_scores(*sets))
        examples.append(np.arange(n) + seed * n)
    return explain_over_draws(readings, examples)


def test_over_draws_a_shift_of_the_intercept_is_all_prior() -> None:
    """Share 1, to what fitting each draw's offsets on 600 examples leaves."""
    actual = drawn((1.0, 3.0), (1.0, 0.0))
    assert actual.verdict == "label prior"
    assert actual.raw.difference > 0.2
    assert actual.share_explained is not None
    low, high = actual.share_explained.interval
    assert low <= 1.01
    assert high >= 0.99
    assert actual.share_explained.value == pytest.approx(1, abs=0.05)
    assert actual.auc is not None
    assert actual.auc.difference == pytest.approx(0, abs=1e-12)


def test_over_draws_a_change_of_slope_is_no_prior() -> None:
    """Share 0: nothing but the slope changes, beyond the draws' luck with the intercept."""
    actual = drawn((0.3, 0.0), (2.0, 0.0))
    assert actual.verdict in ("discrimination", "both")
    assert actual.share_explained is not None
    assert abs(actual.share_explained.value) < 0.15


def test_over_draws_both_and_neither() -> None:
    both = drawn((0.4, 2.0), (2.0, 0.0))
    assert both.verdict == "both"
    assert both.share_explained is not None
    assert 0.1 < both.share_explained.value < 0.9
    neither = explain_over_draws(
        [read_scores(*same_model(seed)) for seed in range(4)], [np.arange(300)] * 4
    )
    assert neither.verdict == "no change"
    assert neither.share_explained is None
    assert Explanation.from_json(Fields(neither.to_json())) == neither


def same_model(seed: int):
    sets = []
    for split in (1, 2):
        gold, scores, _ = logistic(300, 1.0, 0.5, 10 * seed + split)
        sets += [(scores, scores), gold]
    return sets


@pytest.mark.long
@pytest.mark.parametrize("n", [200, 2000])
def test_intervals_cover(n: int) -> None:
    """Of 1,000 data sets 93 to 97 % of the intervals of the AUC difference hold the true one.

    The truth: P(seen of a positive exceeds that of a negative) for two normal populations.
    """
    from scipy.stats import norm

    def true_auc(slope: float) -> float:
        return float(norm.cdf(2 * slope / np.sqrt(2 * (slope**2 + 1))))

    truth, held = true_auc(1.5) - true_auc(0.5), 0
    for seed in range(1000):
        gold, before, evidence = logistic(n, 0.5, 0.0, seed)
        seen = 1.5 * evidence + np.random.default_rng(10_000 + seed).normal(size=n)
        after = np.stack([np.zeros(n), seen], axis=1)
        change = explain((before, after), gold, (before, after), gold).auc
        assert change is not None
        low, high = change.interval
        held += low <= truth <= high
    assert 930 <= held <= 970


@pytest.mark.long
@pytest.mark.parametrize("n", [200, 2000])
def test_intervals_of_accuracies_cover(n: int) -> None:
    """Raw and with a fitted prior, of 1,000 data sets 93 to 97 % hold the true change.

    What a model sees of an example is normal about plus or minus its slope, so the accuracy behind
    a threshold is known. A fitted prior is taken as it was fitted: its threshold is the one of
    which the interval speaks.
    """
    (slope, intercept), (other_slope, other_intercept) = (0.4, 1.0), (1.2, 0.2)

    def accuracy(slope: float, threshold: float) -> float:
        s = np.sqrt(slope**2 + 1)
        return float(norm.cdf((slope + threshold) / s) + norm.cdf((slope - threshold) / s)) / 2

    held = {RAW: 0, FITTED: 0}
    for seed in range(1000):
        sets, shifts = [], []
        for split in (0, 1):
            gold, untouched, evidence = logistic(n, slope, intercept, 2 * seed + split)
            noise = np.random.default_rng([seed, len(sets)]).normal(size=n)
            seen = other_slope * evidence + noise + other_intercept
            sets.append((gold, untouched, np.stack([np.zeros(n), seen], axis=1)))
        for side in (1, 2):
            offsets = fitted_offsets(sets[0][side], sets[0][0])
            shifts.append(float(offsets[1] - offsets[0]))
        actual = explain((sets[0][1], sets[0][2]), sets[0][0], (sets[1][1], sets[1][2]), sets[1][0])
        truth = {
            RAW: accuracy(other_slope, other_intercept) - accuracy(slope, intercept),
            FITTED: accuracy(other_slope, other_intercept + shifts[1])
            - accuracy(slope, intercept + shifts[0]),
        }
        for name, value in truth.items():
            low, high = actual.accuracy[name].interval
            held[name] += low <= value <= high
    assert all(930 <= count <= 970 for count in held.values()), held
