"""What a search makes of its predictions, of one draw of demonstrations or of several."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from jaxsvd.results.calibration import Readings, explain, read_scores, score_table
from jaxsvd.results.explanation import Explanation
from jaxsvd.results.explanation_over_draws import explain_over_draws
from jaxsvd.results.over_draws import accuracy_over_draws, difference_over_draws
from jaxsvd.results.predictions import Prediction
from jaxsvd.results.search import RateScore, SearchDraw, Tested
from jaxsvd.results.selection_bias import CorrectedMaximum, corrected_maximum
from jaxsvd.results.selection_score import Score, contributions

Lines = Mapping[float, Sequence[Prediction]]
"""Predictions of a split of one draw, by clipping rate; rate 0 is among them."""

Examples = Sequence[Int[np.ndarray, " examples"]]
"""Which examples each draw has, see :func:`jaxsvd.encoded_task.example_numbers`."""


def rate_scores(
    draws: Sequence[Lines],
    examples: Examples,
    ranks: Mapping[float, int | None],
    score: Score,
) -> tuple[RateScore, ...]:
    """Validation by rate, over the draws.

    Args:
        draws: validation predictions.
        examples: which examples each draw has.
        ranks: kept at each rate.
        score: what the rate is chosen by.
    """
    scores = []
    for rate, rank in ranks.items():
        accuracy = accuracy_over_draws([right(lines[rate]) for lines in draws], examples)
        value = None
        if score != "accuracy":
            value = float(np.concatenate([contributions(score, d[rate]) for d in draws]).mean())
        scores.append(RateScore(rate, rank, accuracy, value))
    return tuple(scores)


def selection_of(draws: Sequence[Lines], examples: Examples, score: Score) -> CorrectedMaximum:
    """The best score of validation, over the draws, with and without its optimism."""
    added = [np.stack([contributions(score, lines) for lines in d.values()]) for d in draws]
    return corrected_maximum(added, examples)


def tested_over_draws(draws: Sequence[Lines], examples: Examples, rate: float) -> Tested:
    """The test set under the untouched model and at a rate, over the draws."""
    base, pruned = ([right(lines[r]) for lines in draws] for r in (0.0, rate))
    return Tested(
        accuracy_over_draws(base, examples),
        accuracy_over_draws(pruned, examples),
        difference_over_draws(base, pruned, examples),
    )


def explanation_of(
    draws: Sequence[tuple[Lines, Lines]], examples: Examples, rate: float
) -> Explanation | None:
    """What the change on the test set is made of; None where there is none to be explained.

    Args:
        draws: validation and test predictions of each.
        examples: of the test set, which each draw has.
        rate: at which the model is truncated.
    """
    if rate == 0:
        return None
    by_draw = [_tables(validation, test, rate) for validation, test in draws]
    if len(by_draw) == 1 and by_draw[0] is not None:
        return explain(*by_draw[0])
    readings: list[Readings] = [read_scores(*tables) for tables in by_draw if tables is not None]
    if len(readings) < len(draws):
        return None
    return explain_over_draws(readings, examples)


def search_draw(
    seed: int,
    validation_scores: tuple[RateScore, ...],
    best_rate: float,
    chosen_rate: float,
    lines: tuple[Lines, Lines],
) -> SearchDraw:
    """What one draw has.

    Args:
        seed: of the draw.
        validation_scores: of this draw alone.
        best_rate: the best of them.
        chosen_rate: that of the search, on the mean of all draws.
        lines: this draw's predictions of validation and test.
    """
    test = lines[1]
    examples = [np.arange(len(test[0.0]))]
    return SearchDraw(
        seed=seed,
        validation=validation_scores,
        best_rate=best_rate,
        tested=tested_over_draws([test], examples, best_rate),
        explanation=explanation_of([lines], examples, best_rate),
        chosen=tested_over_draws([test], examples, chosen_rate),
    )


def right(lines: Sequence[Prediction]) -> Bool[np.ndarray, " examples"]:
    """Which examples are right."""
    return np.array([line.right for line in lines], bool)


Tables = tuple[tuple[np.ndarray, np.ndarray], np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]


def _tables(validation: Lines, test: Lines, rate: float) -> Tables | None:
    """The arguments of :func:`jaxsvd.results.calibration.read_scores`."""
    tables = [score_table(lines[r]) for lines in (validation, test) for r in (0.0, rate)]
    known = [table for table in tables if table is not None]
    if len(known) < len(tables):
        return None
    (one, gold), (other, _), (before, test_gold), (after, _) = known
    return (one, other), gold, (before, after), test_gold
