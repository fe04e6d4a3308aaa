"""How optimistic the best validation score is: it is the largest of several noisy ones.

Of rates that are all equally good the best looks better than it is, by about 1.4 standard errors
of eight. A bootstrap repeats the whole selection: it draws examples with replacement (and draws of
demonstrations, where there are several), chooses a rate on them, and reads its score off the
examples that were not drawn. These had no say in the choice, so that score is not optimistic
(the leave-one-out bootstrap of Efron and Tibshirani, 1997). It is that of a rate chosen on about
two thirds of the examples, so it errs a little on the low side where the choice is hard.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxsvd.results.fields import NUMBER, Fields

RESAMPLES, CHUNK = 1000, 100


@dataclass(frozen=True)
class CorrectedMaximum:
    """The best score on validation, and what remains of it.

    Attributes:
        score: of the chosen rate, on the examples that chose it.
        corrected: the same without optimism; None where there are too few examples to leave out.
    """

    score: float
    corrected: float | None

    def to_json(self) -> dict[str, object]:
        """Of the ``selection`` object of result.json, which names the score too."""
        return {"value": self.score, "corrected": self.corrected}

    @classmethod
    def from_json(cls, fields: Fields) -> "CorrectedMaximum":
        """As written."""
        return cls(fields.read("value", NUMBER), fields.maybe("corrected", NUMBER))


def first_best(scores: Float[np.ndarray, " rates"]) -> int:
    """Step 4 of Algorithm 1: the first of the best, rates ascending.

    Sums of the same numbers in another order are equal to 1e-12.
    """
    return int(np.argmax(scores >= scores.max() - 1e-12))


def corrected_maximum(
    contributions: Sequence[Float[np.ndarray, "rates examples"]],
    examples: Sequence[Int[np.ndarray, " examples"]],
    *,
    seed: int = 0,
) -> CorrectedMaximum:
    """The largest of several mean scores, with and without the optimism of having chosen it.

    Args:
        contributions: for each draw of demonstrations what every example adds to the score of each
            rate: scores are means of these, over draws and examples.
        examples: rows of each draw's examples in their source; what draws share is drawn together.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    rows = np.unique(np.concatenate(examples))
    places = [np.searchsorted(rows, of_draw) for of_draw in examples]
    score = np.concatenate(contributions, axis=1).mean(axis=1)
    left_out: list[float] = []
    for _ in range(RESAMPLES // CHUNK):
        left_out += _left_out(contributions, places, len(rows), rng)
    corrected = float(np.mean(left_out)) if left_out else None
    return CorrectedMaximum(float(score.max()), corrected)


def _left_out(
    contributions: Sequence[Float[np.ndarray, "rates examples"]],
    places: Sequence[Int[np.ndarray, " examples"]],
    rows: int,
    rng: np.random.Generator,
) -> list[float]:
    """Scores of chosen rates on what did not choose them, of some resamples."""
    count, rates = len(contributions), len(contributions[0])
    times = rng.multinomial(rows, np.full(rows, 1 / rows), CHUNK).astype(float)
    draws = rng.multinomial(count, np.full(count, 1 / count), CHUNK)
    # Of one draw the choice speaks of this draw alone, and so does its score.
    spared = draws == 0 if count > 1 else np.ones((CHUNK, 1), bool)
    chosen_on, tested_on = np.zeros((2, CHUNK, rates))
    size, rest = np.zeros((2, CHUNK))
    for draw, (table, place) in enumerate(zip(contributions, places, strict=True)):
        weights = draws[:, draw, None] * times[:, place]
        outside = spared[:, draw, None] * (times[:, place] == 0)
        chosen_on += weights @ table.T
        tested_on += outside @ table.T
        size += weights.sum(axis=1)
        rest += outside.sum(axis=1)
    return [
        float(tested_on[i, first_best(chosen_on[i] / size[i])] / rest[i])
        for i in np.flatnonzero((size > 0) & (rest > 0))
    ]
