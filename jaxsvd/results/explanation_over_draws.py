"""What a truncation changed, over several draws of demonstrations."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxsvd.results.calibration import BONFERRONI, Readings, verdict_of
from jaxsvd.results.explanation import FITTED, RAW, SCORINGS, Change, Explanation, Share
from jaxsvd.results.over_draws import DrawValues, OverDraws, over_draws, ratio_over_draws

Values = Float[np.ndarray, " examples"]


def explain_over_draws(
    draws: Sequence[Readings], examples: Sequence[Int[np.ndarray, " examples"]]
) -> Explanation:
    """As :func:`jaxsvd.results.calibration.explain`, with intervals over draws and examples.

    Args:
        draws: each one's test set, read with the label prior fitted on its own validation set.
        examples: rows of the test examples in their source, for each draw.
    """
    accuracy = {}
    for scoring in SCORINGS:
        right = [draw.right[scoring] for draw in draws]
        accuracy[scoring], _ = _change([(a * 1.0, b * 1.0) for a, b in right], examples)
    area = area_differs = None
    areas = [draw.area for draw in draws if draw.area is not None]
    if len(areas) == len(draws):
        area, over = _change(areas, examples)
        area_differs = over.p_value < BONFERRONI
    share = None
    if accuracy[RAW].sign:
        raw, fitted = (
            [
                DrawValues(draw.turned(scoring) * 1.0, rows)
                for draw, rows in zip(draws, examples, strict=True)
            ]
            for scoring in (RAW, FITTED)
        )
        left, (low, high) = ratio_over_draws(fitted, raw)
        share = Share(1 - left, (1 - high, 1 - low))
    calibrated = accuracy[FITTED].p_value
    assert calibrated is not None
    discrimination = calibrated < BONFERRONI or bool(area_differs)
    return Explanation(accuracy, area, share, verdict_of(accuracy[RAW], share, discrimination))


def _change(
    draws: Sequence[tuple[Values, Values]], examples: Sequence[Int[np.ndarray, " examples"]]
) -> tuple[Change, OverDraws]:
    """Of values of the untouched and the truncated model whose means are compared."""
    pairs = list(zip(draws, examples, strict=True))
    before, after = (float(np.concatenate(side).mean()) for side in zip(*draws, strict=True))
    change = over_draws([DrawValues(two - one, rows) for (one, two), rows in pairs])
    low, high = change.interval
    interval = max(-1.0, low), min(1.0, high)
    return Change(before, after, change.mean, interval, change.p_value), change
