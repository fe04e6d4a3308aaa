"""A bound for the deterministic model, by noise added to its last weight only in the analysis."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from theory.bounds.results import Bound
from theory.checks import Real, real, require, require_finite, require_whole

Predictors = Float[np.ndarray, "M d"]
Risks = Callable[[Predictors], tuple[Float[np.ndarray, " M"], Float[np.ndarray, " M"]]]
"""From the predictors of M samples to the population and the empirical risk of each."""

SIGMAS = tuple(float(sigma) for sigma in np.geomspace(0.01, 3, 40))


def terminal_noise(
    predictors: Real,
    risks: Risks,
    n: int,
    *,
    sigmas: Sequence[float] = SIGMAS,
    seed: int = 0,
    loss_range: float = 1.0,
    sub_gaussian: float | None = None,
) -> Bound:
    """Gap of the deterministic model, through the same model with noise on its predictor.

    With w_L the predictor that the last state holds, and w_L + sigma xi in its place,

        gap <= min over sigma of  sqrt(R^2/N logdet(I + Cov(w_L)/sigma^2))
                                  + (pop_0 - pop_sigma)_+ + (emp_sigma - emp_0)_+

    since I(S; w_L + sigma xi) is at most half that log-determinant (the Gaussian channel). Every
    sigma gives a bound; the least over a fixed grid is one too. Not in the paper, whose bounds say
    nothing of the deterministic model.

    Args:
        predictors: w_L of M independent samples of the same task, ``[M, d]``.
        risks: of predictors, sample m's at row m.
        n: demonstrations.
        sigmas: grid.
        seed: of the noise, the same for every sigma.
        loss_range: length of the interval that holds the loss.
        sub_gaussian: R itself; half the range where it is None.

    Raises:
        ValueError: fewer than two samples or demonstrations, a sigma or a range that is not
            positive, values that are not finite, or risks outside the loss's range.
    """
    (predictors,) = real(predictors=predictors)
    require(predictors.ndim == 2, "predictors", "[M, d]", predictors.shape)
    require(len(predictors) >= 2, "predictors", "at least 2 samples", len(predictors))
    require_finite("predictors", predictors)
    require_whole("n", n, 2)
    positive = len(sigmas) > 0 and all(0 < sigma < math.inf for sigma in sigmas)
    require(positive, "sigmas", "positive", sigmas)
    require(0 < loss_range < math.inf, "loss_range", "positive", loss_range)
    radius = loss_range / 2 if sub_gaussian is None else sub_gaussian
    require(0 < radius < math.inf, "sub_gaussian", "positive", sub_gaussian)
    w = np.asarray(predictors, np.float64)
    centred = (w - w.mean(0)) / math.sqrt(len(w) - 1)
    spectrum = np.maximum(np.linalg.eigvalsh(_smaller_gram(centred)), 0)
    noise = np.random.default_rng(seed).normal(size=w.shape)
    population, empirical = _checked(risks(w), loss_range)
    best = Bound(math.inf, (math.inf,), "inf", "deterministic")
    for sigma in sigmas:
        information = float(np.log1p(spectrum / sigma**2).sum())
        noisy_population, noisy_empirical = _checked(risks(w + sigma * noise), loss_range)
        easier, harder = population - noisy_population, noisy_empirical - empirical
        value = radius * math.sqrt(information / n)
        value += max(easier.mean(), 0.0) + max(harder.mean(), 0.0)
        if value < best.value:
            spread = np.where(easier.mean() > 0, easier, 0) + np.where(harder.mean() > 0, harder, 0)
            error = float(spread.std(ddof=1)) / math.sqrt(len(w))
            note = f"least at sigma = {sigma:.3g}; the error is that of the risks"
            best = Bound(float(value), (information,), "finite", "deterministic", error, note)
    return best


def _smaller_gram(rows: np.ndarray) -> np.ndarray:
    return rows.T @ rows if rows.shape[0] >= rows.shape[1] else rows @ rows.T


def _checked(
    arrays: tuple[np.ndarray, np.ndarray], loss_range: float
) -> tuple[np.ndarray, np.ndarray]:
    for name, risk in zip(("population", "empirical"), arrays, strict=True):
        require_finite(f"risks ({name})", risk)
        spread = float(np.max(risk) - np.min(risk))
        requirement = f"within an interval of length {loss_range:g}"
        require(spread <= loss_range * (1 + 1e-9), f"risks ({name})", requirement, spread)
    return arrays
