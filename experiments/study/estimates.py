"""Means over draws of demonstrations, with intervals over draws and examples together.

A draw chooses the demonstrations; the examples are a sample too. The design (docs/study.md) fixes
a bootstrap that resamples draws and, within them, examples. With five draws it is rough: it takes
the spread of draws for four fifths of what it is. So a t interval over draws stands beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A change, averaged over draws.

    Attributes:
        mean: over draws.
        interval: 95 %, a bootstrap of draws and of examples within them.
        low: the 5 % point of the same bootstrap: above -margin, a loss of margin is rejected.
        crossed: 95 %, a bootstrap of draws and, apart from them, of the examples that all draws
            share; None where each draw has examples of its own.
        p_value: of no change, two-sided, from the same bootstrap.
        t_interval: 95 %, Student's, over draws alone; None of one draw.
        sd: over draws; None of one draw.
        draws: the change in each.
    """

    mean: float
    interval: tuple[float, float]
    low: float
    crossed: tuple[float, float] | None
    p_value: float
    t_interval: tuple[float, float] | None
    sd: float | None
    draws: tuple[float, ...]

    @property
    def sign(self) -> int:
        """1 of a gain beyond noise, -1 of a loss beyond noise, 0 where the interval holds 0."""
        low, high = self.interval
        return int(low > 0) - int(high < 0)


def of_answers(
    turned: Sequence[Int[np.ndarray, " examples"]], *, shared: bool, seed: int = 0
) -> Estimate:
    """Change of accuracy.

    Args:
        turned: for each draw 1 where an example became right, -1 where wrong, 0 elsewhere.
        shared: whether all draws have the same examples, in the same order.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    shares = np.array([[np.mean(t == value) for value in (-1, 0, 1)] for t in turned])
    sizes = np.array([len(t) for t in turned])
    picks = rng.integers(len(turned), size=(RESAMPLES, len(turned)))
    counts = rng.multinomial(sizes[picks], shares[picks])
    means = ((counts[..., 2] - counts[..., 0]) / sizes[picks]).mean(axis=1)
    crossed = None
    if shared:
        table = np.stack(turned).astype(float)  # [draws, examples]
        chosen = rng.multinomial(
            table.shape[1], np.full(table.shape[1], 1 / table.shape[1]), RESAMPLES
        )
        by_draw = chosen @ table.T / table.shape[1]  # [resamples, draws]
        crossed = _interval(np.take_along_axis(by_draw, picks, axis=1).mean(axis=1))
    return _estimate(np.array([t.mean() for t in turned]), means, crossed)


def of_values(values: Sequence[float], standard_errors: Sequence[float], seed: int = 0) -> Estimate:
    """Change of a quantity whose error within a draw is known, as that of an area is.

    Args:
        values: for each draw.
        standard_errors: of each, over examples.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    value, error = np.asarray(values, float), np.asarray(standard_errors, float)
    picks = rng.integers(len(value), size=(RESAMPLES, len(value)))
    means = (value[picks] + error[picks] * rng.standard_normal(picks.shape)).mean(axis=1)
    return _estimate(value, means)


def _interval(resampled: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)


def _estimate(
    draws: Float[np.ndarray, " draws"],
    resampled: Float[np.ndarray, " resamples"],
    crossed: tuple[float, float] | None = None,
) -> Estimate:
    mean, count = float(draws.mean()), len(draws)
    low, high = _interval(resampled)
    # Half of the resamples that show no change at all count for either side.
    tie = np.mean(resampled == 0) / 2
    sides = np.mean(resampled < 0) + tie, np.mean(resampled > 0) + tie
    p_value = min(1.0, max(2 * min(sides), 2 / len(resampled)))
    sd = t_interval = None
    if count > 1:
        sd = float(draws.std(ddof=1))
        half = float(stats.t.ppf(0.975, count - 1)) * sd / math.sqrt(count)
        t_interval = (mean - half, mean + half)
    return Estimate(
        mean,
        (min(low, mean), max(high, mean)),
        float(np.quantile(resampled, 0.05)),
        crossed,
        float(p_value),
        t_interval,
        sd,
        tuple(map(float, draws)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's procedure, in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = largest
    return adjusted
