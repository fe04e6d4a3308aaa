"""Closed forms against their published values, exact special cases and simulation."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from theory import reference

REPLICATES = 20_000


def demonstrations(
    n: int, d: int, rho: float = 0.0, half_width: float | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs [replicate, N, d], labels [replicate, N], and unit w [replicate, d]."""
    rng = np.random.default_rng(seed)
    shape = (REPLICATES, n, d)
    x = (
        rng.standard_normal(shape)
        if half_width is None
        else rng.uniform(-half_width, half_width, shape)
    )
    w = rng.standard_normal((REPLICATES, d))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    noise = math.sqrt(rho / d) * rng.standard_normal((REPLICATES, n))
    return x, np.einsum("rnd,rd->rn", x, w) + noise, w


def one_step(x: np.ndarray, y: np.ndarray, eta: float) -> np.ndarray:
    return eta / x.shape[1] * np.einsum("rnd,rn->rd", x, y)


def agree(samples: np.ndarray, value: float, tightness: float = 0.05) -> None:
    """Mean within 5 standard errors, which must be small against the value."""
    error = samples.std(ddof=1) / math.sqrt(samples.size)
    assert 5 * error < tightness * abs(value)
    assert samples.mean() == pytest.approx(value, abs=5 * error)


@pytest.mark.parametrize(
    ("d", "n", "rho", "eta", "loss"),
    [
        (5, 10, 0.0, 0.625, 0.375),
        (10, 10, 0.0, 10 / 21, 11 / 21),
        (20, 40, 0.0, 40 / 61, 21 / 61),
        (5, 10, 1.0, 0.588235, 0.411765),
    ],
)
def test_one_step(d: int, n: int, rho: float, eta: float, loss: float) -> None:
    best = reference.best_step(n, d, rho)
    assert (best.eta, best.loss) == pytest.approx((eta, loss), abs=5e-7)
    assert reference.step_loss(best.eta, n, d, rho) == pytest.approx(best.loss, abs=1e-15)
    actual = minimize_scalar(lambda e: reference.step_loss(e, n, d, rho))
    assert actual.x == pytest.approx(best.eta, rel=1e-6)  # pyright: ignore
    x, y, w = demonstrations(n, d, rho)
    for step in (best.eta, 0.3):
        errors = ((one_step(x, y, step) - w) ** 2).sum(axis=1)
        agree(errors, reference.step_loss(step, n, d, rho))


@pytest.mark.parametrize("eta", [0.625, 1.0])
def test_gap(eta: float) -> None:
    n, d = 10, 5
    exact = reference.step_gap(eta, n, d)
    assert exact == pytest.approx({0.625: 0.109375, 1.0: -0.44}[eta], abs=1e-14)
    x, y, w = demonstrations(n, d)
    estimate = one_step(x, y, eta)
    train = ((np.einsum("rnd,rd->rn", x, estimate) - y) ** 2).mean(axis=1)
    agree(((estimate - w) ** 2).sum(axis=1) - train, exact, tightness=0.2)


def test_gap_is_difference_of_moments() -> None:
    n, d, eta = 7, 4, 0.37
    first, second, third = (float(reference.wishart_moment(k, n, d)) for k in (1, 2, 3))
    train = first - 2 * eta * second + eta**2 * third
    assert reference.step_gap(eta, n, d) == pytest.approx(
        reference.step_loss(eta, n, d) - train, abs=1e-14
    )


@pytest.mark.parametrize(("n", "d"), [(10, 5), (3, 7), (40, 20)])
def test_wishart_moments(n: int, d: int) -> None:
    """The first three as polynomials, exactly."""
    c = Fraction(d + 1, n)
    assert reference.wishart_moment(0, n, d) == 1
    assert reference.wishart_moment(1, n, d) == 1
    assert reference.wishart_moment(2, n, d) == 1 + c
    assert reference.wishart_moment(3, n, d) == 1 + 3 * c + Fraction(d * d + 3 * d + 4, n * n)


@pytest.mark.parametrize("k", range(1, 9))
def test_wishart_moments_of_one_sample_or_dimension(k: int) -> None:
    """Chi-squared moments, exactly; and S and its Gram matrix share their spectrum."""
    product = math.prod(6 + 2 * i for i in range(k))
    assert reference.wishart_moment(k, 6, 1) == Fraction(product, 6**k)
    assert reference.wishart_moment(k, 1, 6) == Fraction(product, 6)
    there, back = reference.wishart_moment(k, 9, 4), reference.wishart_moment(k, 4, 9)
    assert there * 4 * 9**k == back * 9 * 4**k


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6])
def test_wishart_moments_simulated(k: int) -> None:
    n, d = 12, 4
    x, _, _ = demonstrations(n, d)
    eigenvalues = np.linalg.eigvalsh(np.einsum("rnd,rne->rde", x, x) / n)
    agree((eigenvalues**k).mean(axis=1), float(reference.wishart_moment(k, n, d)), 0.2)


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 8])
def test_many_steps(steps: int) -> None:
    n, d, eta = 10, 5, 0.25
    exact = reference.gd_loss(steps, eta, n, d)
    if steps <= 1:
        assert exact == pytest.approx(reference.step_loss(eta * steps, n, d), abs=1e-15)
    x, y, w = demonstrations(n, d)
    estimate = np.zeros_like(w)
    for _ in range(steps):
        estimate = estimate + one_step(x, y - np.einsum("rnd,rd->rn", x, estimate), eta)
    if steps:
        agree(((estimate - w) ** 2).sum(axis=1), exact)
    else:
        assert exact == 1


def test_best_polynomial() -> None:
    """One step: the best step. More: simulated with the optimal coefficients; below one eta."""
    n, d = 10, 5
    assert reference.best_polynomial_loss(0, n, d) == 1
    assert reference.best_polynomial_loss(1, n, d) == pytest.approx(0.375, abs=1e-15)
    x, _, _ = demonstrations(n, d)
    eigenvalues = np.linalg.eigvalsh(np.einsum("rnd,rne->rde", x, x) / n)
    for steps in (2, 3):
        exact = reference.best_polynomial_loss(steps, n, d)
        moments = [float(reference.wishart_moment(k, n, d)) for k in range(2 * steps + 1)]
        hankel = np.array([[moments[i + j] for j in range(steps + 1)] for i in range(steps + 1)])
        inverse = np.linalg.inv(hankel)
        errors = np.polyval((inverse[0] / inverse[0, 0])[::-1], eigenvalues) ** 2
        agree(errors.mean(axis=1), exact, tightness=0.1)
        one_size = minimize_scalar(
            lambda eta, steps=steps: reference.gd_loss(steps, eta, n, d), (0.1, 0.4)
        )
        assert exact < one_size.fun  # pyright: ignore
    # Whatever the polynomial, what the demonstrations do not span stays: 1 - N/d.
    many = [reference.best_polynomial_loss(steps, 2, 8) for steps in range(7)]
    assert sorted(many, reverse=True) == many
    assert 0.75 < many[-1] < 0.76


@pytest.mark.parametrize("rho", [0.0, 2.0])
def test_uniform_inputs(rho: float) -> None:
    best = reference.best_uniform_step(10, 10, 1.0, rho)
    if rho == 0:
        assert best.eta == pytest.approx(1.515152, abs=5e-7)
        assert best.loss == pytest.approx(0.164983, abs=5e-7)
    x, y, w = demonstrations(10, 10, rho, half_width=1.0)
    agree(((one_step(x, y, best.eta) - w) ** 2).sum(axis=1) / 3, best.loss)
    for other in (0.9, 1.1):  # a minimum in simulation too
        worse = ((one_step(x, y, best.eta * other) - w) ** 2).sum(axis=1) / 3
        assert worse.mean() > best.loss


def test_von_oswald() -> None:
    step, zero = reference.von_oswald_step()
    assert step.eta == pytest.approx(200 / 33, rel=1e-14)
    assert step.loss == pytest.approx(0.20623, abs=5e-6)
    assert zero == pytest.approx(0.41667, abs=5e-6)


@pytest.mark.parametrize(
    ("eigenvalues", "n", "sigma", "diagonal", "loss"),
    [
        ((4.0, 1.0, 0.25), 10, 0.0, (0.203046, 0.615385, 1.25), 1.307759),
        ((4.0, 1.0, 0.25), 10, 0.7, None, 1.362285),
        ((1.0,) * 5, 20, 0.0, (10 / 13,) * 5, 15 / 13),
        ((2.0, 1.0, 0.5, 0.25), 10, 0.0, None, 1.1522),
    ],
)
def test_preconditioned(
    eigenvalues: tuple[float, ...],
    n: int,
    sigma: float,
    diagonal: tuple[float, ...] | None,
    loss: float,
) -> None:
    optimum = reference.preconditioned_optimum(eigenvalues, n, sigma)
    assert optimum.loss == pytest.approx(loss, abs=2e-5)
    if diagonal is not None:
        assert optimum.diagonal == pytest.approx(diagonal, abs=5e-7)
    lam, d = np.asarray(eigenvalues), len(eigenvalues)
    rng, replicates = np.random.default_rng(1), 3 * REPLICATES
    x = np.sqrt(lam) * rng.standard_normal((replicates, n, d))
    w = rng.standard_normal((replicates, d))
    y = np.einsum("rnd,rd->rn", x, w) + sigma * rng.standard_normal((replicates, n))

    def losses(a: np.ndarray) -> np.ndarray:
        return (lam * (a * one_step(x, y, 1.0) - w) ** 2).sum(axis=1)

    best = np.asarray(optimum.diagonal)
    agree(losses(best), optimum.loss)
    for i in range(d):  # the gradient of the paired losses vanishes
        shifted = best * (1 + 0.05 * np.eye(d)[i])
        difference = losses(shifted) - losses(2 * best - shifted)
        assert abs(difference.mean()) < 5 * difference.std() / math.sqrt(replicates)


@pytest.mark.parametrize(
    ("n", "d", "rho"), [(8, 20, 0.0), (30, 20, 0.0), (40, 20, 3.0), (8, 20, 3.0), (20, 20, 0.0)]
)
def test_least_squares(n: int, d: int, rho: float) -> None:
    exact = reference.least_squares_loss(n, d, rho)
    if rho == 0:
        assert exact == max(0.0, 1 - n / d)
    x, y, w = (array[:4_000] for array in demonstrations(n, d, rho))
    estimate = np.einsum("rdn,rn->rd", np.linalg.pinv(x), y)
    errors = ((estimate - w) ** 2).sum(axis=1)
    if exact:
        agree(errors, exact)
    else:
        assert np.median(errors) < 1e-12


def test_noisy_least_squares() -> None:
    """sigma^2 d / (N - d - 1) with |w| = 1, and infinite around N = d."""
    sigma, d, n = 0.5, 20, 40
    assert reference.least_squares_loss(n, d, d * sigma**2) == pytest.approx(
        sigma**2 * d / (n - d - 1)
    )
    for n in (19, 20, 21):
        assert reference.least_squares_loss(n, 20, 1.0) == math.inf


def test_averaging_and_zero() -> None:
    assert reference.averaging_loss(40, 20) == pytest.approx(21 / 40)
    assert reference.zero_loss() == reference.step_loss(0.0, 5, 5) == 1
    x, y, w = demonstrations(40, 20)
    agree(((one_step(x, y, 1.0) - w) ** 2).sum(axis=1), 21 / 40)


def test_gaussian_mean() -> None:
    n, sigma = 5, 1.3
    rng = np.random.default_rng(2)
    z = sigma * rng.standard_normal((10 * REPLICATES, n + 1))
    mean = z[:, :n].mean(axis=1)
    gap = (mean - z[:, n]) ** 2 - ((mean[:, None] - z[:, :n]) ** 2).mean(axis=1)
    agree(gap, reference.gaussian_mean_gap(n, sigma))
    # Jointly Gaussian: I = -1/2 log(1 - correlation^2), correlation^2 = 1/n.
    correlation = np.corrcoef(mean, z[:, 0])[0, 1]
    information = -0.5 * math.log(1 - correlation**2)
    assert information == pytest.approx(reference.gaussian_mean_information(n), abs=0.005)
    assert reference.gaussian_mean_information(n) == pytest.approx(-0.5 * math.log(1 - 1 / n))
    assert reference.gaussian_mean_information(1) == math.inf


def test_revealing() -> None:
    assert reference.revealing_f_cmi() == pytest.approx(1.177410, abs=5e-7)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: reference.step_loss(0.1, 0, 5), "n"),
        (lambda: reference.step_gap(0.1, 5, 0), "d"),
        (lambda: reference.best_step(5, 5, -1.0), "rho"),
        (lambda: reference.wishart_moment(-1, 5, 5), "k"),
        (lambda: reference.gd_loss(-1, 0.1, 5, 5), "steps"),
        (lambda: reference.best_polynomial_loss(-1, 5, 5), "steps"),
        (lambda: reference.best_uniform_step(5, 5, 0.0), "half_width"),
        (lambda: reference.preconditioned_optimum((1.0, 0.0), 5), "eigenvalues"),
        (lambda: reference.preconditioned_optimum((1.0,), 5, -0.1), "sigma"),
        (lambda: reference.preconditioned_optimum((), 5), "eigenvalues"),
        (lambda: reference.gaussian_mean_gap(5, -1.0), "sigma"),
        (lambda: reference.step_loss(math.nan, 5, 5), "eta"),
    ],
)
def test_mistakes(call, argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must be"):
        call()
