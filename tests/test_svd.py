"""Truncation against numpy in float64, and its properties."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsvd import svd
from jaxsvd.condition_number import condition_number
from jaxsvd.runtime.errors import UserError

SHAPES = [(1, 1), (1, 7), (24, 24), (40, 17), (17, 40), (64, 256)]
# Few sizes: each shape compiles.
seeds, sizes = st.integers(0, 2**31), st.sampled_from([1, 2, 7, 24])
rates = st.floats(0, 1, exclude_max=True)


def random_matrix(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_ranks_of_the_paper() -> None:
    """The eight candidates at 4,096, and the guard against floating error."""
    kept = [svd.rank_at(rate, (4096, 16384)) for rate in svd.RATES]
    assert kept == [4096, 3686, 2048, 1024, 409, 204, 40, 20]
    assert svd.rank_at(0.9, (10, 30)) == 1  # 1 - 0.9 is a little below 0.1
    assert svd.rank_at(0.7, (10, 10)) == 3
    assert svd.rank_at(0.995, (10, 10)) == 1


@given(rate=rates, rows=sizes, columns=sizes)
def test_rank_is_within_the_matrix(rate: float, rows: int, columns: int) -> None:
    assert 1 <= svd.rank_at(rate, (rows, columns)) <= min(rows, columns)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.995])
def test_error_is_the_optimum(shape: tuple[int, int], rate: float) -> None:
    """Eckart-Young-Mirsky in float64: within 1e-6 of the optimum, relative to the matrix.

    Where nothing is cut (rank equal to the smaller side) the optimum is zero.
    """
    w = random_matrix(shape)
    rank = svd.rank_at(rate, shape)
    tail = np.linalg.svd(w.astype(np.float64), compute_uv=False)[rank:]
    optimum = np.sqrt((tail**2).sum())
    truncated = np.asarray(svd.truncate(jnp.asarray(w), rate), np.float64)
    error = np.linalg.norm(w - truncated)
    if optimum > 0:
        assert abs(error - optimum) <= 1e-6 * optimum
    else:
        assert error <= 2e-6 * np.linalg.norm(w)


def test_rate_zero_is_the_same_array() -> None:
    """A round trip through the decomposition would not be."""
    w = jnp.asarray(random_matrix((8, 5)))
    assert svd.truncate(w, 0.0) is w


@given(rate=rates, rows=sizes, columns=sizes, seed=seeds)
def test_residual_is_the_tail(rate: float, rows: int, columns: int, seed: int) -> None:
    w = random_matrix((rows, columns), seed)
    rank = svd.rank_at(rate, w.shape)
    factors = svd.factor(jnp.asarray(w))
    residual = np.linalg.norm(w - np.asarray(svd.reconstruct(factors, rank)))
    tail = np.linalg.norm(np.asarray(factors.s)[rank:])
    assert abs(residual - tail) <= 3e-6 * np.linalg.norm(w)


@given(rows=sizes, columns=sizes, seed=seeds, data=st.data())
def test_nesting_and_idempotence(rows: int, columns: int, seed: int, data: st.DataObject) -> None:
    """Cutting to r and then to s <= r is cutting to s; cutting twice is cutting once."""
    w = jnp.asarray(random_matrix((rows, columns), seed))
    r = data.draw(st.integers(1, min(rows, columns)))
    s = data.draw(st.integers(1, r))
    at_s = svd.reconstruct(svd.factor(w), s)
    gaps = np.asarray(svd.factor(w).s)
    if s < len(gaps) and gaps[s - 1] - gaps[s] < 1e-3 * gaps[0]:
        return  # the best approximation is not unique there
    through_r = svd.reconstruct(svd.factor(svd.reconstruct(svd.factor(w), r)), s)
    np.testing.assert_allclose(through_r, at_s, rtol=0, atol=2e-3 * float(gaps[0]))
    again = svd.reconstruct(svd.factor(at_s), s)
    np.testing.assert_allclose(again, at_s, rtol=0, atol=1e-5 * float(gaps[0]))


@given(rows=sizes, columns=sizes, seed=seeds, data=st.data())
def test_orthogonal_invariance_and_transposition(
    rows: int, columns: int, seed: int, data: st.DataObject
) -> None:
    """Truncation commutes with rotations on either side and with transposition."""
    w = random_matrix((rows, columns), seed).astype(np.float64)
    rank = data.draw(st.integers(1, min(rows, columns)))
    spectrum = np.linalg.svd(w, compute_uv=False)
    if rank < len(spectrum) and spectrum[rank - 1] - spectrum[rank] < 1e-2 * spectrum[0]:
        return  # the best approximation is not unique there

    def cut(matrix: np.ndarray) -> np.ndarray:
        return np.asarray(svd.reconstruct(svd.factor(jnp.asarray(matrix, jnp.float32)), rank))

    rng = np.random.default_rng(seed + 1)
    left = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    tolerance = 1e-3 * spectrum[0]
    np.testing.assert_allclose(cut(left @ w @ right), left @ cut(w) @ right, atol=tolerance)
    np.testing.assert_allclose(cut(w.T), cut(w).T, atol=tolerance)


def test_another_rate_does_not_compile() -> None:
    w = jnp.asarray(random_matrix((12, 9)))
    factors = svd.factor(w)
    svd.reconstruct(factors, 3)
    before = svd.reconstruct._cache_size()
    for rank in range(1, 10):
        svd.reconstruct(factors, rank)
    assert svd.reconstruct._cache_size() == before


@pytest.mark.parametrize("shape", [(60, 40), (40, 60)])
def test_randomized_mode(shape: tuple[int, int]) -> None:
    """Near the optimal error but never below it, of the right rank, and repeatable."""
    w = random_matrix(shape)
    rank = svd.rank_at(0.8, shape)
    optimum = np.linalg.norm(np.linalg.svd(w.astype(np.float64), compute_uv=False)[rank:])
    key = jax.random.key(0)
    cut = np.asarray(svd.truncate(jnp.asarray(w), 0.8, method="randomized", key=key))
    assert optimum * (1 - 1e-6) <= np.linalg.norm(w - cut) <= 1.1 * optimum
    assert np.linalg.matrix_rank(cut, tol=1e-4) == rank
    again = svd.truncate(jnp.asarray(w), 0.8, method="randomized", key=key)
    np.testing.assert_array_equal(cut, again)
    exact = np.asarray(svd.truncate(jnp.asarray(w), 0.8))
    assert np.linalg.norm(cut - exact) > 0.01 * np.linalg.norm(exact)
    with pytest.raises(ValueError, match="key"):
        svd.truncate(jnp.asarray(w), 0.8, method="randomized")


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.2, math.nan])
def test_rates_outside_are_refused(rate: float) -> None:
    with pytest.raises(UserError, match="at least 0 and below 1"):
        svd.truncate(jnp.eye(3), rate)


def test_bfloat16_is_factored_in_float32() -> None:
    """The result has the matrix's dtype, rounded once from the float32 truncation."""
    w = jnp.asarray(random_matrix((20, 10)), jnp.bfloat16)
    cut = svd.truncate(w, 0.5)
    assert cut.dtype == jnp.bfloat16
    wide = svd.truncate(w.astype(jnp.float32), 0.5)
    np.testing.assert_array_equal(cut, wide.astype(jnp.bfloat16))


def test_condition_numbers() -> None:
    """Known spectra, up to 1e7 (float32 would lose it), and singular matrices."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (6, 4))
    for condition in (1.0, 350.0, 1e7):
        w = u[:, :4] @ np.diag([condition, 5.0, 2.0, 1.0][:4]) @ v if condition > 5 else u[:, :4]
        assert math.isclose(condition_number(w), condition, rel_tol=1e-8)
    assert condition_number(np.ones((3, 3))) == math.inf
    assert condition_number(np.zeros((3, 2))) == math.inf
    assert condition_number(jnp.eye(3, dtype=jnp.bfloat16)) == 1.0
