"""Controls of a truncation: other changes of the same matrix, as large or of the same rank.

If noise as large as the part that a truncation removes helps as much (Zhao et al., 2024, NoisyICL),
the gain is not one of truncation. Everything is computed in float64 on the host.
"""

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.linalg import svd as scipy_svd

Matrix = Float[np.ndarray, "rows columns"]


def removed_part(matrix: Matrix, rank: int) -> Matrix:
    """What a truncation to a rank takes away: the matrix less its best approximation."""
    left, s, right = scipy_svd(matrix, full_matrices=False)
    return (left[:, rank:] * s[rank:]) @ right[rank:]


def with_noise(matrix: Matrix, rank: int, key: PRNGKeyArray) -> Matrix:
    """The matrix plus normal noise with the removed part's Frobenius norm."""
    noise = _normal(key, matrix.shape)
    return matrix + noise * (np.linalg.norm(removed_part(matrix, rank)) / np.linalg.norm(noise))


def with_spectrum_noise(matrix: Matrix, rank: int, key: PRNGKeyArray) -> Matrix:
    """The matrix plus noise with the removed part's singular values in random directions."""
    s = scipy_svd(matrix, compute_uv=False)[rank:]
    of_rows, of_columns = jax.random.split(key)
    left = _orthonormal(of_rows, matrix.shape[0], len(s))
    right = _orthonormal(of_columns, matrix.shape[1], len(s))
    return matrix + (left * s) @ right.T


def in_random_directions(matrix: Matrix, rank: int, key: PRNGKeyArray) -> Matrix:
    """The matrix projected on random directions of its rows, as many as a truncation keeps."""
    directions = _orthonormal(key, matrix.shape[0], rank)
    return directions @ (directions.T @ matrix)


def without_small_entries(matrix: Matrix, rank: int) -> Matrix:
    """Magnitude pruning as large as a truncation: small entries set to zero.

    So many, the smallest first, that the Frobenius norm of what is taken away is as near the
    removed part's as entries allow.
    """
    target = np.linalg.norm(removed_part(matrix, rank)) ** 2
    order = np.argsort(np.abs(matrix), axis=None, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(matrix.ravel()[order] ** 2)])
    count = int(np.argmin(np.abs(np.sqrt(sums) - np.sqrt(target))))
    pruned = matrix.ravel().copy()
    pruned[order[:count]] = 0.0
    return pruned.reshape(matrix.shape)


def _normal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Matrix:
    return np.asarray(jax.random.normal(key, shape), np.float64)


def _orthonormal(key: PRNGKeyArray, size: int, count: int) -> Float[np.ndarray, "size count"]:
    """Columns that are uniform among orthonormal ones: the signs of R are made positive."""
    q, r = np.linalg.qr(_normal(key, (size, count)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)
