"""The term of a layer under the best Gaussian prior, logdet E[(G-g)(G-g)^T + C] - E logdet C.

In the coordinates of a block, with fewer directions than replicates: estimated from fewer, the
prior would follow the very samples that it must not know.
"""

import numpy as np
from jaxtyping import Float

from theory.bounds.measured import Measured
from theory.noise import Block, kappa


def matrix_term(
    measured: Measured,
    t: int,
    center: str,
    block: Block,
    levels: Float[np.ndarray, " M"],
    logdets: Float[np.ndarray, " M"],
) -> Float[np.ndarray, " M"]:
    """Each replicate's share; their mean is the term, their spread its error (delta method).

    Args:
        measured: the trajectory.
        t: layer, from 0.
        center: ``zero``, ``mean`` or ``state``.
        block: the coordinates.
        levels: the ridge's lam.
        logdets: log det(C + lam I).
    """
    if not np.isfinite(logdets).all():
        return np.full(len(logdets), np.inf)
    vectors = _vectors(measured, t, center, block)
    return _shares(vectors, levels) - logdets


def _vectors(measured: Measured, t: int, center: str, block: Block) -> np.ndarray:
    """``[M, N + 1, d]``: in the block's coordinates, G - g and the N noise vectors."""
    rows, columns = sorted(set(block.rows)), sorted(set(block.columns))
    v = np.asarray(measured.factors.v[:, t], np.float64)[..., rows]
    r = np.asarray(measured.factors.r[:, t], np.float64)[..., columns]
    replicates, n = v.shape[:2]
    each = n * np.einsum("mia,mib->miab", v, r).reshape(replicates, n, -1)
    gradient = each.mean(1)
    noise = np.sqrt(kappa(n, measured.b) / n) * (each - gradient[:, None])
    off = gradient
    if center != "zero":
        off = gradient - gradient.mean(0)
        if center == "state" and measured.slopes[t] != 0:
            states = _states(measured, t)[:, rows][:, :, columns].reshape(replicates, -1)
            off = off - measured.slopes[t] * (states - states.mean(0))
        off = off * np.sqrt(replicates / (replicates - 1))
    return np.concatenate([off[:, None], noise], axis=1)


def _states(measured: Measured, t: int) -> np.ndarray:
    """A_{t-1} of every replicate; what does not vary may be missing."""
    if measured.states is not None:
        return np.asarray(measured.states[:, t], np.float64)
    v, r = (np.asarray(a[:, :t], np.float64) for a in (measured.factors.v, measured.factors.r))
    return np.eye(measured.width) + np.einsum("mtia,mtib->mab", v, r)


def _shares(vectors: np.ndarray, levels: np.ndarray) -> np.ndarray:
    replicates, _, directions = vectors.shape
    flat = vectors.reshape(-1, directions)
    moments = flat.T @ flat / replicates + levels.mean() * np.eye(directions)
    sign, logdet = np.linalg.slogdet(moments)
    if sign <= 0:
        return np.full(replicates, np.inf)
    whitened = np.linalg.solve(moments, flat.T).T.reshape(vectors.shape)
    shares = (whitened * vectors).sum((1, 2)) + levels * np.trace(np.linalg.inv(moments))
    return logdet + shares - directions
