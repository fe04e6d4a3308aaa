"""The posterior in closed form, and the split of a risk into damage and ignorance."""

import numpy as np
import pytest

from theory import bayes, reference


def draw(rng: np.random.Generator, m: int, n: int, d: int, sigma: float, prior: np.ndarray):
    w = rng.normal(size=(m, d)) @ np.linalg.cholesky(prior + 1e-300 * np.eye(d)).T
    x = rng.normal(size=(m, n, d))
    y = np.einsum("mnd,md->mn", x, w) + sigma * rng.normal(size=(m, n))
    return np.concatenate([x, y[..., None]], axis=-1), w


def test_posterior_is_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(3, 3))
    prior = half @ half.T + 0.1 * np.eye(3)
    demonstrations, _ = draw(rng, 4, 6, 3, 0.5, prior)
    known = bayes.posterior(demonstrations, 0.5, prior)
    for m in range(4):
        x, y = demonstrations[m, :, :-1], demonstrations[m, :, -1]
        precision = np.linalg.inv(prior) + x.T @ x / 0.25
        np.testing.assert_allclose(known.covariance[m], np.linalg.inv(precision), rtol=1e-9)
        np.testing.assert_allclose(
            known.mean[m], np.linalg.solve(precision, x.T @ y / 0.25), rtol=1e-9
        )


def test_without_noise_it_is_the_minimum_norm_solution() -> None:
    rng = np.random.default_rng(1)
    for n in (2, 3, 7):
        demonstrations, w = draw(rng, 3, n, 3, 0.0, np.eye(3))
        known = bayes.posterior(demonstrations, 0.0)
        x, y = demonstrations[..., :-1], demonstrations[..., -1]
        solution = (np.linalg.pinv(x) @ y[..., None])[..., 0]
        np.testing.assert_allclose(known.mean, solution, rtol=0, atol=1e-10)
        traces = np.trace(known.covariance, axis1=1, axis2=2)
        np.testing.assert_allclose(traces, max(3 - n, 0), rtol=0, atol=1e-10)
        if n >= 3:
            np.testing.assert_allclose(known.mean, w, rtol=0, atol=1e-8)


def test_no_demonstration_leaves_the_prior() -> None:
    known = bayes.posterior(np.zeros((0, 4)), 0.5, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(known.mean, np.zeros(3))
    np.testing.assert_array_equal(known.covariance, np.diag([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("sigma", [0.0, 0.6])
def test_the_two_parts_add_to_the_risk(sigma: float) -> None:
    """Of a wrong predictor (averaging), by simulation; of the Bayes predictor the gap is 0."""
    rng = np.random.default_rng(2)
    m, n, d = 40_000, 4, 3
    demonstrations, w = draw(rng, m, n, d, sigma, np.eye(d))
    x, y = demonstrations[..., :-1], demonstrations[..., -1]
    averaged = np.einsum("mn,mnd->md", y, x) / n
    known = bayes.posterior(demonstrations, sigma)
    query = rng.normal(size=(m, d))
    parts = bayes.split((averaged * query).sum(1), query, known)
    losses = ((averaged - w) * query).sum(1) ** 2
    difference = losses - parts.risk
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(m)
    exact = bayes.split_of_predictor(averaged, known)
    for mine, theirs in zip(exact, parts, strict=True):
        apart = mine - theirs
        assert abs(apart.mean()) < 5 * apart.std() / np.sqrt(m)
    wanted = d * reference.averaging_loss(n, d, sigma**2)
    errors = exact.risk.std() / np.sqrt(m)
    assert abs(exact.risk.mean() - wanted) < 5 * errors
    assert np.abs(bayes.split_of_predictor(known.mean, known).gap).max() < 1e-20


def test_bad_input() -> None:
    known = bayes.posterior(np.ones((2, 3)), 0.5)
    with pytest.raises(ValueError, match="sigma must be at least 0"):
        bayes.posterior(np.ones((2, 3)), -0.5)
    with pytest.raises(ValueError, match="prior must be symmetric"):
        bayes.posterior(np.ones((2, 3)), 0.5, [[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match=r"demonstrations must be \[\*batch, N, d \+ 1\]"):
        bayes.posterior(np.ones(3), 0.5)
    with pytest.raises(ValueError, match=r"query must be \(2,\)"):
        bayes.split(np.ones(()), np.ones(3), known)
    with pytest.raises(ValueError, match=r"w must be of shape \(2,\)"):
        bayes.split_of_predictor(np.ones(3), known)
