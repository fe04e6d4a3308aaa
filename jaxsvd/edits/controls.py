"""Controls of a truncation: other changes of the same matrix, as large or of the same rank.

If noise as large as the part that a truncation removes helps as much (Zhao et al., 2024, NoisyICL),
the gain is not one of truncation. Everything is computed in float64 on the host.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.linalg import svd as scipy_svd

Matrix = Float[np.ndarray, "rows columns"]


class Decomposed(NamedTuple):
    """A matrix and its singular value decomposition, from which all controls of it are made.

    Attributes:
        matrix: in float64.
        left: columns of U.
        s: singular values, the largest first.
        right: rows of V^T.
    """

    matrix: Matrix
    left: Float[np.ndarray, "rows k"]
    s: Float[np.ndarray, " k"]
    right: Float[np.ndarray, "k columns"]

    @classmethod
    def of(cls, matrix: Float[np.ndarray, "rows columns"]) -> "Decomposed":
        """Decompose a matrix."""
        matrix = matrix.astype(np.float64)
        return cls(matrix, *scipy_svd(matrix, full_matrices=False))

    def removed_norm(self, rank: int) -> float:
        """Frobenius norm of what a truncation takes away (Eckart and Young, 1936)."""
        return float(np.linalg.norm(self.s[rank:]))


def removed_part(of: Decomposed, rank: int) -> Matrix:
    """What a truncation to a rank takes away: the matrix less its best approximation."""
    return (of.left[:, rank:] * of.s[rank:]) @ of.right[rank:]


def with_noise(of: Decomposed, rank: int, key: PRNGKeyArray) -> Matrix:
    """The matrix plus normal noise with the removed part's Frobenius norm."""
    noise = _normal(key, of.matrix.shape)
    return of.matrix + noise * (of.removed_norm(rank) / np.linalg.norm(noise))


def with_spectrum_noise(of: Decomposed, rank: int, key: PRNGKeyArray) -> Matrix:
    """The matrix plus noise with the removed part's singular values in random directions."""
    matrix, s = of.matrix, of.s[rank:]
    of_rows, of_columns = jax.random.split(key)
    left = _orthonormal(of_rows, matrix.shape[0], len(s))
    right = _orthonormal(of_columns, matrix.shape[1], len(s))
    return matrix + (left * s) @ right.T


def in_random_directions(of: Decomposed, rank: int, key: PRNGKeyArray) -> Matrix:
    """The matrix projected on random directions of its rows, as many as a truncation keeps."""
    matrix = of.matrix
    directions = _orthonormal(key, matrix.shape[0], rank)
    return directions @ (directions.T @ matrix)


def without_small_entries(of: Decomposed, rank: int) -> Matrix:
    """Magnitude pruning as large as a truncation: small entries set to zero.

    So many, the smallest first, that the Frobenius norm of what is taken away is as near the
    removed part's as entries allow.
    """
    matrix, target = of.matrix, of.removed_norm(rank)
    order = np.argsort(np.abs(matrix), axis=None, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(matrix.ravel()[order] ** 2)])
    count = int(np.argmin(np.abs(np.sqrt(sums) - target)))
    pruned = matrix.ravel().copy()
    pruned[order[:count]] = 0.0
    return pruned.reshape(matrix.shape)


def _normal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Matrix:
    return np.asarray(jax.random.normal(key, shape), np.float64)


def _orthonormal(key: PRNGKeyArray, size: int, count: int) -> Float[np.ndarray, "size count"]:
    """Columns that are uniform among orthonormal ones: the signs of R are made positive."""
    q, r = np.linalg.qr(_normal(key, (size, count)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)
