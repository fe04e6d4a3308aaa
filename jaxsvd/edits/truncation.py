"""A module of one layer truncated at several clipping rates, for the engine to score together."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsvd import svd
from jaxsvd.devices import distributed, sharding
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.variants import UNTOUCHED, Branches, Variant
from jaxsvd.models.lowrank import LowRank, widths
from jaxsvd.models.matrices import matrices
from jaxsvd.runtime.progress import SILENT, Progress


@dataclass(frozen=True)
class Truncations:
    """One module of one layer at several clipping rates.

    Attributes:
        module: its name; None where nothing is truncated.
        layer: counted from 0; None where nothing is truncated.
        rates: ascending.
        ranks: kept at each rate, the smallest over the module's matrices; None at rate 0.
        branches: the truncated matrices.
    """

    module: str | None
    layer: int | None
    rates: tuple[float, ...]
    ranks: tuple[int | None, ...]
    branches: Branches

    def at(self, rates: Sequence[float]) -> "Truncations":
        """Some of the rates."""
        chosen = [self.rates.index(rate) for rate in rates]
        make = self.branches.make
        return replace(
            self,
            rates=tuple(rates),
            ranks=tuple(self.ranks[i] for i in chosen),
            branches=Branches(
                self.branches.layer,
                tuple(self.branches.exchanged[i] for i in chosen),
                lambda: [made[i] for made in (make(),) for i in chosen],
            ),
        )

    def with_base(self, rate: float) -> "Truncations":
        """The untouched model and one of the rates, to be tested in one pass."""
        chosen = self.at([rate])
        if rate == 0:
            return chosen
        branches = chosen.branches
        return replace(
            chosen,
            rates=(0.0, rate),
            ranks=(None, *chosen.ranks),
            branches=Branches(
                branches.layer,
                (frozenset(), *branches.exchanged),
                lambda: [{}, *branches.make()],
            ),
        )


UNTRUNCATED = Truncations(None, None, (0.0,), (None,), UNTOUCHED)
"""The model as it is."""


def truncations(
    engine: Engine,
    layer: int,
    module: str,
    rates: Sequence[float],
    *,
    method: svd.Method = "exact",
    key: Array | None = None,
    keep: bool = False,
    progress: Progress = SILENT,
) -> Truncations:
    """Truncate every matrix of a module at every rate, each factored once, when they are needed.

    Args:
        engine: holds the weights.
        layer: counted from 0.
        module: see :mod:`jaxsvd.models.matrices`.
        rates: clipping rates, ascending.
        method: exact or randomized.
        key: random numbers for the latter.
        keep: do it now, and keep the matrices as long as the result; else they are made whenever
            the engine asks for them, and belong to it.
        progress: where to show it.
    """
    names = matrices(engine.config, module)
    shapes = [engine.matrix(layer, name).shape for name in names]

    def make() -> Sequence[Variant]:
        variants: list[dict[str, LowRank]] = [{} for _ in rates]
        with progress.bar("factoring", len(names), "matrices") as advance:
            for m, name in enumerate(names):
                at = None if key is None else jax.random.fold_in(key, m)
                cut = _low_rank_on(engine, layer, name, m, rates, method=method, key=at)
                for variant, rate in zip(variants, rates, strict=True):
                    if rate:
                        variant[name] = cut[rate]
                jax.block_until_ready(cut if engine.mesh is None else ())
                advance(1)
        return variants

    kept = functools.partial(list, make()) if keep else None
    return Truncations(
        module,
        layer,
        tuple(rates),
        tuple(min(svd.rank_at(rate, s) for s in shapes) if rate else None for rate in rates),
        Branches(layer, tuple(frozenset(names if rate else ()) for rate in rates), kept or make),
    )


def _low_rank_on(
    engine: Engine,
    layer: int,
    name: str,
    number: int,
    rates: Sequence[float],
    *,
    method: svd.Method,
    key: Array | None,
) -> dict[float, LowRank]:
    """As :func:`low_rank`; on a mesh each matrix is factored on another device, and dealt again.

    Of several processes the first's factors are everybody's: their signs are arbitrary.
    """
    matrix, mesh = engine.matrix(layer, name), engine.mesh
    if mesh is None:
        return low_rank(matrix, rates, method=method, key=key)
    devices = jax.local_devices()
    whole = sharding.gathered(matrix, devices[number % len(devices)])
    cut = low_rank(whole, rates, method=method, key=key)
    own = {id(x): x for low in cut.values() for x in low if x is not whole}
    agreed = dict(zip(own, distributed.arrays_of_first(list(own.values())), strict=True))
    placed = {id(whole): matrix}
    return {
        rate: sharding.place_low_rank(
            LowRank(*(agreed.get(id(x), x) for x in low)), name, mesh, placed
        )
        for rate, low in cut.items()
    }


def low_rank(
    matrix: Float[Array, "rows columns"],
    rates: Sequence[float],
    *,
    method: svd.Method = "exact",
    key: Array | None = None,
) -> dict[float, LowRank]:
    """A matrix truncated at several clipping rates above 0, ready to be multiplied.

    Where a product of factors is fewer operations (:func:`~jaxsvd.models.lowrank.widths`), all
    rates share the same two arrays and differ in how much of them counts.
    """
    width = max(widths(*matrix.shape), default=0)
    factors = svd.factor(matrix) if method == "exact" else None
    shared = None if factors is None else _halves(factors, width, matrix.dtype)
    result = {}
    for i, rate in enumerate(rates):
        if svd.check_rate(rate) == 0:
            continue
        rank, halves = svd.rank_at(rate, matrix.shape), shared
        if method == "randomized":
            if key is None:
                raise ValueError("randomized truncation needs a key")
            factors = svd.randomized_factors(matrix, rank, jax.random.fold_in(key, i))
            halves = _halves(factors, width, matrix.dtype)
        assert factors is not None
        assert halves is not None
        left, right = halves
        dense = matrix if rank <= width else svd.reconstruct(factors, rank).astype(matrix.dtype)
        result[rate] = LowRank(dense, left, right, jnp.asarray(rank, jnp.int32))
    return result


@functools.partial(jax.jit, static_argnames=("width", "dtype"))
def _halves(
    factors: svd.Factors, width: int, dtype: jnp.dtype
) -> tuple[Float[Array, "rows width"], Float[Array, "width columns"]]:
    """The first factors, padded with zeros to at least ``width`` of at least 1."""
    width = max(width, 1)
    missing = max(0, width - factors.s.shape[0])
    left = jnp.pad(factors.left, ((0, 0), (0, missing)))[:, :width]
    right = jnp.pad(factors.right, ((0, missing), (0, 0)))[:width]
    return left.astype(dtype), right.astype(dtype)


def seed_key(seed: int) -> Array:
    """The key of a run's random numbers, apart from the data's."""
    return jax.random.key(jnp.uint32(seed % 2**32))
