"""What the bounds need to know of a trajectory, measured once for all of them."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.bounds.low_rank import measure_low_rank
from theory.checks import require, require_finite
from theory.implicit import Factors
from theory.noise import Block, Subspace, dimension, eigenvalues
from theory.precision import by_input

Numbers = Float[np.ndarray, "L M"]


@dataclass(frozen=True)
class Measured:
    """Squared norms of every layer in every replicate, float64.

    Attributes:
        n: demonstrations.
        b: virtual subsample of the noise.
        width: D.
        update: ||dW_t||_F^2.
        frobenius: ||A_{t-1}||_F^2.
        spectral: ||A_{t-1}||_2^2; None where it was not asked for.
        gradient: ||G_t||_F^2.
        from_mean: ||G_t - E G_t||_F^2, None with one replicate. The mean is estimated and the
            estimate's own error undone, factor M / (M - 1).
        from_state: the same about E G_t + beta_t (A_{t-1} - E A_{t-1}), None with one replicate.
        slopes: the scalars beta_t, by least squares.
        spectrum: eigenvalues of C_t, descending, ``[L, M, N]``.
        factors: of which all this was measured, each ``[M, L, N, D]``.
        states: A_{t-1}, ``[M, L, D, D]``; None where it is the sum of the gradients.
    """

    n: int
    b: int
    width: int
    update: Numbers
    frobenius: Numbers
    spectral: Numbers | None
    gradient: Numbers
    from_mean: Numbers | None
    from_state: Numbers | None
    slopes: Float[np.ndarray, " L"]
    spectrum: Float[np.ndarray, "L M N"]
    factors: Factors
    states: Float[Array | np.ndarray, "..."] | None

    @property
    def trace(self) -> Numbers:
        """The trace of C_t."""
        return self.spectrum.sum(-1)

    @property
    def replicates(self) -> int:
        """How many."""
        return self.update.shape[1]

    def directions(self, subspace: Subspace) -> int:
        """Of a subspace, once it is seen to hold every per-example gradient.

        Raises:
            ValueError: it does not; the noise would then not cover the gradients, and the mutual
                information would be infinite whatever the formula said.
        """
        directions = dimension(subspace, self.width)
        if isinstance(subspace, Block):
            v, r = (np.asarray(a) for a in (self.factors.v, self.factors.r))
            every = (v**2).sum(-1) * (r**2).sum(-1)
            rows, columns = sorted(set(subspace.rows)), sorted(set(subspace.columns))
            inside = (v[..., rows] ** 2).sum(-1) * (r[..., columns] ** 2).sum(-1)
            holds = bool((every - inside <= 1e-12 * every.sum()).all())
            require(holds, "subspace", "one that holds every per-example gradient", "another")
        return directions


def measure(
    factors: Factors,
    b: int,
    states: Float[Array | np.ndarray, "..."] | None = None,
    *,
    spectral: bool = True,
) -> Measured:
    """Measure a trajectory, or many replicates of one.

    Layer by layer D x D matrices are formed, D^2 x D^2 ones never: for a layer and a replicate
    about 10 N D^2 + 2 N^2 D + 10 N^3 operations, and O(D^3) for the spectral norm. Where M L N < D
    and the states are noiseless, through Gram matrices of the factors alone.

    Args:
        factors: each ``[M, L, N, D]``, or ``[L, N, D]`` for one replicate; from
            :func:`theory.noise.noisy_trajectory` or :func:`theory.implicit.example_factors`.
        b: virtual subsample.
        states: A_0 .. A_{L-1} (a last A_L is left out), ``[M, L or L + 1, D, D]``; None for
            A_{t-1} = I + sum_{j<t} G_j, the noiseless ones.
        spectral: measure the spectral norms too (theorem2's tighter form).

    Raises:
        ValueError: shapes that disagree, values that are not finite, N < 2, or b outside 1 .. N.
    """
    if factors.v.ndim == 3:
        factors = Factors(*(factor[None] for factor in factors))
        states = None if states is None else states[None]
    require(factors.v.ndim == 4, "factors.v", "[M, L, N, D]", factors.v.shape)
    replicates, layers, n, width = factors.v.shape
    spectrum = np.moveaxis(np.asarray(eigenvalues(factors, b), np.float64), 0, 1)
    if states is not None:
        wanted = (replicates, layers, width, width)
        states = states[:, :layers]
        require(states.shape == wanted, "states", f"of shape {wanted}", states.shape)
        require_finite("states", states)
    if states is None and replicates * layers * n < width:
        found = measure_low_rank(factors, spectral=spectral)
    else:
        found = _measure_dense(factors, states, spectral)
    several = replicates > 1
    return Measured(
        n,
        b,
        width,
        found["update"],
        found["frobenius"],
        found["spectral"] if spectral else None,
        found["gradient"],
        found["from_mean"] if several else None,
        found["from_state"] if several else None,
        found["slope"],
        spectrum,
        factors,
        states,
    )


def _measure_dense(
    factors: Factors, states: Array | np.ndarray | None, spectral: bool
) -> dict[str, np.ndarray]:
    state, rows = None, []
    for t in range(factors.v.shape[1]):
        if states is not None:
            state = states[:, t]
        layer = Factors(*(factor[:, t] for factor in factors))
        numbers, state = _measure_layer(layer, state, spectral)
        rows.append({name: np.asarray(value, np.float64) for name, value in numbers.items()})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@by_input
def _measure_layer(
    factors: Factors, state: Array | np.ndarray | None, spectral: bool
) -> tuple[dict[str, Array], Array]:
    if state is None:
        replicates, _, width = factors.v.shape
        state = jnp.broadcast_to(jnp.eye(width, dtype=factors.v.dtype), (replicates, width, width))
    return _layer(factors, state, spectral)


@partial(jax.jit, static_argnames="spectral")
def _layer(factors: Factors, state: Array, spectral: bool) -> tuple[dict[str, Array], Array]:
    v, q, r = map(jnp.asarray, factors)
    replicates = v.shape[0]

    def gram(a: Array) -> Array:
        return jnp.einsum("mid,mjd->mij", a, a)

    def along(matrix: Array) -> Array:
        """<G_m, matrix>, for one matrix or one for each replicate."""
        inner = "de,mie->mid" if matrix.ndim == 2 else "mde,mie->mid"
        return jnp.einsum("mid,mid->m", v, jnp.einsum(inner, matrix, r))

    gradient = (gram(v) * gram(r)).sum((1, 2))
    mean = jnp.einsum("mid,mie->de", v, r) / replicates
    apart = state - state.mean(0)
    off_mean = gradient - 2 * along(mean) + (mean**2).sum()
    off_state = (apart**2).sum((1, 2))
    both = along(apart) - jnp.einsum("de,mde->m", mean, apart)
    moving = off_state.sum() > 0
    slope = jnp.where(moving, both.sum() / jnp.where(moving, off_state.sum(), 1), 0)
    undone = replicates / max(replicates - 1, 1)
    numbers = {
        "update": (gram(v) * gram(q)).sum((1, 2)),
        "frobenius": (state**2).sum((1, 2)),
        "gradient": gradient,
        "from_mean": undone * jnp.maximum(off_mean, 0),
        "from_state": undone * jnp.maximum(off_mean - 2 * slope * both + slope**2 * off_state, 0),
        "slope": slope,
    }
    if spectral:
        numbers["spectral"] = jnp.linalg.norm(state, ord=2, axis=(1, 2)) ** 2
    return numbers, state + jnp.einsum("mid,mie->mde", v, r)
