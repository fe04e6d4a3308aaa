"""Condition numbers from the two extreme singular values against a full decomposition."""

import math

import numpy as np
import pytest

from jaxsvd.condition_number import EPSILON, LARGEST_BY_CHOLESKY, SMALLEST_SIDE, condition_number

RNG = np.random.default_rng(0)


def with_spectrum(singular_values: np.ndarray, rows: int) -> np.ndarray:
    """A matrix [rows, k] with random singular vectors."""
    k = len(singular_values)
    left = np.linalg.qr(RNG.standard_normal((rows, k)))[0]
    right = np.linalg.qr(RNG.standard_normal((k, k)))[0]
    return left * singular_values @ right.T


def by_full_decomposition(a: np.ndarray) -> float:
    s = np.linalg.svd(np.asarray(a, np.float64), compute_uv=False)
    return s[0] / s[-1]


def spectra(number: float, k: int) -> dict[str, np.ndarray]:
    return {
        "geometric": np.geomspace(1, 1 / number, k),
        "one small": np.r_[np.linspace(1, 0.5, k - 1), 1 / number],
        "two clusters": np.r_[np.ones(k // 2), np.linspace(1.001, 1, k - k // 2) / number],
    }


@pytest.mark.parametrize("kind", ["geometric", "one small", "two clusters"])
@pytest.mark.parametrize("number", [1e2, 0.9e4, 1.1e4, 1e6, 1e9])
def test_known_spectra(number: float, kind: str) -> None:
    """1e-8 up to 1e6 and 1e-6 up to 1e9; the full decomposition is as far off as its rounding."""
    k = SMALLEST_SIDE + 32
    a = with_spectrum(spectra(number, k)[kind], 3 * k)
    tolerance = 1e-8 if number <= 1e6 else 1e-6
    assert abs(condition_number(a) / number - 1) <= tolerance
    assert abs(condition_number(a.T) / number - 1) <= tolerance


@pytest.mark.parametrize("shape", [(1, 5), (7, 7), (160, 160), (130, 400), (400, 130)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_random_matrices(shape: tuple[int, int], dtype: type) -> None:
    a = RNG.standard_normal(shape).astype(dtype)
    number = by_full_decomposition(a)
    # Both are off by at most about the side times epsilon times the number.
    assert abs(condition_number(a) / number - 1) <= max(shape) * EPSILON * max(number, 10) * 10


def test_both_routes_agree_where_they_meet() -> None:
    k = SMALLEST_SIDE
    below, above = (
        condition_number(with_spectrum(spectra(LARGEST_BY_CHOLESKY * f, k)["geometric"], k)) / f
        for f in (0.99, 1.01)
    )
    assert abs(below / above - 1) <= 2e-8


@pytest.mark.parametrize("side", [5, SMALLEST_SIDE + 7])
def test_singular_matrices_are_infinite(side: int) -> None:
    a = RNG.standard_normal((side, 2 * side))
    a[1] = a[0]
    assert condition_number(a) == math.inf
    assert condition_number(np.zeros((side, side))) == math.inf


def test_nearly_singular_matrices_fall_back_to_the_full_decomposition() -> None:
    k = SMALLEST_SIDE
    a = with_spectrum(np.r_[np.linspace(1, 0.5, k - 1), 1e-12], 2 * k)
    # Here the smallest singular value itself is known to about epsilon / 1e-12 = 2e-4 times a few.
    assert abs(condition_number(a) * 1e-12 - 1) <= 2 * k * EPSILON / 1e-12


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_scale_does_not_matter(scale: float) -> None:
    a = RNG.standard_normal((SMALLEST_SIDE, 200))
    assert condition_number(a * scale) == pytest.approx(condition_number(a), rel=1e-12)


def test_the_same_matrix_gives_the_same_number() -> None:
    a = RNG.standard_normal((200, 300)).astype(np.float32)
    assert condition_number(a) == condition_number(a.copy())
