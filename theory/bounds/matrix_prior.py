"""The term of a layer under the best Gaussian prior, logdet E[(G-g)(G-g)^T + C] - E logdet C.

In the coordinates of a block, with fewer directions than replicates: estimated from fewer, the
prior would follow the very samples that it must not know.
"""

import numpy as np
from jaxtyping import Float

from theory.bounds.measured import SquaredNorms, by_layer_heads
from theory.bounds.scales import scaled
from theory.implicit import Factors
from theory.noise import BlockSubspace


def matrix_term(
    measured: SquaredNorms,
    t: int,
    center: str,
    block: BlockSubspace,
    log_levels: Float[np.ndarray, " M"],
    logdets: Float[np.ndarray, " M"],
) -> Float[np.ndarray, " M"]:
    """Each replicate's share; their mean is the term, their spread its error (delta method).

    Args:
        measured: the trajectory.
        t: layer, from 0.
        center: ``zero``, ``mean`` or ``state``.
        block: the coordinates.
        log_levels: logarithm of the ridge's lam, in the layer's units.
        logdets: log det(C + lam I), in the layer's units.
    """
    if not np.isfinite(logdets).all():
        return np.full(len(logdets), np.inf)
    vectors, log_unit = _vectors(measured, t, center, block)
    # To the units of the vectors, of order 1.
    shift = measured.log_unit[t] - log_unit
    directions = vectors.shape[-1]
    levels = np.exp(log_levels + shift)
    return _shares(vectors, levels) - (logdets + directions * shift)


def _vectors(
    measured: SquaredNorms, t: int, center: str, block: BlockSubspace
) -> tuple[Float[np.ndarray, "M vectors d"], float]:
    """In the block's coordinates, G - g the N noise vectors; the log of their unit squared."""
    rows, columns = sorted(set(block.rows)), sorted(set(block.columns))
    layer = scaled(Factors(*(a[:, t] for a in measured.factors)))
    factors = by_layer_heads(layer.factors)
    v = np.asarray(factors.v, np.float64)[..., rows]
    r = np.asarray(factors.r, np.float64)[..., columns]
    replicates, n = v.shape[:2]
    each = n * np.einsum("miha,mihb->miab", v, r).reshape(replicates, n, -1)
    gradient = each.mean(1)
    noise = np.sqrt(measured.variance / n) * (each - gradient[:, None])
    off = gradient
    if center != "zero":
        off = gradient - gradient.mean(0)
        if center == "state" and measured.slopes[t] != 0:
            states = _moved(measured, t)[:, rows][:, :, columns].reshape(replicates, -1)
            slope = np.ldexp(measured.slopes[t], -layer.gradient)
            off = off - slope * (states - states.mean(0))
        off = off * np.sqrt(replicates / (replicates - 1))
    return np.concatenate([off[:, None], noise], axis=1), 2 * np.log(2) * layer.gradient


def _moved(measured: SquaredNorms, t: int) -> np.ndarray:
    """A_{t-1} of every replicate; what does not vary may be missing."""
    if measured.states is not None:
        return np.asarray(measured.states[:, t], np.float64)
    v, r = (np.asarray(a[:, :t], np.float64) for a in (measured.factors.v, measured.factors.r))
    return np.einsum("mt...a,mt...b->mab", v, r)


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
