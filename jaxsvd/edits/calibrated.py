"""Truncations that weigh a matrix's columns by what they read, instead of all alike.

With X the inputs of some calibration tokens, plain truncation minimises ||W - W_r||_F, whitening
||(W - W_r) X||_F. For any S, the best approximation of W S of rank r is U_r U_r^T W S, with U_r
its first left singular vectors; so W_r = U_r U_r^T W minimises ||(W - W_r) S||_F, and no inverse
of S is needed: a direction that no token excites does no harm. Everything is computed in float64
on the host.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import eigh
from scipy.linalg import svd as scipy_svd

from jaxsvd import svd
from jaxsvd.engine.input_statistics import Moments

POWER = 0.5
"""ASVD's alpha, the value that its authors settle on."""


def whitened_factors(weight: Float[Array, "rows columns"], inputs: Moments) -> svd.SvdFactors:
    """SVD-LLM (Wang et al., ICLR 2025): S S^T = X X^T, the least error of the outputs at a rank.

    Its Cholesky factor of X X^T and the symmetric root taken here give the same W_r, which depends
    on S S^T alone. The second half of SVD-LLM, an update of the factors by further training, is
    left out.
    """
    values, vectors = eigh(inputs.second)
    return _factors(weight, vectors * np.sqrt(np.maximum(values, 0)))


def activation_scaled_factors(
    weight: Float[Array, "rows columns"], inputs: Moments, power: float = POWER
) -> svd.SvdFactors:
    """ASVD (Yuan et al., 2023): S is diagonal, the mean magnitude of each input to a power.

    Its search for a rank of each matrix is left out: ranks are the edit's.
    """
    return _factors(weight, np.diag(inputs.magnitude**power))


def _factors(
    weight: Float[Array, "rows columns"], scale: Float[np.ndarray, "columns columns"]
) -> svd.SvdFactors:
    """U and U^T W, with U the left singular vectors of W S; ``s`` are the singular values of it."""
    matrix = np.asarray(weight.astype(jnp.float32), np.float64)
    left, s, _ = scipy_svd(matrix @ scale, full_matrices=False)
    return svd.SvdFactors(*(jnp.asarray(x, jnp.float32) for x in (left, s, left.T @ matrix)))
