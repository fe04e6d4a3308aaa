"""Closed forms that simulations and trained models are checked against.

The problem throughout is linear regression in context: y = <w, x> + noise, N demonstrations, one
query, S = (1/N) sum_i x_i x_i^T. Losses are squared errors of the prediction against the noiseless
<w, x>, averaged over demonstrations and query, and divided by |w|^2 unless said otherwise;
rho = d sigma^2 / |w|^2 is the label noise in the same units. Scalars in, scalars out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from theory.checks import require


@dataclass(frozen=True)
class Step:
    """A step size and the expected loss after it."""

    eta: float
    loss: float


@dataclass(frozen=True)
class Preconditioner:
    """The diagonal of a preconditioner in the eigenbasis of the covariance, and its loss."""

    diagonal: tuple[float, ...]
    loss: float


def step_loss(eta: float, n: int, d: int, rho: float = 0.0) -> float:
    """Loss after one gradient step from 0, x ~ N(0, I): 1 - 2 eta + eta^2 (N + d + 1 + rho) / N.

    From E S = I and E S^2 = (1 + (d + 1)/N) I; the prediction is eta/N sum_i y_i <x_i, x>.

    Args:
        eta: step size on the mean of half squared errors.
        n: demonstrations.
        d: dimension of x.
        rho: label noise, d sigma^2 / |w|^2.
    """
    _check(n, d, rho)
    require(math.isfinite(eta), "eta", "finite", eta)
    return 1 - 2 * eta + eta**2 * (n + d + 1 + rho) / n


def best_step(n: int, d: int, rho: float = 0.0) -> Step:
    """The step size that minimises :func:`step_loss`, N / (N + d + 1 + rho), and its loss.

    (d, N) = (5, 10): .625 and .375; (20, 40): 40/61 and 21/61.
    """
    _check(n, d, rho)
    total = n + d + 1 + rho
    return Step(n / total, (d + 1 + rho) / total)


def step_gap(eta: float, n: int, d: int) -> float:
    """Test loss less training loss after one noiseless step.

    2 eta c - eta^2 (2 c + (d^2 + 3 d + 4) / N^2) with c = (d + 1) / N, the training loss being that
    on the demonstrations themselves. Large steps overshoot on the demonstrations more than on a
    fresh query, so gaps can be negative: (d, N) = (5, 10) gives .109375 at .625 and -.44 at 1.
    """
    _check(n, d)
    require(math.isfinite(eta), "eta", "finite", eta)
    c = (d + 1) / n
    return 2 * eta * c - eta**2 * (2 * c + (d * d + 3 * d + 4) / n**2)


def wishart_moment(k: int, n: int, d: int) -> Fraction:
    """E tr S^k / d for x ~ N(0, I), exactly.

    k = 2: 1 + c; k = 3: 1 + 3 c + (d^2 + 3 d + 4) / N^2, with c = (d + 1) / N. Any k by the
    expansion of tr S^k in zonal polynomials, whose Wishart expectations are products over the
    cells of a partition (Hanlon, Stanley and Stembridge, 1992, at alpha = 2). The work grows as
    the number of partitions of k: 231 at 16, 8,349 at 32.
    """
    _check(n, d)
    require(k >= 0, "k", "a whole number from 0 on", k)
    if k == 0:
        return Fraction(1)
    total = Fraction(0)
    for partition in _partitions(k, k):
        columns = [sum(row > j for row in partition) for j in range(partition[0])]
        numerator, denominator = 2 * k, 1
        for i, row in enumerate(partition):
            for j in range(row):
                content, arm, leg = 2 * j - i, row - j - 1, columns[j] - i - 1
                numerator *= (d + content) * (n + content) * (content if i or j else 1)
                denominator *= (2 * arm + leg + 1) * (2 * arm + leg + 2)
        total += Fraction(numerator, denominator)
    return total / (d * n**k)


def _partitions(total: int, largest: int) -> list[tuple[int, ...]]:
    if total == 0:
        return [()]
    return [
        (first, *rest)
        for first in range(min(total, largest), 0, -1)
        for rest in _partitions(total - first, first)
    ]


def gd_loss(steps: int, eta: float, n: int, d: int) -> float:
    """Loss (1/d) E tr (I - eta S)^(2 steps) after noiseless steps of one size, x ~ N(0, I).

    In rational arithmetic: the alternating sum cancels in floating point.
    """
    _check(n, d)
    require(steps >= 0, "steps", "a whole number from 0 on", steps)
    require(math.isfinite(eta), "eta", "finite", eta)
    exact = Fraction(eta)
    terms = (
        math.comb(2 * steps, j) * (-exact) ** j * wishart_moment(j, n, d)
        for j in range(2 * steps + 1)
    )
    return float(sum(terms, Fraction(0)))


def best_polynomial_loss(steps: int, n: int, d: int) -> float:
    """The least loss of noiseless gradient descent whose step sizes may differ, x ~ N(0, I).

    The error after the steps is p(S) w with p of degree ``steps`` and p(0) = 1; minimising
    E tr p(S)^2 / d is least squares with the Hankel matrix of the moments M_ij = E tr S^(i+j) / d:
    1 / (M^-1)_00. No plain gradient descent in context, whatever its step sizes, is below this; a
    stack of layers that also changes the inputs (GD++ of von Oswald et al., 2023) can be.
    """
    _check(n, d)
    require(steps >= 0, "steps", "a whole number from 0 on", steps)
    moments = [wishart_moment(k, n, d) for k in range(2 * steps + 1)]
    size = steps + 1
    matrix = [[moments[i + j] for j in range(size)] for i in range(size)]
    # 1 / (M^-1)_00 is the Schur complement of the other rows: eliminate from the last one up.
    for pivot in range(size - 1, 0, -1):
        if matrix[pivot][pivot] == 0:
            continue
        for i in range(pivot):
            factor = matrix[i][pivot] / matrix[pivot][pivot]
            for j in range(size):
                matrix[i][j] -= factor * matrix[pivot][j]
    return float(matrix[0][0])


def best_uniform_step(n: int, d: int, half_width: float = 1.0, rho: float = 0.0) -> Step:
    """The best single step for inputs uniform on (-half_width, half_width)^d, and its loss.

    With v = a^2/3 and m = a^4/5 the second and fourth moments: E S = v I and
    E S^2 = q I, q = ((N - 1) v^2 + m + (d - 1) v^2) / N; noise adds v rho / N; the loss is
    v (1 - 2 eta v + eta^2 q). d = N = 10, a = 1: 1.515152 and .164983.
    """
    _check(n, d, rho)
    require(half_width > 0, "half_width", "positive", half_width)
    v, fourth = half_width**2 / 3, half_width**4 / 5
    q = ((n - 1) * v**2 + fourth + (d - 1) * v**2 + v * rho) / n
    return Step(v / q, v * (1 - v**2 / q))


def von_oswald_step(n: int = 10, d: int = 10) -> tuple[Step, float]:
    """The best step in the set-up of von Oswald et al. (2023), and the loss of predicting zero.

    x ~ U(-1/2, 1/2)^d, w ~ N(0, I), *half* the squared error, not divided by |w|^2: at d = N = 10
    eta = 200/33, loss .20623, zero predictor .41667.
    """
    step = best_uniform_step(n, d, half_width=0.5)
    return Step(step.eta, d * step.loss / 2), d / 24


def preconditioned_optimum(
    eigenvalues: Sequence[float], n: int, sigma: float = 0.0
) -> Preconditioner:
    """The one layer that Ahn et al. (2023, Theorem 1) prove optimal, and its loss.

    w ~ N(0, I), x ~ N(0, Sigma), prediction (1/N) sum_i y_i x_i^T A x: A shares the eigenvectors of
    Sigma and has a_i = 1 / (((n + 1)/n) lam_i + (tr Sigma + sigma^2)/n); the loss, against the
    noiseless <w, x> and not divided by |w|^2, is sum_i lam_i (1 - a_i lam_i). Label noise enters as
    an addition to the trace. lam = (4, 1, .25), n = 10: .203046, .615385, 1.25, loss 1.307759.

    Args:
        eigenvalues: of Sigma.
        n: demonstrations.
        sigma: standard deviation of the label noise.
    """
    lam = np.asarray(eigenvalues, float)
    require(lam.ndim == 1 and lam.size > 0, "eigenvalues", "a list of numbers", lam.shape)
    require(bool((lam > 0).all()), "eigenvalues", "positive", lam.tolist())
    require(sigma >= 0, "sigma", "at least 0", sigma)
    _check(n, lam.size)
    a = 1 / ((n + 1) / n * lam + (lam.sum() + sigma**2) / n)
    return Preconditioner(tuple(a.tolist()), float((lam * (1 - a * lam)).sum()))


def least_squares_loss(n: int, d: int, rho: float = 0.0) -> float:
    """Loss of (minimum-norm) least squares, x ~ N(0, I).

    Noiseless: max(0, 1 - N/d), the part of w outside the span of the demonstrations. With noise and
    N > d + 1: rho / (N - d - 1), that is sigma^2 d / (N - d - 1) over |w|^2; with N = d or d + 1
    it is infinite; below that 1 - N/d + rho N / (d (d - N - 1)), infinite at N = d - 1.
    """
    _check(n, d, rho)
    bias = max(0.0, 1 - n / d)
    if rho == 0:
        return bias
    if abs(n - d) <= 1:
        return math.inf
    return rho / (n - d - 1) if n > d else bias + rho * n / (d * (d - n - 1))


def averaging_loss(n: int, d: int, rho: float = 0.0) -> float:
    """Loss of the estimator (1/N) sum_i y_i x_i (Garg et al., 2022): (d + 1 + rho) / N."""
    return step_loss(1.0, n, d, rho)


def zero_loss() -> float:
    """Loss of predicting 0, x ~ N(0, I): 1."""
    return 1.0


def gaussian_mean_gap(n: int, sigma: float = 1.0) -> float:
    """Gap 2 sigma^2 / n of the sample mean as an estimate of a Gaussian's mean, squared loss.

    A learner whose gap and information are both known (Bu, Zou and Veeravalli, 2020); n samples
    of one dimension.
    """
    _check(n, 1)
    require(sigma >= 0, "sigma", "at least 0", sigma)
    return 2 * sigma**2 / n


def gaussian_mean_information(n: int) -> float:
    """I(W; Z_i) = 1/2 log(n / (n - 1)) nats between that sample mean and any one sample.

    Infinite at n = 1, where the mean is the sample.
    """
    _check(n, 1)
    return math.inf if n == 1 else 0.5 * math.log(n / (n - 1))


def revealing_f_cmi() -> float:
    """The f-CMI bound sqrt(2 log 2) = 1.177 of predictions that give every mask bit away.

    The largest value that the bound can take: above 1, so vacuous for losses in [0, 1].
    """
    return math.sqrt(2 * math.log(2))


def _check(n: int, d: int, rho: float = 0.0) -> None:
    require(n >= 1, "n", "a whole number from 1 on", n)
    require(d >= 1, "d", "a whole number from 1 on", d)
    require(rho >= 0, "rho", "at least 0", rho)
