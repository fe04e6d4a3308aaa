"""What nothing could know, and what the algorithm loses: the Bayes gap in linear regression.

With w ~ N(0, Omega) and labels y = <w, x> + sigma noise the Bayes predictor is ridge regression,
<mean, x> of the posterior N(mean, P) of w. Given the demonstrations, any prediction f of <w, x> has

    E (f - <w, x>)^2 = (f - <mean, x>)^2 + x^T P x,

the *Bayes gap*, which is the algorithm's own, and the *posterior variance*, which no algorithm can
lower. Truncating a trained model changes the first only: it says how much of a rise in risk is
damage done to the algorithm.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from theory.checks import Real, real, require, require_finite


class Posterior(NamedTuple):
    """Of w, given demonstrations.

    Attributes:
        mean: the Bayes predictor is <mean, x>; ``[*batch, d]``.
        covariance: P, ``[*batch, d, d]``.
    """

    mean: Float[np.ndarray, "*batch d"]
    covariance: Float[np.ndarray, "*batch d d"]


class Split(NamedTuple):
    """The expected squared error of a prediction against <w, x>, in two parts.

    Attributes:
        gap: (f - f_Bayes)^2, the algorithm's.
        variance: x^T P x, that of the posterior.
    """

    gap: Float[np.ndarray, "*batch"]
    variance: Float[np.ndarray, "*batch"]

    @property
    def risk(self) -> Float[np.ndarray, "*batch"]:
        """Their sum."""
        return self.gap + self.variance


def posterior(demonstrations: Real, sigma: float, prior: Real | None = None) -> Posterior:
    """The posterior of w: mean Omega X^T K^-1 y, covariance Omega - Omega X^T K^-1 X Omega.

    K = X Omega X^T + sigma^2 I. At sigma = 0 the limit, minimum-norm least squares for Omega = I.

    Args:
        demonstrations: rows [x_i, y_i], ``[*batch, N, d + 1]``; N may be 0.
        sigma: standard deviation of the labels' noise.
        prior: Omega, ``[d, d]``, or its diagonal ``[d]``; the identity where it is None.

    Raises:
        ValueError: shapes that disagree, values that are not finite real numbers, a negative noise,
            or a prior that is no covariance.
    """
    (rows,) = real(demonstrations=demonstrations)
    rows = np.asarray(rows, np.float64)
    shaped = rows.ndim >= 2 and rows.shape[-1] >= 2
    require(shaped, "demonstrations", "[*batch, N, d + 1]", rows.shape)
    require_finite("demonstrations", rows)
    require(0 <= sigma < np.inf, "sigma", "at least 0", sigma)
    x, y = rows[..., :-1], rows[..., -1]
    n, d = x.shape[-2:]
    omega = covariance_matrix(prior, d)
    across = omega @ np.swapaxes(x, -1, -2)
    kernel = x @ across
    if sigma > 0:
        inverse = np.linalg.inv(kernel + sigma**2 * np.eye(n))
    else:
        inverse = np.linalg.pinv(kernel, rcond=1e-12, hermitian=True)
    gain = across @ inverse
    return Posterior((gain @ y[..., None])[..., 0], omega - gain @ np.swapaxes(across, -1, -2))


def split(prediction: Real, query: Real, known: Posterior) -> Split:
    """The Bayes gap and the posterior variance of predictions for queries.

    Args:
        prediction: of <w, x>, ``[*batch]``.
        query: x, ``[*batch, d]``.
        known: from :func:`posterior`, of the same batch.

    Raises:
        ValueError: shapes that disagree, or values that are not finite real numbers.
    """
    prediction, query = (
        np.asarray(a, np.float64) for a in real(prediction=prediction, query=query)
    )
    require(query.shape == known.mean.shape, "query", f"{known.mean.shape}", query.shape)
    wanted = query.shape[:-1]
    require(prediction.shape == wanted, "prediction", f"of shape {wanted}", prediction.shape)
    for name, value in (("prediction", prediction), ("query", query)):
        require_finite(name, value)
    gap = (prediction - (query * known.mean).sum(-1)) ** 2
    return Split(gap, np.einsum("...a,...ab,...b->...", query, known.covariance, query))


def split_of_predictor(w: Real, known: Posterior, covariance: Real | None = None) -> Split:
    """The same for a linear predictor <w, x>, exact over queries x ~ N(0, Sigma).

    Args:
        w: such as :func:`theory.regression.implicit_regressor` gives, ``[*batch, d]``.
        known: from :func:`posterior`.
        covariance: Sigma of the queries, ``[d, d]`` or ``[d]``; the identity where it is None.

    Raises:
        ValueError: shapes that disagree, or values that are not finite real numbers.
    """
    (w,) = real(w=w)
    w = np.asarray(w, np.float64)
    require(w.shape == known.mean.shape, "w", f"of shape {known.mean.shape}", w.shape)
    require_finite("w", w)
    sigma = covariance_matrix(covariance, w.shape[-1], "covariance")
    off = w - known.mean
    variance = np.einsum("ab,...ba->...", sigma, known.covariance)
    return Split(np.einsum("...a,ab,...b->...", off, sigma, off), variance)


def covariance_matrix(prior: Real | None, d: int, name: str = "prior") -> Float[np.ndarray, "d d"]:
    """A covariance from a matrix, its diagonal, or None for the identity.

    Raises:
        ValueError: a wrong shape, or what is not symmetric with eigenvalues of at least 0.
    """
    if prior is None:
        return np.eye(d)
    matrix = np.asarray(real(prior=prior)[0], np.float64)
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    require(matrix.shape == (d, d), name, f"[{d}] or [{d}, {d}]", matrix.shape)
    require_finite(name, matrix)
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    proper = bool(np.allclose(matrix, matrix.T, rtol=1e-9, atol=0))
    proper = proper and bool(values[0] >= -1e-9 * max(values[-1], 0.0))
    require(proper, name, "symmetric with eigenvalues of at least 0", "another matrix")
    return matrix
