"""Whether predicted changes have the right sign, and what bounds are worth as bounds."""

import math
from dataclasses import dataclass

import numpy as np

from theory.checks import Real, real, require


@dataclass(frozen=True)
class SignAgreement:
    """How often a predicted change has the sign of the measured one.

    Attributes:
        agreeing: of the changes that are compared.
        compared: changes outside the dead zone with a predicted sign.
        dead: measured changes within one standard error of 0, left out.
        unpredicted: measured changes outside the dead zone whose prediction is exactly 0.
    """

    agreeing: int
    compared: int
    dead: int
    unpredicted: int

    @property
    def share(self) -> float:
        """Agreeing over compared; 1/2 is chance, NaN of nothing."""
        return self.agreeing / self.compared if self.compared else math.nan


def sign_agreement(
    predicted: Real,
    measured: Real,
    standard_error: Real,
) -> SignAgreement:
    """Signs of predicted and measured changes, with a dead zone of one standard error.

    Args:
        predicted: changes of the predictor, ``[n]``.
        measured: changes of the outcome, ``[n]``.
        standard_error: of each measured change, ``[n]``.
    """
    predicted, measured, standard_error = (
        np.asarray(column, np.float64)
        for column in real(predicted=predicted, measured=measured, standard_error=standard_error)
    )
    for name, array in (("predicted", predicted), ("standard_error", standard_error)):
        require(array.shape == measured.shape, name, f"of shape {measured.shape}", array.shape)
    for name, column in (("predicted", predicted), ("measured", measured)):
        require(not np.isnan(column).any(), name, "without NaN", "NaN")
    require(bool((standard_error >= 0).all()), "standard_error", "at least 0", standard_error)
    alive = (np.abs(measured) > standard_error) & (measured != 0)
    signed = alive & (predicted != 0)
    agree = signed & (np.sign(predicted) == np.sign(measured))
    return SignAgreement(
        int(agree.sum()), int(signed.sum()), int((~alive).sum()), int((alive & ~signed).sum())
    )


@dataclass(frozen=True)
class Coverage:
    """What bounds are worth as bounds.

    Attributes:
        covered: share of cells whose gap is at most the bound.
        median_ratio: median of bound / gap where the gap is positive; ``inf`` if most are.
        below_trivial: share of bounds below the trivial one.
        infinite: share of bounds that are infinite.
        cells: how many.
    """

    covered: float
    median_ratio: float
    below_trivial: float
    infinite: float
    cells: int


def coverage(bound: Real, gap: Real, *, trivial: float = 1.0) -> Coverage:
    """How often bounds hold, how loose they are, and how often they say anything.

    Args:
        bound: one for each cell, ``[n]``; may be infinite.
        gap: measured, ``[n]``. (For test error and training error + bound: their difference.)
        trivial: what is known without a bound; 1 for losses in [0, 1].
    """
    bound, gap = (np.asarray(column, np.float64) for column in real(bound=bound, gap=gap))
    require(bound.shape == gap.shape, "bound", f"of shape {gap.shape}", bound.shape)
    require(bound.size > 0, "bound", "not empty", bound.shape)
    for name, column in (("bound", bound), ("gap", gap)):
        require(not np.isnan(column).any(), name, "without NaN", "NaN")
    positive = gap > 0
    ratio = float(np.median(bound[positive] / gap[positive])) if positive.any() else math.nan
    return Coverage(
        float((gap <= bound).mean()),
        ratio,
        float((bound < trivial).mean()),
        float(np.isinf(bound).mean()),
        bound.size,
    )
