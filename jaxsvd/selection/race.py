"""A race of candidates: those that cannot be the best are dropped while examples are scored.

Each pair of candidates has a bet on the sign of their difference (Waudby-Smith and Ramdas, 2024,
"Estimating means of bounded random variables by betting"). Were the one at least epsilon better
than the other, the gambler's capital would be a supermartingale, and by Ville's inequality it
would ever reach 1 / alpha with probability alpha at most. So one may look after every batch, and
drop a candidate as soon as the capital against it is large enough. With alpha = delta / (K (K -
1)) for K candidates, all statements made hold together with probability 1 - delta.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxsvd.runtime.errors import UserError

EPSILON, DELTA = 0.02, 0.05
"""A winner may be worse than the best by so much, and with so small a chance by more."""

FIRST_BATCH, GROWTH = 32, 1.5
"""Examples of the first batch; each later one is so many times as large."""

STAKES = tuple(0.9 * 0.5**k for k in range(8))
"""Shares of the largest stake that a bet may have; the capital is divided among them."""


@dataclass(frozen=True)
class Race:
    """How a race went.

    Attributes:
        winner: the candidate with the best mean of those that are left, the first of equals.
        epsilon: with probability 1 - delta no candidate is better than the winner by more. Larger
            than what was wanted where the examples ran out.
        scored: of how many examples each candidate has a score.
    """

    winner: int
    epsilon: float
    scored: tuple[int, ...]

    @property
    def passes(self) -> int:
        """Examples times the candidates that they were scored under."""
        return sum(self.scored)


Scorer = Callable[[Sequence[int], range], Float[np.ndarray, "candidates examples"]]
"""Scores, in [0, 1], of some candidates on some examples."""


def race(
    score: Scorer,
    candidates: int,
    examples: int,
    *,
    epsilon: float = EPSILON,
    delta: float = DELTA,
) -> Race:
    """Find a candidate whose mean score is within epsilon of the best of all.

    Examples are taken in their order, which should be random. A candidate is dropped when it is
    shown to be worse than the leader, or better by less than epsilon. In the latter case the
    leader stands for it from then on, and goes only where it is shown to be worse than another
    candidate, which then stands for both: so the tolerance never adds up.

    Args:
        score: what scores; it is called once for each batch, with the candidates that are left.
        candidates: how many there are.
        examples: how many there are.
        epsilon: by how much the winner may be worse than the best.
        delta: the chance that it is worse by more.

    Raises:
        UserError: an epsilon outside (0, 1) or a delta outside (0, 1).
    """
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 0 < value < 1:
            raise UserError(f"{name} = {value:g} should be between 0 and 1")
    needed = math.log(max(candidates * (candidates - 1), 1) / delta)
    table = np.zeros((candidates, examples))
    scored = np.zeros(candidates, int)
    left, standing_in = list(range(candidates)), set[int]()
    done, size, leader = 0, float(FIRST_BATCH), 0
    while done < examples and len(left) > 1:
        batch = range(done, min(examples, done + math.ceil(size)))
        table[left, batch.start : batch.stop] = score(left, batch)
        scored[left] += len(batch)
        done, size = batch.stop, size * GROWTH
        seen = table[:, :done]
        leader = max(left, key=lambda i: (round(float(seen[i].mean()), 12), -i))
        others = [i for i in left if i != leader]
        worse = capital(seen[leader] - seen[others], 0.0) >= needed
        no_better = capital(seen[leader] - seen[others], epsilon) >= needed
        for i, is_worse, is_no_better in zip(others, worse, no_better, strict=True):
            stands_in = i in standing_in
            if is_worse or (is_no_better and not stands_in):
                left.remove(i)
                if stands_in or not is_worse:
                    standing_in.add(leader)
    return Race(
        leader,
        _guaranteed(table[:, :done], leader, left, standing_in, epsilon, needed),
        tuple(map(int, scored)),
    )


def capital(
    differences: Float[np.ndarray, "others examples"], epsilon: float
) -> Float[np.ndarray, " others"]:
    """Logarithm of what a gambler has who bets that another is better by less than epsilon.

    The start is 1. If the mean of ``differences`` is at most ``-epsilon`` its expectation never
    grows.

    Args:
        differences: scores of the leader less those of the others, in [-1, 1].
        epsilon: in [0, 1).
    """
    # (d + epsilon) / (1 - epsilon) is at least -1: no stake below 1 can lose everything.
    gains = (differences + epsilon) / (1 - epsilon)
    logs = np.stack([np.log1p(stake * gains).sum(axis=1) for stake in STAKES])
    largest = logs.max(axis=0)
    return largest + np.log(np.exp(logs - largest).mean(axis=0))


def _guaranteed(
    seen: Float[np.ndarray, "candidates examples"],
    winner: int,
    left: Sequence[int],
    standing_in: set[int],
    epsilon: float,
    needed: float,
) -> float:
    """By how much the best of all may be better than the winner."""
    bounds = {i: 0.0 if i == winner else _upper_bound(seen[winner] - seen[i], needed) for i in left}
    # Whoever was dropped as no better than another is within epsilon of that one.
    return max(bound + (epsilon if i in standing_in else 0.0) for i, bound in bounds.items())


def _upper_bound(difference: Float[np.ndarray, " examples"], needed: float) -> float:
    """The smallest epsilon at which the capital suffices, to 1e-4; it grows with epsilon."""
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        if capital(difference[None], middle)[0] >= needed:
            high = middle
        else:
            low = middle
    return high
