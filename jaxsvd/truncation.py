"""A module of one layer truncated at several clipping rates, for the engine to score together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsvd import svd
from jaxsvd.modules import matrices
from jaxsvd.progress import Progress
from jaxsvd.scoring.engine import UNTOUCHED, Branches, Engine


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
        return replace(
            self,
            rates=tuple(rates),
            ranks=tuple(self.ranks[i] for i in chosen),
            branches=Branches(
                self.branches.layer, tuple(self.branches.variants[i] for i in chosen)
            ),
        )

    def with_base(self, rate: float) -> "Truncations":
        """The untouched model and one of the rates, to be tested in one pass."""
        chosen = self.at([rate])
        if rate == 0:
            return chosen
        return replace(
            chosen,
            rates=(0.0, *chosen.rates),
            ranks=(None, *chosen.ranks),
            branches=Branches(self.branches.layer, ({}, *chosen.branches.variants)),
        )


UNTRUNCATED = Truncations(None, None, (0.0,), (None,), UNTOUCHED)
"""The model as it is."""


def truncations(
    engine: Engine,
    layer: int,
    module: str,
    rates: Sequence[float],
    *,
    method: svd.Method,
    key: Array,
    progress: Progress,
) -> Truncations:
    """Truncate every matrix of a module at every rate, each factored once.

    Args:
        engine: holds the weights.
        layer: counted from 0.
        module: see :mod:`jaxsvd.modules`.
        rates: clipping rates, ascending.
        method: exact or randomized.
        key: random numbers for the latter.
        progress: where to show it.
    """
    names = matrices(engine.config, module)
    variants: list[dict[str, Float[Array, "rows columns"]]] = [{} for _ in rates]
    ranks: list[int | None] = [None] * len(rates)
    with progress.bar("factoring", len(names), "matrices") as advance:
        for m, name in enumerate(names):
            matrix = engine.matrix(layer, name)
            factors = svd.factor(matrix) if method == "exact" else None
            for i, rate in enumerate(rates):
                if rate == 0:
                    continue
                at = jax.random.fold_in(jax.random.fold_in(key, m), i)
                variants[i][name] = svd.truncate(
                    matrix, rate, method=method, key=at, factors=factors
                )
                rank = svd.rank_at(rate, matrix.shape)
                ranks[i] = min(rank, ranks[i] or rank)
            jax.block_until_ready(variants)
            advance(1)
    return Truncations(module, layer, tuple(rates), tuple(ranks), Branches(layer, tuple(variants)))


def seed_key(seed: int) -> Array:
    """The key of a run's random numbers, apart from the data's."""
    return jax.random.key(jnp.uint32(seed % 2**32))
