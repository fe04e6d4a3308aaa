"""Is a change of accuracy one of the label prior, or of discrimination?

Computed from the scores that a run has anyway: no further pass of the model. Every answer is read
off the scores three times: as they are; after batch calibration (Zhou et al., 2023), which
subtracts each label's mean log-probability over the split and uses no labels; and with a prior
fitted on validation, one offset for each label by maximum likelihood. What a change of accuracy
loses on the way was a shift of the label prior. The area under the ROC curve is of the scores with
the fitted prior; for two labels it does not depend on any prior.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
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

    found = minimize(loss, np.zeros(log_p.shape[1]), jac=True, method="BFGS")
    return found.x - found.x.mean()


def auc(scores: Scores, gold: Gold) -> float:
    """Area under the ROC curve, each label against the rest, mean over the labels that occur.

    Args:
        scores: logits or log-probabilities of the labels.
        gold: positions of the right labels; at least two of them.
    """
    value, _ = _auc_and_influence(scores, gold)
    return value


def _auc_and_influence(scores: Scores, gold: Gold) -> tuple[float, Float[np.ndarray, " examples"]]:
    """The area, and what each example contributes to its error (DeLong et al., 1988)."""
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
    return float(np.mean(values)), influence / len(values)


def _auc_change(before: Scores, after: Scores, gold: Gold) -> Change | None:
    if len(np.unique(gold)) < 2:
        return None
    (untouched, one), (truncated, other) = (
        _auc_and_influence(scores, gold) for scores in (before, after)
    )
    difference = truncated - untouched
    half = Z95 * math.sqrt(np.mean((other - one) ** 2) / len(gold))
    low, high = max(-1.0, difference - half), min(1.0, difference + half)
    return Change(untouched, truncated, difference, (low, high))


def accuracy_change(before: Scores, after: Scores, gold: Gold) -> Change:
    """Accuracy of the largest scores; its interval and test are paired."""
    first, second = (scores.argmax(axis=1) == gold for scores in (before, after))
    paired = paired_difference(first, second)
    return Change(
        float(first.mean()),
        float(second.mean()),
        paired.difference,
        paired.interval,
        paired.p_value,
    )


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

    def fitted(scores: TestScores, known: ValidationScores) -> TestScores:
        return log_softmax(scores, axis=1) + fitted_offsets(known, validation_gold)

    before, after = test
    prior_before, prior_after = fitted(before, validation[0]), fitted(after, validation[1])
    accuracy = {
        RAW: accuracy_change(before, after, test_gold),
        BATCH: accuracy_change(batch_calibrated(before), batch_calibrated(after), test_gold),
        FITTED: accuracy_change(prior_before, prior_after, test_gold),
    }
    # With two labels offsets cannot change the area. With more they do, since the probability of
    # one label depends on the offsets of the others: so each model has its fitted prior.
    area = _auc_change(prior_before, prior_after, test_gold)
    share = None
    if accuracy[RAW].sign:
        turned = _turned(before, after, test_gold), _turned(prior_before, prior_after, test_gold)
        share = _share_explained(turned[0], turned[1], seed)
    return Explanation(
        accuracy, area, share, _verdict(accuracy[RAW], accuracy[FITTED], area, share)
    )


def _turned(before: Scores, after: Scores, gold: Gold) -> Int[np.ndarray, " examples"]:
    """1 where an example became right, -1 where it became wrong, 0 elsewhere."""
    first, second = (scores.argmax(axis=1) == gold for scores in (before, after))
    return second.astype(int) - first.astype(int)


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


def _verdict(raw: Change, fitted: Change, area: Change | None, share: Share | None) -> Verdict:
    """Discrimination where calibrated accuracy or area changes, the prior where raw accuracy does.

    Calibrated accuracy and area are two tests of one thing, each at 2.5 % (Bonferroni). Both where
    the raw change is more than the calibrated one explains.
    """
    assert fitted.p_value is not None
    discrimination = fitted.p_value < 0.025
    if area is not None:
        low, high = area.interval
        discrimination |= abs(area.difference) > (high - low) / 2 * (Z975 / Z95)
    if not discrimination:
        return "label prior" if raw.sign else "no change"
    return "both" if share is not None and share.interval[0] > 0 else "discrimination"
