"""Intervals and tests for accuracies, single and paired."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from jaxsvd.results.fields import CHANGE, COUNT, INTERVAL, SHARE, SPREAD, Fields

Z95 = 1.959963984540054
"""97.5 % point of the normal distribution: two-sided 95 %."""


@dataclass(frozen=True)
class AccuracySpread:
    """Of an accuracy over several draws.

    Attributes:
        interval: 95 %, over draws and examples, see :mod:`jaxsvd.results.over_draws`.
        sd: of the draws' accuracies.
    """

    interval: tuple[float, float]
    sd: float


@dataclass(frozen=True)
class Accuracy:
    """A count of right answers, and what it says.

    Attributes:
        correct, total: counts, of all draws together where there are several.
        spread: over draws; None of one draw.
    """

    correct: int
    total: int
    spread: AccuracySpread | None = None

    @classmethod
    def of(cls, right: Bool[np.ndarray, " examples"]) -> "Accuracy":
        """Of examples that are right or wrong."""
        return cls(int(right.sum()), right.size)

    @property
    def value(self) -> float:
        """The share of right answers; NaN of nothing."""
        return self.correct / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 %: Wilson's, over the examples; of several draws that over draws and examples."""
        return wilson(self.correct, self.total) if self.spread is None else self.spread.interval

    def to_json(self) -> dict[str, object]:
        """Counts, the share, and its interval; of several draws their standard deviation too."""
        spread: dict[str, object] = {} if self.spread is None else {"sd": self.spread.sd}
        return {
            "correct": self.correct,
            "total": self.total,
            "accuracy": self.value,
            "interval": list(self.interval),
        } | spread

    @classmethod
    def from_json(cls, fields: Fields) -> "Accuracy":
        """The counts, and the spread over draws; what follows from them is not read.

        Raises:
            Damaged: no counts, or more right answers than answers.
        """
        correct, total = fields.read("correct", COUNT), fields.read("total", COUNT)
        if correct > total:
            raise fields.damaged(f"{correct} of {total} cannot be right")
        if not fields.has("sd"):
            return cls(correct, total)
        spread = AccuracySpread(fields.read("interval", INTERVAL), fields.read("sd", SPREAD))
        return cls(correct, total, spread)


def wilson(correct: int | float, total: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson, 1927); (0, 1) of nothing.

    Args:
        correct: a count, or the mean of several counts.
        total: out of how many.
        z: quantile of the normal distribution; 95 % by default.
    """
    if total == 0:
        return 0.0, 1.0
    p = correct / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total**2))
    # At 0 and 1 the ends are exact; rounding would leave 1e-17.
    low = 0.0 if correct == 0 else centre - half
    high = 1.0 if correct == total else centre + half
    return low, high


@dataclass(frozen=True)
class PairedDifference:
    """Two variants on the same examples.

    Attributes:
        difference: accuracy of the second less that of the first.
        interval: its 95 % interval (Bonett and Price, 2012); of several draws that over draws and
            examples.
        p_value: McNemar's exact test, two-sided; 1 where no example changed sides. Of several
            draws Student's, see :mod:`jaxsvd.results.over_draws`.
        gained: examples that only the second has right.
        lost: examples that only the first has right.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    gained: int
    lost: int

    @property
    def significant(self) -> bool:
        """Whether the test rejects equality at 5 %."""
        return self.p_value < 0.05

    def to_json(self, interval: str = "interval") -> dict[str, object]:
        """Its fields; the interval under the name given."""
        return {
            "difference": self.difference,
            interval: list(self.interval),
            "p_value": self.p_value,
            "gained": self.gained,
            "lost": self.lost,
        }

    @classmethod
    def from_json(cls, fields: Fields, interval: str = "interval") -> "PairedDifference":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        return cls(
            difference=fields.read("difference", CHANGE),
            interval=fields.read(interval, INTERVAL),
            p_value=fields.read("p_value", SHARE),
            gained=fields.read("gained", COUNT),
            lost=fields.read("lost", COUNT),
        )


def paired_difference(
    first: Sequence[bool] | Bool[np.ndarray, " examples"],
    second: Sequence[bool] | Bool[np.ndarray, " examples"],
) -> PairedDifference:
    """Compare the same examples under two variants.

    Args:
        first: which examples the first variant has right.
        second: which examples the second variant has right.

    Raises:
        ValueError: no examples, or not the same number.
    """
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"paired outcomes should match and not be empty: {a.shape}, {b.shape}")
    gained, lost = int((b & ~a).sum()), int((a & ~b).sum())
    return PairedDifference(
        difference=(gained - lost) / a.size,
        interval=paired_interval(gained, lost, a.size),
        p_value=mcnemar(gained, lost),
        gained=gained,
        lost=lost,
    )


def paired_interval(gained: int, lost: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Interval of a difference of paired proportions (Bonett and Price, 2012).

    The Wald interval after adding one half-success to each of the two discordant cells: it keeps
    its coverage where few or no examples change sides.

    Args:
        gained: examples that only the second variant has right.
        lost: examples that only the first has right.
        total: all examples, at least 1.
        z: quantile of the normal distribution; 95 % by default.
    """
    p, q = (gained + 1) / (total + 2), (lost + 1) / (total + 2)
    half = z * math.sqrt((p + q - (p - q) ** 2) / (total + 2))
    difference = (gained - lost) / total
    low, high = max(-1.0, p - q - half), min(1.0, p - q + half)
    return min(low, difference), max(high, difference)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar test: are the discordant examples split evenly by chance?"""
    from scipy.stats import binomtest

    if gained + lost == 0:
        return 1.0
    return float(binomtest(gained, gained + lost, 0.5).pvalue)
