"""Where gradients live among the D x D matrices, and the algorithm's noise with them."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from theory.checks import real, require, require_whole
from theory.implicit import Weights, check_weights, with_heads


class BlockSubspace(NamedTuple):
    """The subspace of the D x D matrices that vanish outside some rows and columns.

    Attributes:
        rows: output features that the gradients reach.
        columns: input features that they read.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]


Subspace = BlockSubspace | Literal["full", "symmetric", "gradients"]
"""Where gradients live: a :class:`BlockSubspace`, all D^2 directions, the D (D + 1) / 2 of
{W_V A X A^T W_K^T W_Q A : X symmetric} for weights of full rank, or that set's own dimension d_t
for the weights as they are (:func:`gradient_dimensions`). The last two move with A."""

MOVING = ("symmetric", "gradients")
"""Subspaces that move with the state: known to a prior that knows the weights and the past."""


def check_subspace(subspace: Subspace, width: int) -> None:
    """Refuse what is no subspace of the D x D matrices.

    Raises:
        ValueError: an unknown name, or a block with features that do not exist.
    """
    known = isinstance(subspace, BlockSubspace) or subspace in ("full", *MOVING)
    wanted = "a Block, full, symmetric or gradients"
    require(known, "subspace", wanted, repr(subspace))
    if not isinstance(subspace, BlockSubspace):
        return
    for name, features in zip(BlockSubspace._fields, subspace, strict=True):
        inside = len(features) > 0 and all(0 <= feature < width for feature in features)
        require(inside, f"subspace.{name}", f"some of the features 0 to {width - 1}", features)


def regression_block(d: int) -> BlockSubspace:
    """Where the gradients of :func:`theory.implicit.gd_weights` live: from x to y, d directions."""
    require_whole("d", d, 1)
    return BlockSubspace((d,), tuple(range(d)))


def dimension(subspace: Subspace, width: int) -> int:
    """Directions of a subspace of the D x D matrices.

    Raises:
        ValueError: an unknown subspace, a block with features that do not exist, or ``gradients``,
            whose dimension depends on the weights (:func:`gradient_dimensions`).
    """
    check_subspace(subspace, width)
    if subspace == "full":
        return width**2
    if subspace == "symmetric":
        return width * (width + 1) // 2
    require(subspace != "gradients", "subspace", "one that needs no weights", subspace)
    assert isinstance(subspace, BlockSubspace)
    return len(set(subspace.rows)) * len(set(subspace.columns))


def gradient_dimensions(weights: Weights) -> Int[np.ndarray, " L"]:
    """d_t: dimension of {W_V X W_K^T W_Q : X symmetric} in each layer.

    G_t = W_V A S A^T W_K^T W_Q A is in the image of X -> W_V A X A^T W_K^T W_Q A, whatever the
    sample. For an invertible A_{t-1}, A X A^T runs through all symmetric matrices and the last A
    changes no dimension, so d_t depends on the weights only. With p = rank W_V,
    q = rank(W_K^T W_Q) and m = dim(row W_V n col(W_K^T W_Q)),

        d_t = p q - m (m - 1) / 2.

    Proof: the image is that of restricting the symmetric forms u^T X w to u in U = row W_V and
    w in V = col(W_K^T W_Q). On (U n V) x (U n V) a restriction is symmetric, m (m - 1) / 2
    conditions; a form on U x V that meets them extends to a symmetric one, by its values on a basis
    of U n V completed to bases of U and V. Full rank: p = q = m = D gives D (D + 1) / 2.

    With several heads the images add and may overlap: the rank of the sum of maps, by one singular
    value decomposition of D^2 x D (D + 1) / 2.

    Args:
        weights: of every layer.

    Raises:
        ValueError: shapes that disagree, or values that are not finite real numbers.
    """
    (weights,) = real(weights=weights)
    check_weights(weights, weights.value.shape[-1])
    eps = float(np.finfo(np.asarray(weights.value).dtype).eps)
    value, key, query = (np.asarray(m, np.float64) for m in with_heads(weights))
    product = np.swapaxes(key, -1, -2) @ query
    return np.array([_layer_dimension(v, p, eps) for v, p in zip(value, product, strict=True)], int)


def _layer_dimension(
    value: Float[np.ndarray, "H D D"], product: Float[np.ndarray, "H D D"], eps: float
) -> int:
    width = value.shape[-1]
    rounding = 64 * width * eps
    if len(value) > 1:
        return _rank(_sum_of_maps(value, product), rounding)
    rows, columns = _row_space(value[0], rounding), _row_space(product[0].T, rounding)
    p, q = len(rows), len(columns)
    if p == 0 or q == 0:
        return 0
    # Sines of the angles to the row space: zero where a direction is in both.
    sines = np.linalg.svd(columns - columns @ rows.T @ rows, compute_uv=False)
    m = int((sines[: min(q, width)] <= math.sqrt(eps)).sum()) if q <= width else 0
    return p * q - m * (m - 1) // 2


def _row_space(matrix: Float[np.ndarray, "D D"], rounding: float) -> Float[np.ndarray, "p D"]:
    """An orthonormal basis, as rows."""
    _, values, vt = np.linalg.svd(matrix)
    return vt[: int((values > rounding * values[0]).sum())] if values[0] > 0 else vt[:0]


def _sum_of_maps(
    value: Float[np.ndarray, "H D D"], product: Float[np.ndarray, "H D D"]
) -> Float[np.ndarray, "pairs entries"]:
    """X -> sum_h V_h X P_h on the basis e_a e_b^T + e_b e_a^T of the symmetric matrices."""
    width = value.shape[-1]
    first, second = np.triu_indices(width)
    images = np.einsum("hia,hbj->abij", value, product)
    both = images + images.swapaxes(0, 1)
    return both[first, second].reshape(len(first), -1)


def _rank(matrix: Float[np.ndarray, "m n"], rounding: float) -> int:
    values = np.linalg.svd(matrix, compute_uv=False)
    return int((values > rounding * values[0]).sum()) if values[0] > 0 else 0


def indicator(subspace: Subspace, width: int) -> Float[np.ndarray, "D D"]:
    """1 at the entries of a D x D matrix that belong to a subspace (all but for a block)."""
    check_subspace(subspace, width)
    if not isinstance(subspace, BlockSubspace):
        return np.ones((width, width))
    inside = np.zeros((width, width))
    inside[np.ix_(unique(subspace.rows), unique(subspace.columns))] = 1
    return inside


def unique(features: Sequence[int]) -> list[int]:
    """Features of a block in order, each once."""
    return sorted(set(features))
