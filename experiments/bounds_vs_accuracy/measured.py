"""What is measured of one cell: accuracies, training error, their gap, and changes, with errors."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from experiments.bounds_vs_accuracy.questions import SupersampledTask
from experiments.common.records import Record
from jaxsvd.results.statistics import Accuracy, paired_difference

FEWEST_PROMPTS = 5
"""Standard errors are over prompts where there are so many, else over questions."""


def measure(
    draw: SupersampledTask,
    predictions: Int[np.ndarray, " questions"],
    base: Int[np.ndarray, " questions"],
) -> Record:
    """Of one variant, and its change against the untouched model on the same questions.

    Args:
        draw: what was asked.
        predictions: the variant's.
        base: the untouched model's.

    Returns:
        ``validation``, ``test`` and ``training`` (counts, accuracy, interval), ``test_error``,
        ``training_error`` and ``gap``, each ``[value, standard error]``, and ``changes`` of
        ``test error`` and ``gap`` likewise, with McNemar's test of the former.
    """
    right, before = predictions == draw.gold, base == draw.gold
    wrong = (~right).astype(float)
    change = wrong - ~before
    test = draw.positions["test"]
    paired = paired_difference(before[test], right[test])
    return {
        **{
            name: Accuracy.of(right[draw.positions[name]]).to_json()
            for name in ("validation", "test", "training")
        },
        "test_error": estimate(draw, wrong, "test"),
        "training_error": estimate(draw, wrong, "training"),
        "gap": estimate(draw, wrong, "test", "training"),
        "changes": {
            "test error": estimate(draw, change, "test"),
            "gap": estimate(draw, change, "test", "training"),
            "validation error": estimate(draw, change, "validation"),
            "p_value": paired.p_value,
        },
    }


def estimate(
    draw: SupersampledTask,
    values: Float[np.ndarray, " questions"],
    split: str,
    less: str | None = None,
) -> list[float]:
    """Mean of a split, less that of another, and its standard error.

    Prompts are the independent units where there are enough of them: questions of one prompt
    stand and fall together.
    """
    prompts = [draw.prompts[draw.positions[name]] for name in (split, less) if name]
    few = len(np.unique(np.concatenate(prompts))) < FEWEST_PROMPTS
    terms = []
    for sign, name in ((1, split), (-1, less)):
        if name:
            at = draw.positions[name]
            clusters = at if few else draw.prompts[at]
            terms.append((sign * values[at], clusters))
    return clustered(terms)


def clustered(terms: list[tuple[Float[np.ndarray, "_"], Int[np.ndarray, "_"]]]) -> list[float]:
    """The sum of some means and its standard error, what is of one cluster being dependent.

    The linearised variance of a sum of ratio means: a cluster's share is the sum of its deviations,
    each over the size of its own mean.

    Args:
        terms: values and the clusters that they belong to, for each mean.
    """
    total, shares = 0.0, {}
    for values, clusters in terms:
        if not values.size:
            return [math.nan, math.nan]
        mean = float(values.mean())
        total += mean
        for cluster, off in zip(clusters.tolist(), values - mean, strict=True):
            shares[cluster] = shares.get(cluster, 0.0) + off / values.size
    count = len(shares)
    if count < 2:
        return [total, math.nan]
    square = sum(share**2 for share in shares.values()) * count / (count - 1)
    return [total, math.sqrt(square)]


def removed(shapes: Sequence[tuple[int, int]], ranks: Sequence[int]) -> int:
    """Parameters that truncation removes: rank-r matrices have r (m + n - r) free numbers."""
    return sum((m - r) * (n - r) for (m, n), r in zip(shapes, ranks, strict=True))
