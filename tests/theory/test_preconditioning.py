"""The exact risk of preconditioners, by simulation and closed forms; when truncation helps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import implicit, reference, regression
from theory.preconditioning import (
    PromptDistribution,
    best_preconditioner,
    dropped_direction,
    preconditioner_risk,
    second_moment,
    truncated_risk,
)


def random_setting(rng: np.random.Generator, d: int, n: int) -> PromptDistribution:
    a, o = rng.normal(size=(2, d, d))
    return PromptDistribution(a @ a.T / d, n, 0.4, o @ o.T / d)


def simulate(b: np.ndarray, setting: PromptDistribution, draws: int) -> tuple[float, float]:
    """Mean squared error of x^T B z, and its standard error."""
    rng = np.random.default_rng(7)
    d = len(b)
    half = np.linalg.cholesky(np.asarray(setting.covariance))
    w = rng.normal(size=(draws, d)) @ np.linalg.cholesky(np.asarray(setting.prior)).T
    x = rng.normal(size=(draws, setting.n + 1, d)) @ half.T
    y = np.einsum("mnd,md->mn", x, w) + setting.sigma * rng.normal(size=(draws, setting.n + 1))
    z = np.einsum("mn,mnd->md", y[:, :-1], x[:, :-1]) / setting.n
    query = x[:, -1]
    losses = (np.einsum("md,de,me->m", query, b, z) - (query * w).sum(1)) ** 2
    return losses.mean(), losses.std() / np.sqrt(draws)


@pytest.mark.parametrize(("d", "n"), [(3, 5), (2, 20)])
def test_risk_against_simulation(d: int, n: int) -> None:
    """A random B, covariance and prior, none of them symmetric with another."""
    rng = np.random.default_rng(d)
    setting = random_setting(rng, d, n)
    for b in (rng.normal(size=(d, d)) / 2, best_preconditioner(setting), np.zeros((d, d))):
        mean, error = simulate(b, setting, 100_000)
        assert abs(mean - preconditioner_risk(b, setting)) < 5 * error + 1e-12


def test_it_is_the_formula_of_isotropic_tasks() -> None:
    rng = np.random.default_rng(0)
    b = rng.normal(size=(3, 3))
    sigma, n, noise = np.diag([2.0, 1.0, 0.5]), 7, 0.3
    inner = (n + 1) / n * sigma @ sigma + (np.trace(sigma) + noise**2) / n * sigma
    risk = np.trace(sigma) - 2 * np.trace(sigma @ b @ sigma) + np.trace(sigma @ b @ inner @ b.T)
    assert preconditioner_risk(b, PromptDistribution(sigma, n, noise)) == pytest.approx(
        risk, rel=1e-13
    )
    np.testing.assert_allclose(
        second_moment(PromptDistribution(sigma, n, noise)), inner, rtol=1e-13
    )


@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_the_best_one_is_that_of_ahn_et_al(sigma: float) -> None:
    eigenvalues = [4.0, 1.0, 0.25]
    known = reference.preconditioned_optimum(eigenvalues, 10, sigma)
    setting = PromptDistribution(eigenvalues, 10, sigma)
    best = best_preconditioner(setting)
    np.testing.assert_allclose(best, np.diag(known.diagonal), rtol=1e-12, atol=1e-15)
    assert preconditioner_risk(best, setting) == pytest.approx(known.loss, rel=1e-12)
    for change in np.eye(9).reshape(9, 3, 3):
        assert preconditioner_risk(best + 0.01 * change, setting) > known.loss


def test_one_step_of_gradient_descent() -> None:
    for eta in (0.4, 1.0):
        actual = preconditioner_risk(eta * np.eye(4), PromptDistribution(np.eye(4), 9, 0.5)) / 4
        assert actual == pytest.approx(reference.step_loss(eta, 9, 4, 0.25), rel=1e-12)


def test_a_layer_is_read_as_its_preconditioner() -> None:
    """The transpose of what learned_step reads, and the prediction itself."""
    rng = np.random.default_rng(1)
    a = rng.normal(size=(2, 2))
    padded = np.pad(a, ((0, 1), (0, 1)))[None]
    only_x = np.diag([1.0, 1, 0])[None]
    weights = implicit.Weights(-(np.eye(3)[None] - only_x) / 6, only_x, padded)
    b = np.asarray(regression.learned_step(weights, 6).preconditioner).T
    np.testing.assert_allclose(b, a.T, rtol=1e-12)
    demonstrations, query = rng.normal(size=(6, 3)), np.append(rng.normal(size=2), 0)
    z = demonstrations[:, -1] @ demonstrations[:, :-1] / 6
    predicted = regression.predict(weights, demonstrations, query)
    assert float(predicted) == pytest.approx(query[:-1] @ b @ z, rel=1e-12)


@given(st.integers(0, 10**6))
def test_dropping_a_direction_helps_exactly_where_the_gain_is_twice_too_large(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lam, omega, gains = rng.uniform(0.1, 3, (3, 4))
    omega[rng.integers(4)] = 0  # tasks that do not use a direction
    setting = PromptDistribution(lam, int(rng.integers(1, 30)), float(rng.uniform(0, 2)), omega)
    changes = dropped_direction(gains, setting)
    best = np.diag(best_preconditioner(setting))
    for i in range(4):
        without = np.where(np.arange(4) == i, 0, gains)
        change = preconditioner_risk(without, setting) - preconditioner_risk(gains, setting)
        assert changes[i] == pytest.approx(change, rel=1e-8, abs=1e-10)
        assert (changes[i] < 0) == (gains[i] > 2 * best[i])


def test_a_layer_that_is_right_for_its_test_is_never_improved() -> None:
    for n in (1, 4, 40):
        setting = PromptDistribution(np.geomspace(3, 0.1, 6), n, 0.5)
        curve = truncated_risk(best_preconditioner(setting), setting)
        assert not curve.helps
        assert curve.best == 6
        assert (np.diff(curve.risk) < 0).all()


def test_fewer_shots_more_noise_or_unused_directions_make_truncation_help() -> None:
    lam = np.geomspace(4, 0.1, 6)
    trained = best_preconditioner(PromptDistribution(lam, 200))
    assert not truncated_risk(trained, PromptDistribution(lam, 100)).helps
    for test in (
        PromptDistribution(lam, 2),
        PromptDistribution(lam, 100, 30.0),
        PromptDistribution(lam, 100, 0.0, np.array([0.0, 0, 0, 0, 0, 1])),
    ):
        curve = truncated_risk(trained, test)
        assert curve.helps
        # The smallest gains go first: those of the widest directions.
        assert curve.risk[curve.best] < curve.risk[-1]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (PromptDistribution(np.eye(2), 0), "setting.n must be at least 1"),
        (PromptDistribution(np.eye(2), 5, -1.0), "setting.sigma must be at least 0"),
        (
            PromptDistribution(np.array([[1.0, 2.0], [2.0, 1.0]]), 5),
            "setting.covariance must be symmetric",
        ),
        (PromptDistribution(np.eye(2), 5, 0.0, np.ones(3)), r"setting.prior must be \[2\] or"),
    ],
)
def test_bad_input(setting: PromptDistribution, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        second_moment(setting)
    with pytest.raises(ValueError, match=r"b must be \[2\] or \[2, 2\]"):
        preconditioner_risk(np.eye(3), PromptDistribution(np.eye(2), 5))
