"""Entropies and mutual information of counts, their bias, and closed forms. In nats."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Num
from scipy.optimize import brentq
from scipy.special import gammaln, rel_entr, xlogy

from theory.checks import require, require_finite

Correction = Literal["none", "miller-madow"]


def require_correction(correction: str) -> None:
    """Refuse names that are no :data:`Correction`."""
    known = ("none", "miller-madow")
    require(correction in known, "correction", " or ".join(known), repr(correction))


def entropy(p: float) -> float:
    """Of a coin that falls heads with probability p."""
    require(0 <= p <= 1, "p", "in [0, 1]", p)
    return float(-xlogy(p, p) - xlogy(1 - p, 1 - p))


def kl(q: float, p: float) -> float:
    """Of a coin with probability q from one with p; infinite where p excludes what q allows."""
    for name, value in (("q", q), ("p", p)):
        require(0 <= value <= 1, name, "in [0, 1]", value)
    return float(rel_entr(q, p) + rel_entr(1 - q, 1 - p))


def kl_upper(q: float, budget: float) -> float:
    """The largest p with kl(q, p) <= budget."""
    require(0 <= q <= 1, "q", "in [0, 1]", q)
    require(budget >= 0, "budget", "at least 0", budget)
    if q == 1 or budget == math.inf or kl(q, 1.0) <= budget:
        return 1.0
    if budget == 0:
        return q
    # kl(q, .) grows without limit towards 1; one float below 1 it may not have reached the budget.
    last = math.nextafter(1.0, 0.0)
    if kl(q, last) <= budget:
        return last
    return float(brentq(lambda p: kl(q, p) - budget, q, last, xtol=1e-15, rtol=1e-14))  # pyright: ignore


def mutual_information(
    table: Num[np.ndarray, "*batch rows columns"], correction: Correction = "none"
) -> Float[np.ndarray, "*batch"]:
    """Plug-in mutual information of rows and columns of contingency tables.

    Biased upwards by about (R - 1)(C - 1)/(2 n) for n counts. Miller and Madow (1955) subtract
    (cells - rows - columns + 1)/(2 n), counting those that occur; what falls below 0 is clipped.

    Args:
        table: counts, or with no correction probabilities.
        correction: ``none`` or ``miller-madow``.

    Raises:
        ValueError: a negative entry, a table without counts, or an unknown correction.
    """
    require_finite("table", table)
    require(bool((table >= 0).all()), "table", "at least 0 everywhere", "a negative entry")
    require_correction(correction)
    total = table.sum(axis=(-2, -1), keepdims=True).astype(float)
    require(bool((total > 0).all()), "table", "of at least one count", "an empty table")
    joint = table / total
    rows, columns = joint.sum(axis=-1, keepdims=True), joint.sum(axis=-2, keepdims=True)
    # Where a product underflows or is 0, so is the joint: rel_entr(0, 0) = 0.
    value = rel_entr(joint, rows * columns).sum(axis=(-2, -1))
    if correction == "miller-madow":
        cells = (joint > 0).sum(axis=(-2, -1))
        occurring = (rows > 0).sum(axis=(-2, -1)) + (columns > 0).sum(axis=(-2, -1))
        value = value - (cells - occurring + 1) / (2 * total[..., 0, 0])
    return np.asarray(np.maximum(value, 0.0))


def noise_floor(
    samples: int,
    rows: Sequence[float] = (0.25, 0.25, 0.25, 0.25),
    *,
    correction: Correction = "none",
    draws: int = 20_000,
    seed: int = 0,
) -> float:
    """The mean of sqrt(2 I) that independence itself shows, for a fair coin: rows x 2 tables.

    .161, .091, .051 for a 4 x 2 table at 100, 300, 1,000 samples: an estimate below that says
    nothing. Simulated; see :func:`asymptotic_floor` for the limit.

    Args:
        samples: how many masks are counted in the table.
        rows: probabilities of the outcomes.
        correction: of :func:`mutual_information`.
        draws: simulated tables.
        seed: of the simulation.
    """
    require(samples >= 1, "samples", "a whole number from 1 on", samples)
    require(draws >= 1, "draws", "a whole number from 1 on", draws)
    p = np.asarray(rows, float)
    ok = p.ndim == 1 and (p >= 0).all() and bool(np.isclose(p.sum(), 1))
    require(bool(ok), "rows", "probabilities that sum to 1", rows)
    cells = np.repeat(p / p.sum(), 2) / 2
    tables = np.random.default_rng(seed).multinomial(samples, cells, size=draws)
    information = mutual_information(tables.reshape(draws, -1, 2), correction)
    return float(np.sqrt(2 * information).mean())


def asymptotic_floor(samples: int, rows: int = 4, columns: int = 2) -> float:
    """E chi_k / sqrt(samples), k = (rows - 1)(columns - 1): 2 n I tends to a chi-squared."""
    require(samples >= 1, "samples", "a whole number from 1 on", samples)
    for name, size in (("rows", rows), ("columns", columns)):
        require(size >= 2, name, "a whole number from 2 on", size)
    k = (rows - 1) * (columns - 1)
    return math.sqrt(2 / samples) * math.exp(float(gammaln((k + 1) / 2) - gammaln(k / 2)))


def zero_one_ld(p_plus: float, p_minus: float) -> float:
    """I(Delta; U) for 0-1 loss: s (log 2 - h(p_plus / s)), s = p_plus + p_minus.

    Args:
        p_plus: probability that of a pair only the member outside the prompt is answered wrong.
        p_minus: that only the demonstration is. The gap is p_plus - p_minus.
    """
    for name, value in (("p_plus", p_plus), ("p_minus", p_minus)):
        require(0 <= value <= 1, name, "in [0, 1]", value)
    s = p_plus + p_minus
    require(s <= 1 + 1e-12, "p_plus", "at most 1 with p_minus", s)
    return 0.0 if s == 0 else s * (math.log(2) - entropy(min(p_plus / s, 1.0)))


def zero_one_single(train_error: float, test_error: float) -> float:
    """I(L+; U) for 0-1 loss: the Jensen-Shannon divergence of the two error rates."""
    for name, value in (("train_error", train_error), ("test_error", test_error)):
        require(0 <= value <= 1, name, "in [0, 1]", value)
    middle = (train_error + test_error) / 2
    # As a mean of divergences, which does not cancel where the rates are close.
    return (kl(train_error, middle) + kl(test_error, middle)) / 2
