"""Random problems that several tests of the theory share."""

import numpy as np

from theory.implicit import Factors, Weights


def random_problem(
    seed: int, n: int = 6, width: int = 4, layers: int = 3, scale: float = 0.4
) -> tuple[np.ndarray, Weights]:
    """Tokens, the test token last, and a stack of layers."""
    rng = np.random.default_rng(seed)
    tokens = rng.normal(size=(n + 1, width))
    matrices = scale * rng.normal(size=(3, layers, width, width)) / np.sqrt(width)
    return tokens, Weights(*matrices)


def covariance(factors: Factors, b: int) -> np.ndarray:
    """The paper's C of one layer, entry by entry: D^2 x D^2, which only tests may form."""
    n = len(factors.v)
    g = n * np.einsum("ia,ib->iab", factors.v, factors.r).reshape(n, -1)
    mean = g.mean(0)
    return (n - b) / (b * (n - 1)) * (g.T @ g / n - np.outer(mean, mean))
