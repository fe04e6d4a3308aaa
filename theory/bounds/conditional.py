"""The prior's variance as a function of the past, which the sample does not enter.

Given W_{t-1} the best variance is E[||G - g||^2 + tr C | W_{t-1}] / d; every function s of the past
gives a bound, E[d log s + (||G - g||^2 + tr C) / s]. Of the functions s = exp(a) f^beta of one
feature f of the past the best is found: the objective is convex in (a, beta) (a Gamma regression
with a log link), and beta = 0 is the unconditional form.
"""

from typing import cast

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import logsumexp

FARTHEST = 1e3


def log_scales(
    log_total: Float[np.ndarray, " M"], past: Float[np.ndarray, " M"] | None
) -> Float[np.ndarray, " M"]:
    """Log E[total | past] for each replicate; one number for all where the past is None.

    Args:
        log_total: log of ||G - g||^2 + tr C of each replicate.
        past: log of the feature of each replicate's past.
    """
    count = len(log_total)
    if past is None or count < 2:
        return np.full(count, logsumexp(log_total) - np.log(count))
    apart = past - past.mean()
    spread = float(np.abs(apart).max())
    if spread <= 1e-12 * max(float(np.abs(past).max()), 1.0):
        return log_scales(log_total, None)

    def slope(beta: float) -> float:
        """Derivative of log mean(total f^-beta) + beta mean log f, which rises in beta."""
        logs = log_total - beta * apart
        weights = np.exp(logs - logsumexp(logs))
        return -float(weights @ apart)

    reach = 1.0 / spread
    while slope(-reach) > 0 or slope(reach) < 0:
        reach *= 2
        if reach * spread > FARTHEST:
            break
    low, high = slope(-reach), slope(reach)
    if low > 0 or high < 0:  # the best exponent is beyond all reason: take the nearest
        beta = -reach if low > 0 else reach
    else:
        beta = cast(float, brentq(slope, -reach, reach))
    scales = logsumexp(log_total - beta * apart) - np.log(count)
    return scales + beta * apart
