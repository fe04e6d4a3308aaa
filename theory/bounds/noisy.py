"""Bounds on the noisy algorithm: the paper's Theorem 2 and Lemma 6, made true.

Given W_{t-1}, the step W_t is normal about W_{t-1} + G_t with covariance C_t. Against a prior
N(W_{t-1} + g_t, Q_t) that knows W_{t-1} but not the sample,

    2 I(S; W_t | W_{t-1}) <= logdet Q + tr Q^{-1} E[(G - g)(G - g)^T + C] - d - E logdet C,

least at Q = E[(G - g)(G - g)^T + C] (prior ``matrix``), and among the multiples of the identity at
Q = (E ||G - g||^2 + E tr C) / d (``isotropic``, the paper's). A loss in an interval of length B is
B/2-sub-Gaussian, so that gap <= sqrt(R^2 / N sum_t term_t) with R = B/2 and term_t the right-hand
side. What the paper prints differs in four ways:

- Its C_t is taken as positive definite. It never is: its rank is at most min(N - 1, D (D + 1) / 2),
  below D^2, and 0 at b = N. The theorem as printed is +inf, always, and these functions return
  that. Finite are (a) the same in the population subspace where the gradients live (never the
  sample's own span, which knows the sample), and (b) a ridge, which is noise added to the
  algorithm, and named in ``Bound.algorithm``.
- The expectation over H_s belongs inside the logarithm, as here. The printed form, outside, is
  smaller and false: with G = 5 at probability .01 and else 0, C = 1, it gives .0163 nats for a
  mutual information of .0534; the true form gives .1116.
- The loss must be sub-Gaussian: a squared loss on Gaussian data is not, clipped to [0, 1] it is.
- It bounds the noisy algorithm. The deterministic one tells its sample exactly, at infinite
  information; see :func:`theory.bounds.terminal_noise`.

Lemma 6's term does not change when G and C are scaled together, as by shrinking the last W_V: that
a smaller norm means a smaller bound holds only with the noise held fixed.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float

from theory.bounds.matrix_prior import matrix_term
from theory.bounds.measured import Measured
from theory.bounds.results import Bound, Status
from theory.checks import require
from theory.noise import Block, Ridge, Subspace, log_determinant, ridge_level

Center = Literal["zero", "mean", "state"]
Prior = Literal["isotropic", "matrix"]
Numbers = Float[np.ndarray, " M"]


def theorem2(
    measured: Measured,
    *,
    norm: Literal["frobenius", "spectral"] = "frobenius",
    subspace: Subspace = "full",
    ridge: Ridge = None,
    loss_range: float = 1.0,
) -> Bound:
    """The paper's Theorem 2: Lemma 6 at g = 0 with ||G_t||_F <= ||dW_t||_F ||A_{t-1}||.

    As printed (the full space, no ridge) it is infinite, always. The spectral norm of A_{t-1} is
    as valid as the paper's Frobenius norm, and smaller by up to a factor sqrt(D).

    Args:
        measured: the trajectory.
        norm: of A_{t-1}.
        subspace: where the algorithm moves, see :func:`lemma6`.
        ridge: extra noise, see :func:`lemma6`.
        loss_range: length of the interval that holds the loss.

    Raises:
        ValueError: as in :func:`lemma6`, or a spectral norm that was not measured.
    """
    require(norm in ("frobenius", "spectral"), "norm", "frobenius or spectral", norm)
    size = measured.frobenius if norm == "frobenius" else measured.spectral
    if size is None:
        raise ValueError("norm must be frobenius where no spectral norm was measured, got spectral")
    return _isotropic(measured, measured.update * size, subspace, ridge, loss_range)


def lemma6(
    measured: Measured,
    *,
    center: Center = "zero",
    prior: Prior = "isotropic",
    subspace: Subspace = "full",
    ridge: Ridge = None,
    loss_range: float = 1.0,
) -> Bound:
    """The paper's Lemma 6, with the expectation inside the logarithm.

    Args:
        measured: the trajectory.
        center: g_t. ``zero``; ``mean``, E G_t; ``state``, E G_t + beta_t (A_{t-1} - E A_{t-1}),
            the best of one scalar beta_t, which for gradient descent on isotropic inputs is all
            that matters: a regression on every entry of the state gives the same to .001.
        prior: ``isotropic`` as in the paper, or ``matrix``, the best Gaussian prior, in a block
            and estimated from the replicates.
        subspace: where the algorithm moves. Checked for a block of features; the user's word for
            ``symmetric``, where only ``zero`` is meaningful, since it moves with the state.
        ridge: ``("absolute", lam)`` or ``("relative", share of tr C_t)``, noise of variance lam in
            every direction of the subspace.
        loss_range: length of the interval that holds the loss.

    Raises:
        ValueError: a center of one replicate, a block that does not hold the gradients, a
            negative ridge, a range that is not positive, or a matrix prior without a block or with
            no more replicates than directions.
    """
    require(center in ("zero", "mean", "state"), "center", "zero, mean or state", center)
    require(prior in ("isotropic", "matrix"), "prior", "isotropic or matrix", prior)
    fixed = subspace != "symmetric"
    require(fixed or center == "zero", "center", "zero in the symmetric subspace", center)
    several = measured.replicates > 1
    require(several or center == "zero", "center", "zero with one replicate", center)
    if prior == "isotropic":
        squared = {
            "zero": measured.gradient,
            "mean": measured.from_mean,
            "state": measured.from_state,
        }[center]
        assert squared is not None  # there are several replicates
        return _isotropic(measured, squared, subspace, ridge, loss_range)
    if not isinstance(subspace, Block):
        raise ValueError(f"prior must be isotropic where no block is given, got {prior}")
    directions = measured.directions(subspace)
    enough = measured.replicates > directions
    found = f"{measured.replicates} for {directions} directions"
    require(enough, "replicates", "more than the directions for a matrix prior", found)
    levels, logdets = _noise(measured, directions, ridge)
    layers = [
        matrix_term(measured, t, center, subspace, levels[t], logdets[t])
        for t in range(len(logdets))
    ]
    return _bound(measured, layers, subspace, ridge, loss_range)


def isotropic_term(squared: Numbers, trace: Numbers, logdet: Numbers, directions: int) -> Numbers:
    """One layer of Lemma 6, each replicate's share: d log((E |G - g|^2 + E tr C) / d) - E logdet C.

    The mean over replicates is the term; their spread, by the delta method, its standard error.

    Args:
        squared: |G - g|^2 of each replicate.
        trace: tr C, the ridge's share included.
        logdet: log det C in the subspace, the ridge included.
        directions: d.
    """
    total = squared + trace
    mean = total.mean()
    if mean == 0:  # neither gradient nor noise: the layer tells nothing
        return np.zeros_like(total)
    return directions * (np.log(mean / directions) + total / mean - 1) - logdet


def _noise(measured: Measured, directions: int, ridge: Ridge) -> tuple[np.ndarray, np.ndarray]:
    """The ridge's lam and log det(C + lam I), of every layer and replicate."""
    levels = np.asarray(ridge_level(ridge, measured.trace))
    return levels, np.asarray(log_determinant(measured.spectrum, directions, levels))


def _isotropic(
    measured: Measured, squared: np.ndarray, subspace: Subspace, ridge: Ridge, loss_range: float
) -> Bound:
    directions = measured.directions(subspace)
    levels, logdets = _noise(measured, directions, ridge)
    traces = measured.trace + directions * levels
    layers = [
        isotropic_term(squared[t], traces[t], logdets[t], directions) for t in range(len(squared))
    ]
    return _bound(measured, layers, subspace, ridge, loss_range)


def _bound(
    measured: Measured,
    layers: list[Numbers],
    subspace: Subspace,
    ridge: Ridge,
    loss_range: float,
) -> Bound:
    require(math.isfinite(loss_range) and loss_range > 0, "loss_range", "positive", loss_range)
    shares = np.stack(layers)
    terms = tuple(float(share.mean()) if np.isfinite(share).all() else math.inf for share in shares)
    algorithm = _algorithm(measured, subspace, ridge)
    if not all(map(math.isfinite, terms)):
        why = "C is singular in this space, as it always is in the full one without a ridge"
        return Bound(math.inf, terms, "inf", algorithm, note=why)
    scale = (loss_range / 2) ** 2 / measured.n
    value = math.sqrt(scale * max(sum(terms), 0.0))
    totals = shares.sum(0)
    spread = totals.std(ddof=1) / math.sqrt(len(totals)) if len(totals) > 1 else math.nan
    error = scale * spread / (2 * value) if value > 0 else math.nan
    status: Status = "regularised" if ridge is not None and ridge[1] > 0 else "finite"
    return Bound(value, terms, status, algorithm, error)


def _algorithm(measured: Measured, subspace: Subspace, ridge: Ridge) -> str:
    if isinstance(subspace, Block):
        where = f"the {measured.directions(subspace)} entries of a block"
    else:
        where = {
            "full": "all D^2 entries",
            "symmetric": "the D (D + 1) / 2 directions of the gradients",
        }[subspace]
    text = f"noisy: W_t = W_(t-1) + G_t + C_t^(1/2) xi in {where}, b = {measured.b}"
    if ridge is not None and ridge[1] > 0:
        extra = f"{ridge[1]:g}" + (" tr C_t" if ridge[0] == "relative" else "")
        text += f", and extra noise of variance {extra} in each direction"
    return text
