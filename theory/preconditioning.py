"""The exact risk of any one-layer preconditioner, and when truncating it helps.

Linear regression in context with x ~ N(0, Sigma), w ~ N(0, Omega), y = <w, x> + sigma noise, N
demonstrations. One layer of linear attention of the gradient-descent form predicts

    x^T B z,   z = (1/N) sum_i y_i x_i,

with a preconditioner B (d x d; the transpose of the one that
:func:`theory.regression.learned_step` reads). Its risk against the noiseless <w, x> is exact, since
E z w^T = Sigma Omega and, by the fourth moments of a Gaussian,

    M = E z z^T = ((N + 1)/N) Sigma Omega Sigma + ((tr(Sigma Omega) + sigma^2)/N) Sigma,
    risk(B) = tr(Sigma Omega) - 2 tr(Sigma B Sigma Omega) + tr(Sigma B M B^T),

least at B* = Omega Sigma M^-1: for Omega = I that of Ahn et al. (2023, Theorem 1). B was made for
the N, noise and tasks of training; M is that of the test. So the curve of risk against rank is
exact too, training and test apart.

When does truncation help? Where Sigma, Omega and B share eigenvectors, with eigenvalues l_i, o_i
and b_i, the risk is a sum over directions, and dropping direction i changes it by

    l_i m_i b_i (2 a_i - b_i),   a_i = o_i l_i / m_i the best gain at test,

m_i the eigenvalue of M: it lowers the risk **exactly if b_i > 2 a_i**, and by no other property of
the layer. So a layer that is right for its test is never improved. It is where the gain is twice
too large: fewer shots or more noise at test than in training, or tasks that do not use the
direction (o_i = 0). Truncation by singular values drops the smallest b_i first, which for a trained
layer are the directions of *largest* variance, since a_i falls in l_i.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from theory.bayes import covariance_matrix
from theory.checks import Real, real, require, require_finite, require_whole

Matrix = Float[np.ndarray, "d d"]


class PromptDistribution(NamedTuple):
    """A distribution of prompts.

    Attributes:
        covariance: Sigma, ``[d, d]``, or its eigenvalues ``[d]`` where it is diagonal.
        n: demonstrations.
        sigma: standard deviation of the labels' noise.
        prior: Omega, the covariance of w, in the same forms; None for the identity.
    """

    covariance: Real
    n: int
    sigma: float = 0.0
    prior: Real | None = None


class RisksByRank(NamedTuple):
    """The risk of a preconditioner at every rank.

    Attributes:
        risk: at ranks 0 to d, the largest singular values kept.
        best: the rank of least risk, the larger one of equals.
    """

    risk: Float[np.ndarray, " ranks"]
    best: int

    @property
    def helps(self) -> bool:
        """Whether some truncation is better than none, beyond rounding."""
        return bool(self.risk[self.best] < self.risk[-1] * (1 - 1e-12))


def second_moment(setting: PromptDistribution) -> Matrix:
    """M = E z z^T of the demonstrations' z = (1/N) sum_i y_i x_i.

    Raises:
        ValueError: what is no covariance, no count, or a negative noise.
    """
    covariance, prior = _matrices(setting)
    whole = np.trace(covariance @ prior) + setting.sigma**2
    fourth = (setting.n + 1) / setting.n * covariance @ prior @ covariance
    return fourth + whole / setting.n * covariance


def preconditioner_risk(b: Real, setting: PromptDistribution) -> float:
    """E (x^T B z - <w, x>)^2, exactly.

    Args:
        b: B, ``[d, d]``, or its diagonal ``[d]``.
        setting: of the test.

    Raises:
        ValueError: shapes that disagree, or a setting that is none.
    """
    covariance, prior = _matrices(setting)
    b = _square("b", b, len(covariance))
    used = covariance @ b
    risk = np.trace(covariance @ prior) - 2 * np.trace(used @ covariance @ prior)
    return float(risk + np.trace(used @ second_moment(setting) @ b.T))


def best_preconditioner(setting: PromptDistribution) -> Matrix:
    """B* = Omega Sigma M^-1, of least risk in a setting.

    With Omega = I and Sigma = diag(lam): 1 / (((N + 1)/N) lam_i + (tr Sigma + sigma^2)/N), the one
    of Ahn et al. (2023). The pseudo-inverse where Sigma is singular.

    Raises:
        ValueError: as in :func:`second_moment`.
    """
    covariance, prior = _matrices(setting)
    return prior @ covariance @ np.linalg.pinv(second_moment(setting), hermitian=True)


def truncated_risk(b: Real, setting: PromptDistribution) -> RisksByRank:
    """The risk at every rank of B, truncated by singular values.

    Args:
        b: B, ``[d, d]``, or its diagonal ``[d]``.
        setting: of the test; B may come from another.

    Raises:
        ValueError: as in :func:`preconditioner_risk`.
    """
    covariance, _ = _matrices(setting)
    b = _square("b", b, len(covariance))
    u, s, vt = np.linalg.svd(b)
    risks = np.array(
        [preconditioner_risk(u[:, :r] * s[:r] @ vt[:r], setting) for r in range(len(b) + 1)]
    )
    ties = np.flatnonzero(risks <= risks.min() * (1 + 1e-12))
    return RisksByRank(risks, int(ties[-1]))


def dropped_direction(b: Real, setting: PromptDistribution) -> Float[np.ndarray, " d"]:
    """Change of the risk by dropping each eigendirection, l_i m_i b_i (2 a_i - b_i).

    Args:
        b: diagonal of B in the common eigenbasis, ``[d]``.
        setting: with a covariance and a prior in the same basis, as ``[d]``.

    Raises:
        ValueError: what is not diagonal.
    """
    (gains,) = real(b=b)
    gains = np.asarray(gains, np.float64)
    require(gains.ndim == 1, "b", "a diagonal, [d]", gains.shape)
    for name, value in (("covariance", setting.covariance), ("prior", setting.prior)):
        if value is not None:
            shape = np.shape(value)
            require(shape == gains.shape, f"setting.{name}", f"of shape {gains.shape}", shape)
    covariance, prior = (np.diag(matrix) for matrix in _matrices(setting))
    moment = np.diag(second_moment(setting))
    return covariance * gains * (2 * prior * covariance - moment * gains)


def _matrices(setting: PromptDistribution) -> tuple[Matrix, Matrix]:
    (covariance,) = real(covariance=setting.covariance)
    width = np.shape(covariance)[-1] if np.ndim(covariance) else 0
    require(width > 0, "setting.covariance", "[d] or [d, d]", np.shape(covariance))
    covariance = covariance_matrix(covariance, width, "setting.covariance")
    prior = covariance_matrix(setting.prior, width, "setting.prior")
    require_whole("setting.n", setting.n, 1)
    require(0 <= setting.sigma < np.inf, "setting.sigma", "at least 0", setting.sigma)
    return covariance, prior


def _square(name: str, value: Real, width: int) -> Matrix:
    (matrix,) = real(**{name: value})
    matrix = np.asarray(matrix, np.float64)
    require_finite(name, matrix)
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    require(matrix.shape == (width, width), name, f"[{width}] or [{width}, {width}]", matrix.shape)
    return matrix
