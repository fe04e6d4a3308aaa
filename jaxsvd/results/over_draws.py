"""Means over draws of demonstrations, with intervals over draws and examples together.

A draw chooses the demonstrations; the examples are a sample too, and several draws may share them.
Write a measured value as ``mean + draw + example + rest``. The mean over D draws then has the
variance

    spread of the draws' means / D  +  mean covariance of two draws' means

The first is the ordinary variance of a mean of D numbers. It holds what differs between draws, of
examples too where each draw has its own. The second is what draws have in common because they share
examples; it is summed over the shared ones, and is 0 where there are none. With the same examples
in every draw the sum is that of the analysis of variance of a crossed design, and with others in
each that of a nested one (Searle, Casella and McCulloch, 1992, chapters 4 and 7).

The interval is Student's with Satterthwaite's degrees of freedom (Satterthwaite, 1946). The plain
bootstrap of draws and examples is not used: with five draws it takes the spread of draws for four
fifths of what it is, and counts the rest twice (Owen, 2007). ``docs/draws.md`` has the coverage
of both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxsvd.results.statistics import (
    Z95,
    Accuracy,
    AccuracySpread,
    PairedDifference,
    paired_difference,
)

FEW = 3
"""Draws up to which the interval is never narrower than that over examples alone."""


@dataclass(frozen=True)
class DrawValues:
    """What was measured of the examples of one draw.

    Attributes:
        values: of each example, such as 1 where an answer is right, or 1, 0, -1 where it became
            right, stayed, became wrong.
        examples: which ones, by their row in the source; equal rows of two draws are one example.
    """

    values: Float[np.ndarray, " examples"]
    examples: Int[np.ndarray, " examples"]


@dataclass(frozen=True)
class OverDraws:
    """A mean over draws.

    Attributes:
        mean: over draws, each with the weight of its examples.
        interval: 95 %, over draws and examples.
        p_value: of a mean of 0, two-sided.
        sd: of the draws' means; None of one draw.
        by_draw: the means.
    """

    mean: float
    interval: tuple[float, float]
    p_value: float
    sd: float | None
    by_draw: tuple[float, ...]

    @property
    def sign(self) -> int:
        """1 of a mean above 0 beyond noise, -1 of one below, 0 where the interval holds 0."""
        low, high = self.interval
        return int(low > 0) - int(high < 0)


@dataclass(frozen=True)
class _Spread:
    """Of a mean: its value, standard error, degrees of freedom, and error over examples alone."""

    mean: float
    error: float
    freedom: float
    examples_alone: float

    @property
    def half(self) -> float:
        """Half of the 95 % interval."""
        from scipy.stats import t

        return max(float(t.ppf(0.975, self.freedom)) * self.error, Z95 * self.examples_alone)


def over_draws(draws: Sequence[DrawValues]) -> OverDraws:
    """A mean over draws and examples, with its interval.

    Two or three draws say very little of their own spread, and draws that agree exactly say
    nothing. The interval is then that over examples alone, if this is wider.

    Args:
        draws: one or more, with at least two examples each.

    Returns:
        Of one draw the interval over its examples: it speaks of this draw alone.

    Raises:
        ValueError: no draw, or fewer than two examples in one.
    """
    from scipy.stats import norm, t

    spread = _spread(draws)
    by_draw = tuple(float(d.values.mean()) for d in draws)
    mean, half = spread.mean, spread.half
    # The p-value of whichever of the two intervals is the wider one.
    tails = [1.0 if mean == 0 else 0.0]
    if spread.error > 0:
        tails.append(2 * float(t.sf(abs(mean) / spread.error, spread.freedom)))
    if spread.examples_alone > 0:
        tails.append(2 * float(norm.sf(abs(mean) / spread.examples_alone)))
    sd = float(np.std(by_draw, ddof=1)) if len(draws) > 1 else None
    return OverDraws(mean, (mean - half, mean + half), min(1.0, max(tails)), sd, by_draw)


Right = Sequence[Bool[np.ndarray, " examples"]]
"""Which examples are right, for each draw."""

Rows = Sequence[Int[np.ndarray, " examples"]]
"""The examples' rows in their source, for each draw."""


def accuracy_over_draws(right: Right, examples: Rows) -> Accuracy:
    """All draws' answers together, with the interval over draws and examples."""
    alone = Accuracy.of(np.concatenate(right))
    if len(right) == 1:
        return alone
    estimate = over_draws(
        [DrawValues(r.astype(float), rows) for r, rows in zip(right, examples, strict=True)]
    )
    low, high = estimate.interval
    assert estimate.sd is not None
    return replace(alone, spread=AccuracySpread((max(0.0, low), min(1.0, high)), estimate.sd))


def difference_over_draws(first: Right, second: Right, examples: Rows) -> PairedDifference:
    """Two variants on the same examples of the same draws."""
    pairs = list(zip(first, second, strict=True))
    if len(pairs) == 1:
        return paired_difference(*pairs[0])
    estimate = over_draws(
        [
            DrawValues(b.astype(float) - a.astype(float), rows)
            for (a, b), rows in zip(pairs, examples, strict=True)
        ]
    )
    low, high = estimate.interval
    return PairedDifference(
        difference=estimate.mean,
        interval=(max(-1.0, low), min(1.0, high)),
        p_value=estimate.p_value,
        gained=sum(int((b & ~a).sum()) for a, b in pairs),
        lost=sum(int((a & ~b).sum()) for a, b in pairs),
    )


def ratio_over_draws(
    numerators: Sequence[DrawValues], denominators: Sequence[DrawValues]
) -> tuple[float, tuple[float, float]]:
    """A ratio of two means over the same draws and examples, with Fieller's 95 % interval (1954).

    The interval holds every ratio ``r`` for which ``numerator - r * denominator`` has a mean that
    is not told from 0.

    Args:
        numerators, denominators: of the same draws; the denominators' mean differs from 0 beyond
            noise, or the interval would not be bounded.

    Raises:
        ValueError: the denominators' interval holds 0.
    """
    from scipy.optimize import brentq

    top, bottom = _spread(numerators), _spread(denominators)
    if abs(bottom.mean) <= bottom.half:
        raise ValueError("a denominator whose interval holds 0 has no bounded ratio")
    ratio = top.mean / bottom.mean

    def outside(value: float) -> float:
        """Above 0 where a ratio is rejected."""
        pairs = zip(numerators, denominators, strict=True)
        left = _spread([DrawValues(a.values - value * b.values, a.examples) for a, b in pairs])
        return abs(left.mean) - left.half

    ends = []
    for side in (-1.0, 1.0):
        step = 0.5
        while step < 2**40 and outside(ratio + side * step) <= 0:
            step *= 2
        inside = outside(ratio) < 0  # not where all values of the two are proportional
        end = brentq(outside, ratio, ratio + side * step) if inside else ratio
        ends.append(float(end))  # pyright: ignore[reportArgumentType]
    return ratio, (min(ends), max(ends))


def _spread(draws: Sequence[DrawValues]) -> _Spread:
    if not draws or min(len(d.values) for d in draws) < 2:
        raise ValueError("a mean over draws needs draws, with two examples or more in each")
    sizes = np.array([len(d.values) for d in draws], float)
    weights = sizes / sizes.sum()
    means = np.array([d.values.mean() for d in draws], float)
    mean, count = float(weights @ means), len(draws)
    covariance = covariance_of_means(draws, means)
    alone = math.sqrt(max(0.0, float(weights @ covariance @ weights)))
    if count == 1:
        return _Spread(mean, alone, math.inf, alone)
    # The factor makes each part unbiased; with equal weights the first is the variance / count.
    unbiased = count / (count - 1)
    of_draws = unbiased * float((weights**2) @ (means - mean) ** 2)
    between = covariance - np.diag(np.diag(covariance))
    shared = max(0.0, unbiased * float(weights @ between @ weights))
    variance = of_draws + shared
    if of_draws == 0:
        return _Spread(mean, math.sqrt(variance), math.inf, alone)
    freedom = variance**2 / (of_draws**2 / (count - 1) + shared**2 / (sizes.min() - 1))
    return _Spread(mean, math.sqrt(variance), freedom, alone if count <= FEW else 0.0)


def covariance_of_means(
    draws: Sequence[DrawValues], means: Float[np.ndarray, " draws"]
) -> Float[np.ndarray, "draws draws"]:
    """Of the draws' means, over the examples: what they share gives those off the diagonal.

    Args:
        draws: with at least two examples each.
        means: of their values.
    """
    rows = np.unique(np.concatenate([d.examples for d in draws]))
    residuals = np.zeros((len(draws), len(rows)))
    for residual, draw, mean in zip(residuals, draws, means, strict=True):
        size = len(draw.values)
        at = np.searchsorted(rows, draw.examples)
        residual[at] = (draw.values - mean) / math.sqrt(size * (size - 1))
    return residuals @ residuals.T
