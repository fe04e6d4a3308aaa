"""How much of a change is luck: of the demonstrations drawn, of their order, of the examples.

A change measured once has three parts of chance in it. Draws of demonstrations may have examples
of their own or share them; orders of one draw are compared on the same examples.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from jaxsvd.results.fields import INTERVAL, NUMBER, SPREAD, Fields
from jaxsvd.results.over_draws import DrawValues, covariance_of_means
from jaxsvd.results.over_draws import over_draws as means_over_draws

Turned = Int[np.ndarray, " examples"]
"""1 where an example became right, -1 where it became wrong, 0 elsewhere."""


@dataclass(frozen=True)
class Spread:
    """Changes of accuracy over draws or over orders of demonstrations.

    Attributes:
        changes: one for each draw or order.
        sd: of the change over draws (orders), the chance of examples taken out of it; 0 where the
            spread is no more than examples alone would give.
        examples_sd: that the choice of examples alone gives to the change of one draw (order).
        interval: of the mean change, 95 %, over draws (orders) and examples; None in older records.
    """

    changes: tuple[float, ...]
    sd: float
    examples_sd: float
    interval: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        """Over all."""
        return float(np.mean(self.changes))

    def to_json(self) -> dict[str, object]:
        """Its fields."""
        interval = {} if self.interval is None else {"interval": list(self.interval)}
        return {
            "changes": list(self.changes),
            "mean": self.mean,
            "sd": self.sd,
            "examples_sd": self.examples_sd,
            **interval,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Spread":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        return cls(
            changes=fields.several("changes", NUMBER),
            sd=fields.read("sd", SPREAD),
            examples_sd=fields.read("examples_sd", SPREAD),
            interval=fields.maybe("interval", INTERVAL),
        )


def over_draws(
    turned: Sequence[Turned], examples: Sequence[Int[np.ndarray, " examples"]] | None = None
) -> Spread:
    """Draws of demonstrations: the variance of their means, less what the examples give to it.

    Draws with examples of their own differ by the chance of examples too; draws on the same ones
    differ by what is left of it once the examples' common part is taken out.

    Args:
        turned: of each of at least two draws.
        examples: rows of the examples in their source, for each draw: what draws share has equal
            rows. All have others if left out.
    """
    sizes = np.cumsum([0, *map(len, turned)])
    rows = examples or [np.arange(a, b) for a, b in itertools.pairwise(sizes)]
    draws = [DrawValues(t.astype(float), r) for t, r in zip(turned, rows, strict=True)]
    means = np.array([t.mean() for t in turned])
    covariance = covariance_of_means(draws, means)
    count, within = len(draws), float(np.diag(covariance).mean())
    shared = (float(covariance.sum()) - count * within) / (count * (count - 1))
    between = max(0.0, float(means.var(ddof=1)) - within + shared)
    mean = means_over_draws(draws)
    return Spread(tuple(map(float, means)), math.sqrt(between), math.sqrt(within), mean.interval)


def over_orders(turned: Sequence[Turned]) -> Spread:
    """Orders on the same examples: two ways without replication.

    The mean square of orders holds that of the residual; examples that are easy or hard in every
    order are no part of either (Searle, Casella and McCulloch, 1992, chapter 4).

    Args:
        turned: of each of at least two orders, the same examples in the same places.
    """
    table = np.stack(turned).astype(float)  # [orders, examples]
    orders, examples = table.shape
    means = table.mean(axis=1)
    residual = table - means[:, None] - table.mean(axis=0) + table.mean()
    square = float((residual**2).sum()) / ((orders - 1) * (examples - 1))
    between = max(0.0, float(means.var(ddof=1)) - square / examples)
    within = float(np.mean(table.var(axis=1, ddof=1))) / examples
    mean = means_over_draws([DrawValues(row, np.arange(examples)) for row in table])
    return Spread(tuple(map(float, means)), math.sqrt(between), math.sqrt(within), mean.interval)
