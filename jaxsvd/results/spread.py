"""How much of a change is luck: of the demonstrations drawn, of their order, of the examples.

A change measured once has three parts of chance in it. Draws of demonstrations are compared on
examples of their own; orders of one draw on the same examples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from jaxsvd.results.fields import NUMBER, SPREAD, Fields

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
    """

    changes: tuple[float, ...]
    sd: float
    examples_sd: float

    @property
    def mean(self) -> float:
        """Over all."""
        return float(np.mean(self.changes))

    def to_json(self) -> dict[str, object]:
        """Its fields."""
        return {
            "changes": list(self.changes),
            "mean": self.mean,
            "sd": self.sd,
            "examples_sd": self.examples_sd,
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
        )


def over_draws(turned: Sequence[Turned]) -> Spread:
    """Draws with examples of their own: the variance of their means less that of a mean.

    Args:
        turned: of each of at least two draws.
    """
    means = np.array([t.mean() for t in turned])
    within = float(np.mean([t.var(ddof=1) / len(t) for t in turned]))
    between = max(0.0, float(means.var(ddof=1)) - within)
    return Spread(tuple(map(float, means)), math.sqrt(between), math.sqrt(within))


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
    return Spread(tuple(map(float, means)), math.sqrt(between), math.sqrt(within))
