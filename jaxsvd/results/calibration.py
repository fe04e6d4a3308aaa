"""Is a change of accuracy one of the label prior, or of discrimination?

Computed from the scores that a run has anyway: no further pass of the model. Every answer is read
off the scores three times: as they are; after batch calibration (Zhou et al., 2023), which
subtracts each label's mean log-probability over the split and uses no labels; and with a prior
fitted on validation, one offset for each label by maximum likelihood. What a change of accuracy
loses on the way was a shift of the label prior. The area under the ROC curve is of the scores with
the fitted prior; for two labels it does not depend on any prior.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from scipy.stats import rankdata

from jaxsvd.results.explanation import BATCH, FITTED, RAW, Change, Explanation, Share, Verdict
from jaxsvd.results.predictions import Prediction
from jaxsvd.results.statistics import Z95, paired_difference

Scores = Float[np.ndarray, "examples labels"]
Gold = Int[np.ndarray, " examples"]
ValidationScores = Float[np.ndarray, "validation labels"]
TestScores = Float[np.ndarray, "test labels"]

RIDGE = 1e-3
"""Weight of the squared offsets in the fit: a label that validation lacks stays finite."""

RESAMPLES = 10_000

BONFERRONI = 0.025
"""Level of each of the two tests of discrimination."""

Z975 = 2.241402727604945
"""98.75 % point of the normal distribution: two-sided 97.5 %."""


def score_table(lines: Sequence[Prediction]) -> tuple[Scores, Gold] | None:
    """Scores and right candidates of the predictions of one variant and split.

    None where questions differ in their number of candidates: these are no labels in common.
    """
    scores = [line.scores for line in lines]
    if len({len(row) for row in scores}) != 1:
        return None
    table = np.asarray(scores, np.float64)
    gold = np.asarray([line.gold for line in lines])
    return (table, gold) if np.isfinite(table).all() else None


def batch_calibrated(scores: Scores) -> Scores:
    """Log-probabilities less their mean over the examples (Zhou et al., 2023, eq. 5).

    Args:
        scores: logits or log-probabilities of the labels.
    """
    log_p = log_softmax(scores, axis=1)
    return log_p - log_p.mean(axis=0)


def fitted_offsets(scores: Scores, gold: Gold) -> Float[np.ndarray, " labels"]:
    """One offset for each label that makes the gold labels most likely; their mean is 0.

    Args:
        scores: logits or log-probabilities of the labels.
        gold: positions of the right labels.
    """
    log_p = log_softmax(scores, axis=1)
    right = np.bincount(gold, minlength=log_p.shape[1])

    def loss(offsets: np.ndarray) -> tuple[float, np.ndarray]:
        shifted = log_softmax(log_p + offsets, axis=1)
        value = -shifted[np.arange(len(gold)), gold].sum() + RIDGE * (offsets**2).sum() / 2
        return value, np.exp(shifted).sum(axis=0) - right + RIDGE * offsets

    optimum = minimize(loss, np.zeros(log_p.shape[1]), jac=True, method="BFGS")
    return optimum.x - optimum.x.mean()


def context_calibrated(scores: Scores, content_free: Float[np.ndarray, "queries labels"]) -> Scores:
    """Log-probabilities less the log of what queries without content get (Zhao et al., 2021, 3.1).

    Args:
        scores: logits or log-probabilities of the labels.
        content_free: of queries that say nothing, such as ``N/A`` (contextual calibration) or
            random words of the task (domain-context calibration; Fei et al., 2023, eq. 3).
    """
    return log_softmax(scores, axis=1) - np.log(softmax(content_free, axis=1).mean(axis=0))


def with_prior(
    scores: TestScores, validation: ValidationScores, gold: Int[np.ndarray, " validation"]
) -> TestScores:
    """Log-probabilities with the offsets that fit a validation set (:func:`fitted_offsets`)."""
    return log_softmax(scores, axis=1) + fitted_offsets(validation, gold)


def auc(scores: Scores, gold: Gold) -> float:
    """Area under the ROC curve, each label against the rest, mean over the labels that occur.

    Args:
        scores: logits or log-probabilities of the labels.
        gold: positions of the right labels; at least two of them.
    """
    return float(np.mean(area_values(scores, gold)))


def area_values(scores: Scores, gold: Gold) -> Float[np.ndarray, " examples"]:
    """The area as a mean: it, plus what each example contributes to its error.

    The variance of these values over the examples, divided by their number, is the area's
    (DeLong, DeLong and Clarke-Pearson, 1988).

    Args:
        scores: logits or log-probabilities of the labels.
        gold: positions of the right labels; at least two of them.
    """
    probability, total = softmax(scores, axis=1), len(gold)
    values, influence = [], np.zeros(total)
    for label in np.unique(gold):
        own = gold == label
        x, y = probability[own, label], probability[~own, label]
        rank = rankdata(np.concatenate([x, y]))
        above = (rank[: len(x)] - rankdata(x)) / len(y)  # shares of the rest below each of its own
        below = 1 - (rank[len(x) :] - rankdata(y)) / len(x)
        value = above.mean()
        values.append(value)
        influence[own] += (above - value) * total / len(x)
        influence[~own] += (below - value) * total / len(y)
    return np.mean(values) + influence / len(values)


@dataclass(frozen=True)
class Readings:
    """A test set under the untouched and the truncated model, read off the scores in every way.

    Attributes:
        right: by scoring, which examples the one and the other have right.
        area: values whose means are the areas of the two, see :func:`area_values`; None where the
            test set has one gold label only.
    """

    right: Mapping[str, tuple[Bool[np.ndarray, " examples"], Bool[np.ndarray, " examples"]]]
    area: tuple[Float[np.ndarray, " examples"], Float[np.ndarray, " examples"]] | None

    def turned(self, scoring: str) -> Int[np.ndarray, " examples"]:
        """1 where an example became right, -1 where it became wrong, 0 elsewhere."""
        first, second = self.right[scoring]
        return second.astype(int) - first.astype(int)


def read_scores(
    validation: tuple[ValidationScores, ValidationScores],
    validation_gold: Int[np.ndarray, " validation"],
    test: tuple[TestScores, TestScores],
    test_gold: Int[np.ndarray, " test"],
) -> Readings:
    """Read the answers to a test set off the scores, with and without a label prior.

    Args:
        validation: scores of the untouched and of the truncated model, logits or
            log-probabilities; they fit each model's own label prior.
        validation_gold: positions of the right labels.
        test: likewise, on the test set.
        test_gold: likewise.
    """
    before, after = test
    fitted = (
        with_prior(before, validation[0], validation_gold),
        with_prior(after, validation[1], validation_gold),
    )
    read = {
        RAW: test,
        BATCH: (batch_calibrated(before), batch_calibrated(after)),
        FITTED: fitted,
    }
    right = {
        name: (one.argmax(axis=1) == test_gold, other.argmax(axis=1) == test_gold)
        for name, (one, other) in read.items()
    }
    # With two labels offsets cannot change the area. With more they do, since the probability of
    # one label depends on the offsets of the others: so each model has its fitted prior.
    area = None
    if len(np.unique(test_gold)) > 1:
        area = area_values(fitted[0], test_gold), area_values(fitted[1], test_gold)
    return Readings(right, area)


def accuracy_change(before: Scores, after: Scores, gold: Gold) -> Change:
    """Accuracy of the largest scores; its interval and test are paired."""
    first, second = (scores.argmax(axis=1) == gold for scores in (before, after))
    return _accuracy_change(first, second)


def _accuracy_change(
    first: Bool[np.ndarray, " examples"], second: Bool[np.ndarray, " examples"]
) -> Change:
    paired = paired_difference(first, second)
    return Change(
        float(first.mean()),
        float(second.mean()),
        paired.difference,
        paired.interval,
        paired.p_value,
    )


def _area_change(
    before: Float[np.ndarray, " examples"], after: Float[np.ndarray, " examples"]
) -> Change:
    untouched, truncated = float(before.mean()), float(after.mean())
    difference = truncated - untouched
    half = Z95 * float((after - before).std()) / math.sqrt(len(before))
    low, high = max(-1.0, difference - half), min(1.0, difference + half)
    return Change(untouched, truncated, difference, (low, high))


def explain(
    validation: tuple[ValidationScores, ValidationScores],
    validation_gold: Int[np.ndarray, " validation"],
    test: tuple[TestScores, TestScores],
    test_gold: Int[np.ndarray, " test"],
    *,
    seed: int = 0,
) -> Explanation:
    """What a truncation changed on the test set.

    Args:
        validation: scores of the untouched and of the truncated model, logits or
            log-probabilities; they fit each model's own label prior.
        validation_gold: positions of the right labels.
        test: likewise, on the test set.
        test_gold: likewise.
        seed: of the bootstrap of the share.
    """
    readings = read_scores(validation, validation_gold, test, test_gold)
    accuracy = {name: _accuracy_change(*right) for name, right in readings.right.items()}
    area = None if readings.area is None else _area_change(*readings.area)
    share = None
    if accuracy[RAW].sign:
        share = _share_explained(readings.turned(RAW), readings.turned(FITTED), seed)
    changed = discriminates_differently(accuracy[FITTED], area)
    return Explanation(accuracy, area, share, verdict_of(accuracy[RAW], share, changed))


def _share_explained(
    raw: Int[np.ndarray, " examples"], fitted: Int[np.ndarray, " examples"], seed: int
) -> Share:
    """1 - fitted / raw, with the 95 % interval of a paired bootstrap over the test examples.

    Only how many examples turned which way in both readings matters: nine counts. Resamples in
    which the raw change is none say nothing of a share and are left out.
    """
    counts = np.bincount(3 * (raw + 1) + fitted + 1, minlength=9)
    draws = np.random.default_rng(seed).multinomial(len(raw), counts / len(raw), RESAMPLES)
    of_raw, of_fitted = np.repeat([-1, 0, 1], 3), np.tile([-1, 0, 1], 3)
    changes, rest = draws @ of_raw, draws @ of_fitted
    shares = 1 - rest[changes != 0] / changes[changes != 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    value = 1 - fitted.sum() / raw.sum()
    return Share(float(value), (float(min(low, value)), float(max(high, value))))


def discriminates_differently(fitted: Change, area: Change | None) -> bool:
    """Whether calibrated accuracy or the area changes: two tests of one thing, each at 2.5 %."""
    assert fitted.p_value is not None
    if fitted.p_value < BONFERRONI:
        return True
    if area is None:
        return False
    low, high = area.interval
    return abs(area.difference) > (high - low) / 2 * (Z975 / Z95)


def verdict_of(raw: Change, share: Share | None, discrimination: bool) -> Verdict:
    """What changed.

    The prior, where raw accuracy changes and discrimination does not; both, where the raw change
    is more than the calibrated one explains.

    Args:
        raw: of accuracy as it is.
        share: of it that the prior explains.
        discrimination: whether the labels are told apart differently, at 5 % over the tests of it.
    """
    if not discrimination:
        return "label prior" if raw.sign else "no change"
    return "both" if share is not None and share.interval[0] > 0 else "discrimination"
