"""What a search chooses its clipping rate by."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

from jaxsvd.results.calibration import area_values, batch_calibrated, score_table
from jaxsvd.results.predictions import Prediction
from jaxsvd.runtime.errors import UserError

Score = Literal["accuracy", "calibrated", "nll", "auc"]
"""``accuracy``, the paper's; ``calibrated``: accuracy after batch calibration; ``nll``: the mean
log-likelihood of the right label among the labels; ``auc``: the area under the ROC curve, each
label against the rest. All are the larger the better."""


def check_score(score: str) -> None:
    """Refuse what is no score.

    Raises:
        UserError: it is none.
    """
    if score not in get_args(Score):
        raise UserError(f"score {score!r} should be one of {', '.join(get_args(Score))}")


def contributions(score: Score, lines: Sequence[Prediction]) -> Float[np.ndarray, " examples"]:
    """What each example adds: their mean is the score of a variant on a split.

    Args:
        score: which.
        lines: predictions of one variant, of one draw.

    Raises:
        UserError: a score that needs labels in common, and the examples have none; an area where
            all examples have one gold label.
    """
    if score == "accuracy":
        return np.array([line.right for line in lines], float)
    table = score_table(lines)
    if table is None:
        raise UserError(
            f"the score {score} needs the same labels in every question, with finite scores; "
            "choose by accuracy"
        )
    scores, gold = table
    if score == "calibrated":
        return (batch_calibrated(scores).argmax(axis=1) == gold).astype(float)
    if score == "nll":
        return log_softmax(scores, axis=1)[np.arange(len(gold)), gold]
    if len(np.unique(gold)) < 2:
        raise UserError("the score auc needs validation examples of two labels or more")
    return area_values(scores, gold)
