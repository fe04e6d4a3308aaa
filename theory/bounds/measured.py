"""What the bounds need to know of a trajectory, measured once for all of them."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory.bounds.low_rank import measure_low_rank
from theory.bounds.scales import first_not_finite, scaled, scaled_array, units
from theory.checks import real, require
from theory.implicit import Factors, Weights
from theory.noise import BlockSubspace, Subspace, dimension, gradient_dimensions, kappa
from theory.noise.spectrum import squared_singular_values
from theory.precision import by_input

Numbers = Float[np.ndarray, "L M"]


@dataclass(frozen=True)
class SquaredNorms:
    """Squared norms of every layer in every replicate, float64.

    Attributes:
        n: demonstrations.
        b: virtual subsample of the noise; None where a threshold was given.
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
        factors: of which all this was measured, each ``[M, L, N, D]`` or ``[M, L, N, H, D]``.
        states: A_{t-1}, ``[M, L, D, D]``; None where it is the sum of the gradients.
        exponents: ``update``, ``gradient``, ``from_mean``, ``from_state`` and ``spectrum`` of layer
            t are in units of 4^exponents[t]. 0 but where squares would leave float64's range;
            bounds do not depend on it. None stands for zeros.
        dimensions: d_t of the subspace ``gradients``; None where no weights were given.
        threshold: the paper's N, where its reading was asked for.
        diverged: the first layer (from 0) whose numbers are not finite; None where all are.
    """

    n: int
    b: int | None
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
    exponents: Int[np.ndarray, " L"] | None = None
    dimensions: Int[np.ndarray, " L"] | None = None
    threshold: int | None = None
    diverged: int | None = None

    @property
    def trace(self) -> Numbers:
        """The trace of C_t."""
        return self.spectrum.sum(-1)

    @property
    def replicates(self) -> int:
        """How many."""
        return self.update.shape[1]

    @property
    def layers(self) -> int:
        """How many."""
        return self.update.shape[0]

    @property
    def log_unit(self) -> Float[np.ndarray, " L"]:
        """Natural logarithm of the unit that squared norms are in, by layer."""
        exponents = np.zeros(self.layers) if self.exponents is None else self.exponents
        return 2 * np.log(2) * exponents

    @property
    def variance(self) -> float:
        """kappa, the noise's variance per unit of the gradients' (:func:`theory.noise.kappa`)."""
        return kappa(self.n, self.b, threshold=self.threshold)

    def directions(self, subspace: Subspace) -> Int[np.ndarray, " L"]:
        """Of a subspace in each layer, once a block is seen to hold every per-example gradient.

        Raises:
            ValueError: it does not; the noise would then not cover the gradients, and the mutual
                information would be infinite whatever the formula said. Or an unknown subspace, or
                ``gradients`` of what was measured without weights.
        """
        if subspace == "gradients":
            requirement = "measured with the weights for this subspace: measure(..., weights=...)"
            require(self.dimensions is not None, "measured", requirement, "no weights")
            assert self.dimensions is not None
            return self.dimensions
        directions = dimension(subspace, self.width)
        if isinstance(subspace, BlockSubspace):
            self._check_block(subspace)
        return np.full(self.layers, directions)

    def _check_block(self, block: BlockSubspace) -> None:
        v, r = (np.abs(np.asarray(a[:, : self.diverged])) for a in (self.factors.v, self.factors.r))
        rows, columns = sorted(set(block.rows)), sorted(set(block.columns))
        out = np.ones(self.width, bool), np.ones(self.width, bool)
        out[0][rows], out[1][columns] = False, False
        # |v_i||r_i| outside beside the largest inside; single sizes, whose squares may underflow.
        sizes = v.max(-1, initial=0), r.max(-1, initial=0)
        strays = v[..., out[0]].max(-1, initial=0), r[..., out[1]].max(-1, initial=0)
        whole = (sizes[0] * sizes[1]).max(initial=0)
        stray = np.maximum(strays[0] * sizes[1], sizes[0] * strays[1]).max(initial=0)
        holds = bool(stray <= 1e-6 * whole)
        require(holds, "subspace", "one that holds every per-example gradient", "another")


def measure(
    factors: Factors,
    b: int | None = None,
    states: Float[Array | np.ndarray, "..."] | None = None,
    *,
    threshold: int | None = None,
    spectral: bool = True,
    weights: Weights | None = None,
) -> SquaredNorms:
    """Measure a trajectory, or many replicates of one.

    Layer by layer D x D matrices are formed, D^2 x D^2 ones never: for a layer and a replicate
    about 10 N D^2 + N^2 min(N, D)^2 operations, and O(D^3) for the spectral norm. Where M L N < D
    and the states are noiseless, through Gram matrices of the factors alone. In scaled units, so
    that tokens of 1e-90 (1e-12 in float32) give the same bound as tokens of 1.

    A trajectory whose later layers are infinite or NaN has diverged: the bounds say so.

    Args:
        factors: each ``[M, L, N, D]``, or ``[L, N, D]`` for one replicate; with several heads
            ``[M, L, N, H, D]``. From :func:`theory.noise.noisy_trajectory` or
            :func:`theory.implicit.example_factors`.
        b: virtual subsample, see :func:`theory.noise.kappa`.
        states: A_0 .. A_{L-1} (a last A_L is left out), ``[M, L or L + 1, D, D]``; None for
            A_{t-1} = I + sum_{j<t} G_j, the noiseless ones.
        threshold: the paper's reading, see :func:`theory.noise.kappa`.
        spectral: measure the spectral norms too (theorem2's tighter form).
        weights: of the stack, for the subspace ``gradients``.

    Raises:
        ValueError: shapes that disagree, values of the first layer that are not finite, N < 2, or
            b or threshold out of range.
    """
    factors, states = real(factors=factors, states=states)
    if factors.v.ndim == 3:
        factors = Factors(*(factor[None] for factor in factors))
        states = None if states is None else states[None]
    require(factors.v.ndim in (4, 5), "factors.v", "[M, L, N, D]", factors.v.shape)
    for name, factor in zip(Factors._fields, factors, strict=True):
        shape = factors.v.shape
        require(factor.shape == shape, f"factors.{name}", f"of shape {shape}", factor.shape)
    replicates, layers, n, *_, width = factors.v.shape
    variance = kappa(n, b, threshold=threshold)
    if states is not None:
        wanted = (replicates, layers, width, width)
        states = states[:, :layers]
        require(states.shape == wanted, "states", f"of shape {wanted}", states.shape)
    dimensions = None
    if weights is not None:
        stack: Weights = real(weights=weights)[0]
        count = stack.value.shape[0]
        require(count == layers, "weights", f"{layers} layers, as the factors", count)
        dimensions = gradient_dimensions(stack)
    diverged = _diverged(factors, states)
    finite = factors if diverged is None else Factors(*(a[:, :diverged] for a in factors))
    seen = states if diverged is None or states is None else states[:, :diverged]
    numbers = _numbers(finite, seen, variance, spectral, layers)
    several = replicates > 1
    return SquaredNorms(
        n=n,
        b=b,
        width=width,
        update=numbers["update"],
        frobenius=numbers["frobenius"],
        spectral=numbers["spectral"] if spectral else None,
        gradient=numbers["gradient"],
        from_mean=numbers["from_mean"] if several else None,
        from_state=numbers["from_state"] if several else None,
        slopes=numbers["slope"],
        spectrum=numbers["spectrum"],
        factors=factors,
        states=states,
        exponents=numbers["exponents"],
        dimensions=dimensions,
        threshold=threshold,
        diverged=diverged,
    )


def _diverged(factors: Factors, states: Array | np.ndarray | None) -> int | None:
    layers = factors.v.shape[1]
    first = first_not_finite(*factors) if layers else None
    if states is not None and layers:
        before = first_not_finite(states)
        require(before != 0, "states", "finite", "NaN or infinity")
        first = before if first is None else first if before is None else min(first, before)
    if first == 0:
        for name, factor in zip(Factors._fields, factors, strict=True):
            whole = bool(np.isfinite(np.asarray(factor[:, 0])).all())
            require(whole, f"factors.{name}", "finite in the first layer", "NaN or infinity")
    return first


def _numbers(
    factors: Factors,
    states: Array | np.ndarray | None,
    variance: float,
    spectral: bool,
    layers: int,
) -> dict[str, np.ndarray]:
    """All numbers of the layers given, and infinite ones for those that are missing."""
    replicates, finite, n, *_, width = factors.v.shape
    per_layer = [scaled(Factors(*(a[:, t] for a in factors))) for t in range(finite)]
    exponents = np.array([layer.gradient for layer in per_layer], int)
    kept = units(exponents)
    plain = not kept.any() and not units(np.array([s.update for s in per_layer], int)).any()
    vectors = factors.v.size // width
    if states is None and plain and 0 < vectors < width:
        low_rank = measure_low_rank(_pieces(factors), spectral=spectral)
        rows = [{name: value[t] for name, value in low_rank.items()} for t in range(finite)]
    else:
        rows = _measure_dense(factors, states, per_layer, kept, spectral)
    for t, (row, layer) in enumerate(zip(rows, per_layer, strict=True)):
        v, _, r = by_layer_heads(layer.factors)
        squares = np.asarray(_spectrum(v, r), np.float64)
        row["spectrum"] = _rescaled(variance / n * squares, 2 * (exponents[t] - kept[t]))
    lengths = {"spectrum": (replicates, n), "slope": ()}
    names = ("update", "frobenius", "gradient", "from_mean", "from_state", "slope", "spectrum")
    numbers = {}
    for name in (*names, *(("spectral",) if spectral else ())):
        shape = lengths.get(name, (replicates,))
        missing = np.full((layers - finite, *shape), np.inf)
        given = np.array([row[name] for row in rows], np.float64).reshape(finite, *shape)
        numbers[name] = np.concatenate([given, missing])
    numbers["exponents"] = np.concatenate([kept, np.zeros(layers - finite, int)])
    return numbers


@by_input
def _spectrum(v: Array | np.ndarray, r: Array | np.ndarray) -> Array | np.ndarray:
    return squared_singular_values(v, r)


def by_layer_heads(factors: Factors) -> Factors:
    """One layer's factors with an axis of heads, ``[M, N, H, D]``."""
    if factors.v.ndim == 4:
        return factors
    return Factors(*(factor[:, :, None] for factor in factors))


def _pieces(factors: Factors) -> Factors:
    """The outer products of all heads as those of more demonstrations, whose sums are the same."""
    if factors.v.ndim == 4:
        return factors
    replicates, layers, n, heads, width = factors.v.shape
    return Factors(*(a.reshape(replicates, layers, n * heads, width) for a in factors))


def _rescaled(values: np.ndarray, exponent: int | np.integer) -> np.ndarray:
    return np.asarray(np.ldexp(np.asarray(values, np.float64), int(exponent)))


def _measure_dense(
    factors: Factors,
    states: Array | np.ndarray | None,
    per_layer: list,
    kept: Int[np.ndarray, " L"],
    spectral: bool,
) -> list[dict[str, np.ndarray]]:
    moved, rows = None, []
    pieces = _pieces(factors)
    for t, layer in enumerate(per_layer):
        if states is not None:
            moved = states[:, t] - np.eye(factors.v.shape[-1], dtype=states.dtype)
        own = Factors(*(factor[:, t] for factor in pieces))
        if moved is None:
            moved = _nothing(own)
        small, exponent = scaled_array(moved)
        flat = Factors(*(a.reshape(own.v.shape) for a in layer.factors))
        numbers, after = _measure_layer(own, flat, moved, small, spectral)
        row = {name: np.asarray(value, np.float64) for name, value in numbers.items()}
        for name in ("gradient", "from_mean", "from_state"):
            row[name] = _rescaled(row[name], 2 * (layer.gradient - kept[t]))
        row["update"] = _rescaled(row["update"], 2 * (layer.update - kept[t]))
        row["slope"] = _rescaled(row["slope"], layer.gradient - exponent)
        rows.append(row)
        moved = after
    return rows


@by_input
def _nothing(factors: Factors) -> Array | np.ndarray:
    replicates, _, width = factors.v.shape
    return jnp.zeros((replicates, width, width), jnp.asarray(factors.v).dtype)


@by_input
def _measure_layer(
    factors: Factors,
    flat: Factors,
    moved: Array | np.ndarray,
    small: Array | np.ndarray,
    spectral: bool,
) -> tuple[dict[str, Array], Array]:
    return _layer(factors, flat, moved, small, spectral)


@partial(jax.jit, static_argnames="spectral")
def _layer(
    factors: Factors, flat: Factors, moved: Array, small: Array, spectral: bool
) -> tuple[dict[str, Array], Array]:
    """Numbers of one layer, and W after it where no noise is added.

    Args:
        factors: as they are, ``[M, N, D]``.
        flat: scaled.
        moved: W_{t-1}, ``[M, D, D]``.
        small: scaled.
        spectral: the spectral norms too.
    """
    v, q, r = map(jnp.asarray, flat)
    replicates = v.shape[0]

    def gram(a: Array) -> Array:
        return jnp.einsum("mid,mjd->mij", a, a)

    def along(matrix: Array) -> Array:
        """<G_m, matrix>, for one matrix or one for each replicate."""
        inner = "de,mie->mid" if matrix.ndim == 2 else "mde,mie->mid"
        return jnp.einsum("mid,mid->m", v, jnp.einsum(inner, matrix, r))

    gradient = (gram(v) * gram(r)).sum((1, 2))
    mean = jnp.einsum("mid,mie->de", v, r) / replicates
    # Less the first replicate: exactly zero where the state is the same in all, as A_0 = I is.
    apart = small - small[0]
    apart = apart - apart.mean(0)
    off_mean = gradient - 2 * along(mean) + (mean**2).sum()
    off_state = (apart**2).sum((1, 2))
    both = along(apart) - jnp.einsum("de,mde->m", mean, apart)
    moving = off_state.sum() > 0
    slope = jnp.where(moving, both.sum() / jnp.where(moving, off_state.sum(), 1), 0)
    undone = replicates / max(replicates - 1, 1)
    state = jnp.eye(moved.shape[-1], dtype=moved.dtype) + moved
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
    return numbers, moved + jnp.einsum("mid,mie->mde", factors.v, factors.r)
