"""Bounds on the noisy algorithm: the paper's Theorem 2 and Lemma 6, made true.

Given W_{t-1}, the step W_t is normal about W_{t-1} + G_t with covariance C_t. Against a prior
N(W_{t-1} + g_t, Q_t) that knows W_{t-1} but not the sample,

    2 I(S; W_t | W_{t-1}) <= logdet Q + tr Q^{-1} E[(G - g)(G - g)^T + C] - d - E logdet C,

least at Q = E[(G - g)(G - g)^T + C] (prior ``matrix``), and among the multiples of the identity at
Q = (E ||G - g||^2 + E tr C) / d (``isotropic``, the paper's). A loss in an interval of length B is
B/2-sub-Gaussian, so that gap <= sqrt(R^2 / N sum_t term_t) with R = B/2 and term_t the right-hand
side. What the paper prints differs in four ways:

- Its C_t is taken as positive definite. For D >= 2 that hypothesis is never met: the rank is at
  most min(N - 1, D (D + 1) / 2), below D^2, and 0 at b = N. The bound as printed is then +inf, and
  these functions return that (with D = 1, or where a layer does nothing, it is finite). Finite are
  (a) the same in the subspace where the gradients live (never the sample's own span, which knows
  the sample), and (b) a ridge, which is noise added to the algorithm, and named in
  ``Bound.algorithm``.
- The expectation over the sample belongs inside the logarithm. The first display of Lemma 6 has it
  there, conditional on the past: E_{W_{t-1}}[d log(A1/d) - A2] with A1 = E[||G - g||^2 + tr C |
  W_{t-1}]. Its second display, and Theorem 2 after it, have it outside, which is smaller and false:
  with G = 5 at probability .01 and else 0, C = 1, that gives .0163 nats for a mutual information
  of .0534; the true form gives .1116. See ``expectation``.
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

from theory.bounds.conditional import log_scales
from theory.bounds.matrix_prior import matrix_term
from theory.bounds.measured import SquaredNorms
from theory.bounds.results import Bound, Status
from theory.checks import require
from theory.noise import BlockSubspace, Ridge, Subspace, check_ridge
from theory.subspaces import MOVING

Center = Literal["zero", "mean", "state"]
Prior = Literal["isotropic", "matrix"]
Expectation = Literal["unconditional", "conditional"]
Numbers = Float[np.ndarray, " M"]


def theorem2(
    measured: SquaredNorms,
    *,
    norm: Literal["frobenius", "spectral"] = "frobenius",
    subspace: Subspace = "full",
    ridge: Ridge = None,
    expectation: Expectation = "unconditional",
    loss_range: float = 1.0,
    sub_gaussian: float | None = None,
) -> Bound:
    """The paper's Theorem 2: Lemma 6 at g = 0 with ||G_t||_F <= ||dW_t||_F ||A_{t-1}||.

    As printed (the full space, no ridge) it is infinite for D >= 2. The spectral norm of A_{t-1} is
    as valid as the paper's Frobenius norm, and smaller by up to a factor sqrt(D). (B.6 of the paper
    prints ||G_t||^2 in the place of ||A_{t-1}||^2; the proof gives the latter.)

    Args:
        measured: the trajectory.
        norm: of A_{t-1}.
        subspace: where the algorithm moves, see :func:`lemma6`.
        ridge: extra noise, see :func:`lemma6`.
        expectation: see :func:`lemma6`.
        loss_range: length of the interval that holds the loss.
        sub_gaussian: R itself, for a loss that is sub-Gaussian and not bounded.

    Raises:
        ValueError: as in :func:`lemma6`, or a spectral norm that was not measured.
    """
    require(norm in ("frobenius", "spectral"), "norm", "frobenius or spectral", repr(norm))
    size = measured.frobenius if norm == "frobenius" else measured.spectral
    if size is None:
        raise ValueError("norm must be frobenius where no spectral norm was measured, got spectral")
    radius = _radius(loss_range, sub_gaussian)
    with np.errstate(over="ignore", invalid="ignore"):
        squared = np.where(measured.update == 0, 0, measured.update * size)
    return _isotropic(measured, squared, subspace, ridge, expectation, radius)


def lemma6(
    measured: SquaredNorms,
    *,
    center: Center = "zero",
    prior: Prior = "isotropic",
    subspace: Subspace = "full",
    ridge: Ridge = None,
    expectation: Expectation = "unconditional",
    loss_range: float = 1.0,
    sub_gaussian: float | None = None,
) -> Bound:
    """The paper's Lemma 6, with the expectation inside the logarithm.

    Args:
        measured: the trajectory.
        center: g_t. ``zero``; ``mean``, E G_t; ``state``, E G_t + beta_t (A_{t-1} - E A_{t-1}),
            the best of one scalar beta_t, which for gradient descent on isotropic inputs is all
            that matters: a regression on every entry of the state gives the same to .001.
        prior: ``isotropic`` as in the paper, or ``matrix``, the best Gaussian prior, in a block
            and estimated from the replicates.
        subspace: where the algorithm moves. ``gradients`` is the subspace that a prior which knows
            the weights and the past may use: the image of X -> W_V A X A^T W_K^T W_Q A, of
            dimension d_t (:func:`theory.noise.gradient_dimensions`), finite from N - 1 >= d_t on.
            ``symmetric`` is the same at full rank. Both move with the state, so that only the
            center ``zero`` is meaningful. A block of features is checked to hold the gradients.
        ridge: ``("absolute", lam)`` or ``("relative", share of tr C_t)``, noise of variance lam in
            every direction of the subspace.
        expectation: ``unconditional``, E inside the logarithm over sample and past. Or
            ``conditional``, given the past, as in the first display of Lemma 6: tighter, with the
            prior's variance a power of ||A_{t-1}||_F whose exponent is fitted (any function of the
            past gives a bound, the constant one the unconditional).
        loss_range: length of the interval that holds the loss.
        sub_gaussian: R itself, for a loss that is sub-Gaussian and not bounded.

    Raises:
        ValueError: a center of one replicate, a block that does not hold the gradients, what is no
            ridge or a negative one, a range that is not positive, an unknown option, or a matrix
            prior without a block, with a conditional expectation, or with no more replicates than
            directions.
    """
    require(center in ("zero", "mean", "state"), "center", "zero, mean or state", repr(center))
    require(prior in ("isotropic", "matrix"), "prior", "isotropic or matrix", repr(prior))
    fixed = subspace not in MOVING
    require(fixed or center == "zero", "center", f"zero in the {subspace} subspace", center)
    several = measured.replicates > 1
    require(several or center == "zero", "center", "zero with one replicate", center)
    radius = _radius(loss_range, sub_gaussian)
    if prior == "isotropic":
        squared = {
            "zero": measured.gradient,
            "mean": measured.from_mean,
            "state": measured.from_state,
        }[center]
        assert squared is not None  # there are several replicates
        return _isotropic(measured, squared, subspace, ridge, expectation, radius)
    whole = expectation == "unconditional"
    require(whole, "expectation", "unconditional with a matrix prior", repr(expectation))
    if not isinstance(subspace, BlockSubspace):
        raise ValueError(f"prior must be isotropic where no block is given, got {prior}")
    directions = measured.directions(subspace)
    most = int(directions.max(initial=0))
    enough = measured.replicates > most
    replicates = f"{measured.replicates} for {most} directions"
    require(enough, "replicates", "more than the directions for a matrix prior", replicates)
    log_levels, logdets = _noise(measured, directions, ridge)
    layers = [
        np.full(measured.replicates, np.inf)
        if _lost(measured, t)
        else matrix_term(measured, t, center, subspace, log_levels[t], logdets[t])
        for t in range(measured.layers)
    ]
    return _bound(measured, layers, logdets, subspace, ridge, radius)


def isotropic_term(squared: Numbers, trace: Numbers, logdet: Numbers, directions: int) -> Numbers:
    """One layer of Lemma 6, each replicate's share: d log((E |G - g|^2 + E tr C) / d) - E logdet C.

    The mean over replicates is the term; their spread, by the delta method, its standard error.

    Args:
        squared: |G - g|^2 of each replicate.
        trace: tr C, the ridge's share included.
        logdet: log det C in the subspace, the ridge included.
        directions: d.
    """
    with np.errstate(divide="ignore"):
        return _term(np.log(squared + trace), logdet, directions, None)


def _term(log_total: Numbers, logdet: Numbers, directions: int, past: Numbers | None) -> Numbers:
    """The same from logarithms; ``past`` is what the prior's variance may depend on."""
    if directions == 0 or np.isneginf(log_total).all():
        return np.zeros_like(log_total)  # no gradient, no noise: the layer tells nothing
    scales = log_scales(log_total, past) - math.log(directions)
    ratio = np.exp(log_total - math.log(directions) - scales)
    with np.errstate(invalid="ignore"):  # inf - inf of what is not a bound in any case
        return directions * (scales + ratio - 1) - logdet


def _noise(
    measured: SquaredNorms, directions: np.ndarray, ridge: Ridge
) -> tuple[np.ndarray, np.ndarray]:
    """Log lam and log det(C + lam I) of every layer and replicate, in the layers' units."""
    check_ridge(ridge)
    kind, level = ridge or ("absolute", 0.0)
    with np.errstate(divide="ignore"):
        values = np.log(measured.spectrum)
        base = np.log(measured.trace) if kind == "relative" else -measured.log_unit[:, None]
        log_levels = np.broadcast_to(np.log(level) + base, measured.update.shape)
    logdets = np.zeros(measured.update.shape)
    for t, count in enumerate(directions):
        ridged = np.logaddexp(values[t, :, :count], log_levels[t][:, None])
        missing = max(int(count) - ridged.shape[-1], 0)
        logdets[t] = ridged.sum(-1)
        if missing:
            logdets[t] += missing * log_levels[t]
    return log_levels, logdets


def _isotropic(
    measured: SquaredNorms,
    squared: np.ndarray,
    subspace: Subspace,
    ridge: Ridge,
    expectation: Expectation,
    radius: float,
) -> Bound:
    known = ("unconditional", "conditional")
    require(expectation in known, "expectation", " or ".join(known), repr(expectation))
    directions = measured.directions(subspace)
    log_levels, logdets = _noise(measured, directions, ridge)
    layers = []
    for t, count in enumerate(directions):
        if _lost(measured, t):
            layers.append(np.full(measured.replicates, np.inf))
            continue
        with np.errstate(divide="ignore"):
            log_total = np.log(squared[t] + measured.trace[t])
            log_ridge = log_levels[t] + np.log(max(int(count), 1))
        log_total = np.logaddexp(log_total, log_ridge)
        past = np.log(measured.frobenius[t]) if expectation == "conditional" else None
        layers.append(_term(log_total, logdets[t], int(count), past))
    return _bound(measured, layers, logdets, subspace, ridge, radius)


def _lost(measured: SquaredNorms, t: int) -> bool:
    """Whether nothing is known of a layer, the trajectory having diverged before it."""
    return measured.diverged is not None and t >= measured.diverged


def _radius(loss_range: float, sub_gaussian: float | None) -> float:
    """R: half the loss's range, or as given."""
    name, value = (
        ("loss_range", loss_range) if sub_gaussian is None else ("sub_gaussian", sub_gaussian)
    )
    require(math.isfinite(value) and value > 0, name, "positive", value)
    return value / 2 if sub_gaussian is None else value


def _bound(
    measured: SquaredNorms,
    layers: list[Numbers],
    logdets: np.ndarray,
    subspace: Subspace,
    ridge: Ridge,
    radius: float,
) -> Bound:
    shares = np.array(layers, float).reshape(measured.layers, measured.replicates)
    terms = tuple(float(share.mean()) if np.isfinite(share).all() else math.inf for share in shares)
    algorithm = _algorithm(measured, subspace, ridge)
    if not all(map(math.isfinite, terms)):
        status, note = _reason(measured, shares, logdets)
        return Bound(math.inf, terms, status, algorithm, note=note)
    scale = radius**2 / measured.n
    value = math.sqrt(scale * max(sum(terms), 0.0))
    totals = shares.sum(0)
    spread = totals.std(ddof=1) / math.sqrt(len(totals)) if len(totals) > 1 else math.nan
    error = scale * spread / (2 * value) if value > 0 else math.nan
    status: Status = "regularised" if ridge is not None and ridge[1] > 0 else "finite"
    return Bound(value, terms, status, algorithm, float(error))


def _reason(measured: SquaredNorms, shares: np.ndarray, logdets: np.ndarray) -> tuple[Status, str]:
    """Why a bound is not finite."""
    if measured.diverged is not None:
        layer = measured.diverged + 1
        return "diverged", f"the trajectory diverged: layer {layer} is infinite or not a number"
    singular = np.isneginf(logdets) & ~np.isfinite(shares)
    if not singular.any():
        t = int(np.flatnonzero(~np.isfinite(shares).all(1))[0])
        return "diverged", f"the norms of layer {t + 1} leave the range of float64"
    t = int(np.flatnonzero(singular.any(1))[0])
    share = float(singular[t].mean())
    which = "every replicate" if share == 1 else f"{share:.1%} of the replicates"
    why = "" if share < 1 else ", as it always is in the full space for D >= 2 without a ridge"
    return "inf", f"C is singular in this space in layer {t + 1}, in {which}{why}"


def _algorithm(measured: SquaredNorms, subspace: Subspace, ridge: Ridge) -> str:
    if isinstance(subspace, BlockSubspace):
        where = f"the {measured.directions(subspace).max(initial=0)} entries of a block"
    else:
        where = {
            "full": "all D^2 entries",
            "symmetric": "the D (D + 1) / 2 directions of the gradients",
            "gradients": "the d_t directions of the gradients",
        }[subspace]
    noise = f"b = {measured.b}" if measured.threshold is None else f"N = {measured.threshold}"
    text = f"noisy: W_t = W_(t-1) + G_t + C_t^(1/2) xi in {where}, {noise}"
    if ridge is not None and ridge[1] > 0:
        extra = f"{ridge[1]:g}" + (" tr C_t" if ridge[0] == "relative" else "")
        text += f", and extra noise of variance {extra} in each direction"
    return text
