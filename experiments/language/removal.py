"""Other ways to take parameters away: whole layers, and entries of small magnitude (App. B.6)."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsvd import svd
from jaxsvd.edits.truncation import Truncations
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.variants import Branches, Variant
from jaxsvd.models.matrices import matrices


@dataclass(frozen=True)
class Count:
    """Parameters of the matrices of a module in one layer.

    Attributes:
        kept: what a truncation at some rate keeps of them.
        removed: what it takes away.
    """

    kept: int
    removed: int


def parameters_at(rate: float, shape: tuple[int, ...]) -> int:
    """Parameters of an m x n matrix at a clipping rate: r (m + n), never more than m n.

    Above rank m n / (m + n) the two factors would hold more numbers than the product, so the
    product is what is counted (and stored) there: nothing is saved.
    """
    size = shape[0] * shape[1]
    return size if rate == 0 else min(size, svd.rank_at(rate, shape) * sum(shape))


def count(engine: Engine, layer: int, module: str, rate: float) -> Count:
    """What a truncation of a module keeps and removes."""
    shapes = [engine.matrix(layer, name).shape for name in matrices(engine.config, module)]
    kept = sum(parameters_at(rate, shape) for shape in shapes)
    return Count(kept, sum(m * n for m, n in shapes) - kept)


def layer_size(engine: Engine, layer: int) -> int:
    """All parameters of a layer, its norms and biases included."""
    return sum(leaf.size for leaf in jax.tree.leaves(engine.blocks[layer]))


def without_layer(engine: Engine, layer: int) -> Engine:
    """The model without one of its layers; shares the arrays of the others.

    Args:
        engine: of at least two layers.
        layer: counted from 0.
    """
    blocks = engine.blocks[:layer] + engine.blocks[layer + 1 :]
    return replace(engine, config=replace(engine.config, layers=len(blocks)), blocks=blocks)


def by_magnitude(
    matrix: Float[Array, "rows columns"], kept: Sequence[int]
) -> list[Float[Array, "rows columns"]]:
    """A matrix with all but its entries of largest magnitude set to zero, for several counts.

    Exactly so many entries are kept; of equals those that stand first.

    Args:
        matrix: to be pruned.
        kept: how many entries, 0 to all.
    """
    values = np.asarray(matrix.astype(jnp.float32)).ravel()
    order = np.argsort(-np.abs(values), kind="stable")
    pruned = []
    for n in kept:
        cut = np.zeros_like(values)
        cut[order[:n]] = values[order[:n]]
        pruned.append(jnp.asarray(cut.reshape(matrix.shape)).astype(matrix.dtype))
    return pruned


def magnitudes(engine: Engine, layer: int, module: str, rates: Sequence[float]) -> Truncations:
    """A module pruned by magnitude, as many entries kept as truncations have parameters.

    Args:
        engine: holds the weights.
        layer: counted from 0.
        module: see :mod:`jaxsvd.models.matrices`.
        rates: clipping rates of the truncations that it is held against, ascending; there is no
            rank.
    """
    names = matrices(engine.config, module)

    def make() -> Sequence[Variant]:
        variants: list[dict[str, Float[Array, "rows columns"]]] = [{} for _ in rates]
        for name in names:
            matrix = engine.matrix(layer, name)
            kept = [parameters_at(rate, matrix.shape) for rate in rates]
            for variant, rate, pruned in zip(
                variants, rates, by_magnitude(matrix, kept), strict=True
            ):
                if rate:
                    variant[name] = pruned
        return variants

    exchanged = tuple(frozenset(names if rate else ()) for rate in rates)
    return Truncations(
        module,
        layer,
        tuple(rates),
        (None,) * len(rates),
        Branches(layer, exchanged, functools.partial(make)),
    )
