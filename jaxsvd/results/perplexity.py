"""Perplexity on plain text, of the untouched model beside an edited one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxsvd.results.fields import COUNT, FLAG, INTERVAL, NUMBER, TEXT, Fields
from jaxsvd.results.statistics import Z95

Z90 = 1.6448536269514722
"""95 % point of the normal distribution: one-sided 5 %."""


@dataclass(frozen=True)
class Perplexity:
    """Perplexity of a text, read in windows.

    Attributes:
        windows: ``non-overlapping`` or ``strided``.
        window: tokens of a window.
        stride: tokens from one window to the next; of every window after the first only so many
            are scored.
        tokens: scored.
        untouched: perplexity, exp of the mean negative log-likelihood of a token.
        edited: likewise of the edited model; None where nothing is edited.
        difference: mean negative log-likelihood of the edited model less that of the untouched
            one, in nats a token.
        interval: of the difference, 95 %, paired, over windows.
        margin: nats a token that would not matter; None where nothing was stated.
        significant: whether a difference of 0 is rejected at 5 %, after Holm's correction over
            all that was tried beside it; None where nothing was.
    """

    windows: str
    window: int
    stride: int
    tokens: int
    untouched: float
    edited: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    margin: float | None = None
    significant: bool | None = None

    @property
    def p_value(self) -> float | None:
        """Of a difference of 0, two-sided, by the normal distribution; None without an edit."""
        if self.difference is None or self.interval is None:
            return None
        error = (self.interval[1] - self.interval[0]) / 2 / Z95
        if error == 0:
            return float(self.difference == 0)
        return math.erfc(abs(self.difference) / error / math.sqrt(2))

    @property
    def equivalent(self) -> bool | None:
        """Whether two one-sided tests at 5 % reject a change of the margin or more.

        None where no margin was stated, or nothing is edited.
        """
        if self.difference is None or self.interval is None or self.margin is None:
            return None
        half = (self.interval[1] - self.interval[0]) / 2 * Z90 / Z95
        return abs(self.difference) + half < self.margin

    def no_worse(self, margin: float) -> bool:
        """Whether a rise by ``margin`` nats a token or more is rejected, one-sided at 5 %."""
        if self.difference is None or self.interval is None:
            return True
        half = (self.interval[1] - self.interval[0]) / 2
        return self.difference + half * Z90 / Z95 < margin

    def to_json(self) -> dict[str, object]:
        """Its fields; those of the edited model only where there is one."""
        record = dict(vars(self))
        if self.interval is not None:
            record["interval"] = list(self.interval)
        return {name: value for name, value in record.items() if value is not None}

    @classmethod
    def from_json(cls, fields: Fields) -> "Perplexity":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        return cls(
            windows=fields.read("windows", TEXT),
            window=fields.read("window", COUNT),
            stride=fields.read("stride", COUNT),
            tokens=fields.read("tokens", COUNT),
            untouched=fields.read("untouched", NUMBER),
            edited=fields.maybe("edited", NUMBER),
            difference=fields.maybe("difference", NUMBER),
            interval=fields.maybe("interval", INTERVAL),
            margin=fields.maybe("margin", NUMBER),
            significant=fields.maybe("significant", FLAG),
        )


def perplexity_of(
    windows: str,
    window: int,
    stride: int,
    counts: Int[np.ndarray, " windows"],
    log_likelihoods: Sequence[Float[np.ndarray, " windows"]],
) -> Perplexity:
    """From the log-likelihood of every window.

    The interval is that of a ratio: windows differ in their number of scored tokens. It takes
    windows for independent.

    Args:
        windows: what they are called.
        window: tokens of each.
        stride: from one to the next.
        counts: scored tokens of each.
        log_likelihoods: sums over these, of the untouched and, if any, of the edited model.
    """
    total = int(counts.sum())
    mean = [-float(values.sum()) / total for values in log_likelihoods]
    if len(mean) == 1:
        return Perplexity(windows, window, stride, total, _exp(mean[0]))
    worse = log_likelihoods[0] - log_likelihoods[1]
    difference = float(worse.sum()) / total
    n = len(counts)
    error = math.inf
    if n > 1:
        error = math.sqrt(float(((worse - difference * counts) ** 2).sum()) * n / (n - 1)) / total
    interval = (difference - Z95 * error, difference + Z95 * error)
    return Perplexity(
        windows, window, stride, total, _exp(mean[0]), _exp(mean[1]), difference, interval
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
