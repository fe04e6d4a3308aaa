"""Spearman and Kendall for many reweightings, or many reorderings, of the same records at once.

A weight is a multiplicity: 0 leaves a record out, and repeated records are tied with themselves.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau, rankdata


def spearman(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; NaN if a side is constant."""
    return float(spearman_reordered(x[None], y)[0])


def kendall(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Kendall's tau-b; NaN if a side is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(kendalltau(x, y).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def spearman_weighted(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], weights: Float[np.ndarray, "draws n"]
) -> Float[np.ndarray, " draws"]:
    """Spearman's correlation of the records repeated as often as each row of weights says."""
    return _pearson(_weighted_ranks(x, weights), _weighted_ranks(y, weights), weights)


def spearman_reordered(
    x: Float[np.ndarray, "draws n"], y: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " draws"]:
    """Spearman's correlation of each row of x with y."""
    ones = np.ones((1, y.size))
    return _pearson(rankdata(x, axis=1), rankdata(y)[None], ones)


def kendall_weighted(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], weights: Float[np.ndarray, "draws n"]
) -> Float[np.ndarray, " draws"]:
    """Kendall's tau-b of the records repeated as often as each row of weights says."""
    signs = [np.sign(v[:, None] - v[None, :]) for v in (x, y)]

    def pairs(matrix: np.ndarray) -> np.ndarray:
        return np.einsum("bi,bi->b", weights @ matrix, weights)

    scale = np.sqrt(pairs(np.abs(signs[0])) * pairs(np.abs(signs[1])))
    return _ratio(pairs(signs[0] * signs[1]), scale)


def kendall_reordered(
    x: Float[np.ndarray, "draws n"], y: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " draws"]:
    """Kendall's tau-b of each row of x with y."""
    return np.array([kendall(row, y) for row in x])


def _weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean rank of each record among the repeated ones, ``[draws, n]``."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    fresh = np.append(True, ordered[1:] != ordered[:-1])
    heights = np.add.reduceat(weights[:, order], np.flatnonzero(fresh), axis=1)
    ranks = np.empty_like(weights)
    middle = np.cumsum(heights, axis=1) - (heights - 1) / 2
    ranks[:, order] = middle[:, np.cumsum(fresh) - 1]
    return ranks


def _pearson(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    a = a - (weights * a).sum(axis=1, keepdims=True) / total
    b = b - (weights * b).sum(axis=1, keepdims=True) / total
    variances = (weights * a**2).sum(axis=1) * (weights * b**2).sum(axis=1)
    return _ratio((weights * a * b).sum(axis=1), np.sqrt(variances))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    # Ranks are halves: what is constant has a spread of 0, or of rounding.
    constant = bottom <= 1e-9
    return np.where(constant, math.nan, top / np.where(constant, 1.0, bottom))
