"""Gradient noise against brute force with D^2 x D^2 matrices, which only tests may form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from theory_problems import covariance, random_problem

from theory import implicit, noise
from theory.implicit import Factors


def random_factors(seed: int, n: int, width: int) -> Factors:
    return Factors(*np.random.default_rng(seed).normal(size=(3, n, width)))


@given(st.integers(0, 10**6), st.sampled_from([(2, 3), (4, 1), (5, 4), (9, 2)]), st.data())
def test_spectrum_of_c(seed: int, size: tuple[int, int], data: st.DataObject) -> None:
    n, width = size
    b = data.draw(st.integers(1, n))
    factors = random_factors(seed, n, width)
    dense = np.linalg.eigvalsh(covariance(factors, b))[::-1]
    actual = noise.eigenvalues(factors, b)
    kept = min(n, width**2)
    scale = max(float(np.abs(actual).max()), 1e-3)
    np.testing.assert_allclose(actual[:kept], dense[:kept], rtol=0, atol=1e-12 * scale)
    assert not actual[kept:].any()
    lam = 0.3
    np.testing.assert_allclose(
        noise.log_determinant(actual, width**2, lam),
        np.linalg.slogdet(covariance(factors, b) + lam * np.eye(width**2))[1],
        rtol=1e-12,
        atol=1e-12,
    )


def test_spectrum_through_few_coordinates_is_the_same() -> None:
    factors = random_factors(3, 30, 6)
    outside = np.arange(6) > 1
    v, r = np.where(outside, 0, factors.v), np.where(outside[::-1], 0, factors.r)
    sparse = factors._replace(v=v, r=r)  # 2 x 2 coordinates for 30 demonstrations
    dense = np.linalg.eigvalsh(covariance(sparse, 7))[::-1]
    actual = noise.eigenvalues(sparse, 7)
    np.testing.assert_allclose(actual[:4], dense[:4], rtol=1e-12)
    assert actual.shape == (30,)
    assert not actual[4:].any()


def test_c_is_singular_for_every_n_and_zero_at_b_n() -> None:
    for n in (5, 40):
        tokens, weights = random_problem(n, n=n, width=3, scale=0.1)
        factors = implicit.example_factors(tokens, weights)
        spectrum = noise.eigenvalues(factors, 2)
        ranks = (spectrum > 0).sum(-1)
        assert list(ranks) == [min(n - 1, 6)] * 3  # D (D + 1) / 2 = 6 < D^2 = 9
        assert np.isneginf(noise.log_determinant(spectrum, 9)).all()
        # In the subspace where the gradients live it is not, once N - 1 reaches it.
        assert np.isfinite(noise.log_determinant(spectrum, 6)).all() == (n > 6)
        assert not noise.eigenvalues(factors, n).any()


def test_float32_spectrum() -> None:
    factors = random_factors(0, 8, 5)
    exact = noise.eigenvalues(factors, 4)
    single = noise.eigenvalues(Factors(*(jnp.asarray(a, jnp.float32) for a in factors)), 4)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, exact, rtol=0, atol=1e-5 * exact.max())


@pytest.mark.long
def test_the_noise_has_covariance_c_and_the_ridge_adds_to_it() -> None:
    tokens, weights = random_problem(1, n=5, width=2, layers=1)
    m = 20_000
    prompts = np.broadcast_to(tokens[:-1], (m, 5, 2))
    block = noise.BlockSubspace((0,), (0, 1))
    ridge = ("absolute", 0.05)
    run = noise.noisy_trajectory(
        jax.random.key(0), prompts, weights, 2, subspace=block, ridge=ridge
    )
    factors = implicit.example_factors(tokens, weights)
    gradient = implicit.updates(tokens, weights).gradient[0]
    moved = (run.states[:, 1] - np.eye(2)).reshape(m, 4)
    expected = covariance(Factors(*(a[0] for a in factors)), 2)
    expected = expected + np.diag([0.05, 0.05, 0, 0])
    spread = np.sqrt(np.diag(expected))
    np.testing.assert_array_less(
        np.abs(moved.mean(0) - gradient.ravel()), 5 * spread / np.sqrt(m) + 1e-12
    )
    # A Gaussian covariance entry has variance (C_ii C_jj + C_ij^2) / m.
    error = np.sqrt((np.outer(spread, spread) ** 2 + expected**2) / m)
    assert (np.abs(np.cov(moved.T) - expected) <= 5 * error).all()


def test_at_b_n_without_a_ridge_nothing_is_random() -> None:
    tokens, weights = random_problem(2, n=5, width=3)
    run = noise.noisy_trajectory(jax.random.key(0), tokens[None, :-1], weights, 5)
    exact = implicit.updates(tokens, weights)
    np.testing.assert_allclose(run.states[0], exact.state, rtol=0, atol=1e-12)
    for actual, known in zip(run.factors, implicit.example_factors(tokens, weights), strict=True):
        np.testing.assert_allclose(actual[0], known, rtol=0, atol=1e-12)


def test_kappa_is_the_variance_of_a_subsample_mean() -> None:
    assert noise.kappa(10, 5) == pytest.approx(1 / 9)
    assert noise.kappa(10, 1) == 1
    assert noise.kappa(10, 10) == 0


def test_dimensions() -> None:
    assert noise.dimension("full", 6) == 36
    assert noise.dimension("symmetric", 6) == 21
    assert noise.dimension(noise.regression_block(5), 6) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise.kappa(1, 1), "n must be at least 2"),
        (lambda: noise.kappa(4, 5), "b must be at least 1 and at most N = 4, got 5"),
        (lambda: noise.eigenvalues(random_factors(0, 4, 3), 0), "b must be at least 1"),
        (
            lambda: noise.gram(random_factors(0, 4, 3)._replace(r=np.ones((4, 2)))),
            r"factors.r must be of shape \(4, 3\)",
        ),
        (
            lambda: noise.gram(random_factors(0, 4, 3)._replace(v=np.full((4, 3), np.nan))),
            "factors.v must be finite",
        ),
        (lambda: noise.log_determinant(np.ones(3), 4, -0.1), "ridge must be at least 0"),
        (lambda: noise.log_determinant(np.ones(3), 0), "directions must be at least 1"),
        (lambda: noise.ridge_level(("relative", -1.0), np.ones(2)), "ridge must be finite"),
        (
            lambda: noise.dimension(noise.BlockSubspace((3,), (0,)), 3),
            "subspace.rows must be some of",
        ),
        (
            lambda: noise.noisy_trajectory(
                jax.random.key(0), np.ones((4, 3)), random_problem(0)[1], 2
            ),
            "demonstrations must be",
        ),
        (
            lambda: noise.noisy_trajectory(
                jax.random.key(0),
                np.ones((1, 4, 4)),
                random_problem(0)[1],
                2,
                subspace="symmetric",
                ridge=("absolute", 0.1),
            ),
            "subspace must be fixed with a ridge",
        ),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
