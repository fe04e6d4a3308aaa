"""The gap that the bounds are about, on linear regression with a fixed w: one part exact.

I(S; W) is about demonstrations drawn independently from one distribution, so w is the same in every
prompt: w = e_1 here, no loss of generality with isotropic inputs. (With a fresh w for each prompt
they would be dependent, and the bounds would not apply to the average over tasks as they stand.)
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import erfc, gammainc

from theory.checks import Real, real, require, require_finite, require_whole
from theory.precision import by_input, double


class Risks(NamedTuple):
    """Of M samples: expected loss on a fresh query, and mean loss on the demonstrations."""

    population: Float[np.ndarray, " M"]
    empirical: Float[np.ndarray, " M"]

    @property
    def gap(self) -> float:
        """Mean of population minus empirical risk; it can be negative."""
        return float(np.mean(self.population - self.empirical))

    @property
    def gap_error(self) -> float:
        """Standard error of the gap; NaN for one sample."""
        gaps = self.population - self.empirical
        if len(gaps) < 2:
            return math.nan
        return float(np.std(gaps, ddof=1) / math.sqrt(len(gaps)))


def regression_prompts(
    key: PRNGKeyArray,
    m: int,
    n: int,
    d: int,
    noise: float = 0.0,
    w: Float[np.ndarray, " d"] | None = None,
) -> Float[np.ndarray, "m n D"]:
    """Demonstrations [x, y] of m prompts: x ~ N(0, I_d), y = <w, x> + noise * N(0, 1); float64.

    Args:
        key: decides everything.
        m: prompts.
        n: demonstrations of each.
        d: dimension of x.
        noise: standard deviation of the labels' noise.
        w: the same in all prompts, as the bounds need it; e_1 where it is None.

    Raises:
        ValueError: a count below 1, a noise that is negative or not finite, or a w of another
            length.
    """
    weights = np.eye(d)[0] if w is None else np.asarray(real(w=w)[0])
    require(weights.shape == (d,), "w", f"of shape {(d,)}", weights.shape)
    for name, count in (("m", m), ("n", n), ("d", d)):
        require_whole(name, count, 1)
    require(0 <= noise < np.inf, "noise", "at least 0", noise)
    for_x, for_noise = jax.random.split(key)
    with double():
        x = jax.random.normal(for_x, (m, n, d), jnp.float64)
        y = x @ weights + noise * jax.random.normal(for_noise, (m, n), jnp.float64)
        return np.asarray(jnp.concatenate([x, y[..., None]], axis=-1))


def clipped_risk(variance: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """E min(1, Z^2) for Z ~ N(0, variance), in closed form.

    With v the variance, v P(chi^2_3 <= 1/v) + P(chi^2_1 > 1/v): no difference of near equals, so
    that it is right for the huge errors of a diverging stack too.
    """
    v = np.clip(variance, np.finfo(np.float64).tiny, 1e100)
    return v * gammainc(1.5, 0.5 / v) + erfc(np.sqrt(0.5 / v))


@by_input
def predictors(states: Real) -> Float[Array | np.ndarray, "M d"]:
    """The linear predictor in each A_t of ``[M, d + 1, d + 1]``: minus the row from x to y."""
    (states,) = real(states=states)
    require(states.ndim == 3, "states", "[M, D, D]", states.shape)
    require_finite("states", states)
    return -states[:, -1, :-1]


def regression_risks(
    w: Real, prompts: Real, noise: float, true_w: Float[np.ndarray, " d"] | None = None
) -> Risks:
    """Risks of predictors on the problem of :func:`regression_prompts`, loss clipped to [0, 1].

    The population's is exact: the error on a fresh query is N(0, |w - w*|^2 + noise^2). The
    empirical one queries each demonstration again (its own y entry hidden).

    Args:
        w: ``[M, d]``, of prompt m at row m.
        prompts: ``[M, N, d + 1]``.
        noise: standard deviation of the labels' noise, on the query's target too.
        true_w: w* of the prompts; e_1 where it is None.

    Raises:
        ValueError: shapes that disagree, or values that are not finite real numbers.
    """
    w, prompts = (np.asarray(a, np.float64) for a in real(w=w, prompts=prompts))
    require(prompts.ndim == 3, "prompts", "[M, N, d + 1]", prompts.shape)
    wanted = (prompts.shape[0], prompts.shape[2] - 1)
    require(w.shape == wanted, "w", f"of shape {wanted}", w.shape)
    for name, values in (("w", w), ("prompts", prompts)):
        require_finite(name, values)
    off = w - (np.eye(w.shape[1])[0] if true_w is None else true_w)
    population = clipped_risk((off**2).sum(-1) + noise**2)
    errors = np.einsum("mnd,md->mn", prompts[..., :-1], w) - prompts[..., -1]
    return Risks(population, np.minimum(errors**2, 1.0).mean(-1))
