"""First-order prediction of a truncation against the truncation, and ranks of planted matrices."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import first_order as prediction
from theory import pruning


def test_it_is_exact_for_a_linear_loss() -> None:
    rng = np.random.default_rng(0)
    w, gradient = rng.normal(size=(2, 5, 3))
    measured = prediction.first_order(w, gradient, range(4))
    for rank, change in zip(measured.ranks, measured.change, strict=True):
        cut = pruning.truncate(w, int(rank)) if rank else np.zeros_like(w)
        assert change == pytest.approx((gradient * (cut - w)).sum(), rel=1e-12, abs=1e-14)
    assert measured.change[-1] == 0
    np.testing.assert_allclose(measured.shares.sum(), (gradient * w).sum(), rtol=1e-12)


def test_its_error_is_of_second_order() -> None:
    """A small network's loss: halving what is cut leaves a quarter of the error."""
    rng = np.random.default_rng(1)
    u, _, vt = np.linalg.svd(rng.normal(size=(6, 4)), full_matrices=False)
    x, target = rng.normal(size=(50, 4)), rng.normal(size=(50, 6))

    def loss(w: jax.Array) -> jax.Array:
        return ((jnp.tanh(x @ w.T) - target) ** 2).mean()

    errors = []
    with jax.enable_x64(True):
        for size in (0.04, 0.02):
            w = u * [1.0, 0.5, size, size / 2] @ vt
            gradient = np.asarray(jax.grad(loss)(jnp.asarray(w)))
            measured = prediction.first_order(w, gradient, [2])
            actual = float(loss(jnp.asarray(pruning.truncate(w, 2))) - loss(jnp.asarray(w)))
            errors.append(abs(actual - measured.change[0]))
    assert 3 < errors[0] / errors[1] < 5


def test_shares_are_singular_values_times_their_derivatives() -> None:
    rng = np.random.default_rng(2)
    w, a = rng.normal(size=(2, 4, 4))

    def loss(matrix: np.ndarray) -> float:
        return float(np.sin(matrix * a).sum())

    gradient = np.cos(w * a) * a
    measured = prediction.first_order(w, gradient, [2])
    u, s, vt = np.linalg.svd(w)
    for i in range(4):
        step = 1e-6 * np.outer(u[:, i], vt[i])
        slope = (loss(w + step) - loss(w - step)) / 2e-6
        assert measured.shares[i] == pytest.approx(s[i] * slope, rel=1e-6, abs=1e-8)


def test_best_is_the_largest_rank_of_the_lowest_loss() -> None:
    w, gradient = np.diag([3.0, 2.0, 1.0]), np.diag([-1.0, 0.0, 1.0])
    measured = prediction.first_order(w, gradient, [1, 2, 3])
    assert measured.change.tolist() == [-1.0, -1.0, 0.0]
    assert measured.best == 2


def test_constants_of_gavish_and_donoho() -> None:
    """Square: 4 / sqrt 3 for known noise, 2.858 medians for unknown; ratio 1/2: 1.9786."""
    assert prediction.marchenko_pastur_median(1.0) == pytest.approx(0.653, abs=1e-3)
    ratio = (4 / 3**0.5) / prediction.marchenko_pastur_median(1.0) ** 0.5
    assert ratio == pytest.approx(2.858, abs=1e-3)
    above, below = (np.append(x * 4 / 3**0.5 * 10, np.zeros(99)) for x in (1.001, 0.999))
    assert prediction.gavish_donoho_rank(above, (100, 100), 1.0) == 1
    assert prediction.gavish_donoho_rank(below, (100, 100), 1.0) == 0
    above, below = (np.append(x * 1.9786 * 200**0.5, np.zeros(99)) for x in (1.001, 0.999))
    assert prediction.gavish_donoho_rank(above, (100, 200), 1.0) == 1
    assert prediction.gavish_donoho_rank(below, (100, 200), 1.0) == 0


def test_median_of_the_law_by_simulation() -> None:
    rng = np.random.default_rng(3)
    for m, n in ((150, 300), (200, 200)):
        values = np.linalg.svd(rng.normal(size=(m, n)), compute_uv=False)
        known = prediction.marchenko_pastur_median(m / n)
        assert np.median(values) ** 2 / n == pytest.approx(known, rel=0.03)


@pytest.mark.parametrize("shape", [(80, 80), (60, 150), (150, 60)])
def test_planted_ranks_are_found(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    left, right = (np.linalg.qr(rng.normal(size=(side, 5)))[0] for side in shape)
    signal = left * (6 * np.sqrt(max(shape)) * np.linspace(1, 2, 5)) @ right.T
    values = np.linalg.svd(signal + 0.7 * rng.normal(size=shape), compute_uv=False)
    for sigma in (None, 0.7):
        assert prediction.gavish_donoho_rank(values, shape, sigma) == 5
        assert prediction.marchenko_pastur_rank(values, shape, sigma) >= 5
    noise = np.linalg.svd(rng.normal(size=shape), compute_uv=False)
    assert prediction.gavish_donoho_rank(noise, shape) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: prediction.first_order(np.eye(3), np.eye(2), [1]),
            r"gradient must be of shape \(3, 3\)",
        ),
        (lambda: prediction.first_order(np.eye(3), np.eye(3), [4]), "ranks must be at most 3"),
        (lambda: prediction.marchenko_pastur_median(1.5), "beta must be above 0 and at most 1"),
        (
            lambda: prediction.gavish_donoho_rank(np.ones(3), (4, 5)),
            "values must be 4 singular values",
        ),
        (
            lambda: prediction.marchenko_pastur_rank(np.ones(3), (3, 3), 0.0),
            "sigma must be positive",
        ),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
