"""Variants of a model's weights that are scored together, and what a score belongs to."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32

from jaxsvd.devices.sharding import place_low_rank
from jaxsvd.engine.kernels import Weights
from jaxsvd.models.lowrank import LowRank, widths
from jaxsvd.models.matrices import ATTENTION, MLP, part

MATRICES = (*ATTENTION, *MLP)

Place = tuple[int, str]
"""A matrix of a model: its layer, counted from 0, and its name (:mod:`jaxsvd.models.matrices`)."""

Replacement = Float[Array, "rows columns"] | LowRank
"""What takes the place of a matrix."""

Variant = Mapping[Place, Replacement]
"""The matrices of a model that are replaced, in any of its layers."""


@dataclass(frozen=True)
class Variants:
    """Variants of a model's weights that are scored together.

    Attributes:
        replaced: for each variant the matrices that it replaces; none at all is the model itself.
        make: the matrices of some variants, by their positions; called for variants that replace
            the same ones when the engine gets to the lowest layer of these, so that a sweep never
            holds those of all layers.
    """

    replaced: tuple[frozenset[Place], ...]
    make: Callable[[Sequence[int]], Sequence[Variant]]

    @classmethod
    def of(cls, variants: Sequence[Variant]) -> "Variants":
        """Variants whose matrices are at hand."""
        return cls(tuple(map(frozenset, variants)), lambda chosen: [variants[v] for v in chosen])

    def by_layer(self, chosen: Iterable[int]) -> dict[int, list[list[int]]]:
        """Variants by the lowest layer that they touch, those that replace the same together.

        Args:
            chosen: positions of variants; those that replace nothing are left out.
        """
        alike: dict[frozenset[Place], list[int]] = {}
        for v in chosen:
            if self.replaced[v]:
                alike.setdefault(self.replaced[v], []).append(v)
        layers: dict[int, list[list[int]]] = {}
        for places, group in alike.items():
            layers.setdefault(min(layer for layer, _ in places), []).append(group)
        return layers


UNTOUCHED = Variants.of(({},))
"""The model as it is."""


class Scored(NamedTuple):
    """Scores of one request under one variant.

    Attributes:
        variant: its position among those scored.
        request: likewise.
        scores: one for each of the request's continuations.
    """

    variant: int
    request: int
    scores: Float32[np.ndarray, " continuations"]


def block_with(
    weights: Weights, matrices: Mapping[str, Replacement], mesh: Mesh | None = None
) -> Weights:
    """The weights of a block with some of its matrices replaced.

    Every matrix of the MLP, and of the attention too if one of these is, takes the form of a
    :class:`LowRank`, those that stay at full rank: so one compiled function serves all modules.

    Args:
        weights: of the block.
        matrices: by name.
        mesh: where the weights are.
    """
    weights = {half: dict(value) for half, value in weights.items()}
    touched = {part(name) for name in matrices}
    for name in MATRICES:
        half = weights[part(name)]
        if name not in half or not ("attn" in touched or part(name) in touched):
            continue
        if name not in matrices and "left" in half[name]:
            continue  # the model's own is a product already
        matrix = matrices.get(name, half[name]["weight"])
        if not isinstance(matrix, LowRank):
            matrix = full_rank(matrix, name, mesh)
        half[name] = half[name] | matrix._asdict()
    return weights


def blocks_with(
    blocks: Sequence[Weights], variant: Variant, mesh: Mesh | None = None
) -> tuple[Weights, ...]:
    """The weights of all blocks under a variant; shares those of the layers that it leaves."""
    by_layer: dict[int, dict[str, Replacement]] = {}
    for (layer, name), matrix in variant.items():
        by_layer.setdefault(layer, {})[name] = matrix
    return tuple(
        block_with(weights, by_layer[layer], mesh) if layer in by_layer else weights
        for layer, weights in enumerate(blocks)
    )


def full_rank(
    matrix: Float[Array, "rows columns"], name: str = "", mesh: Mesh | None = None
) -> LowRank:
    """A matrix as it is, in the form of a truncated one: always multiplied dense."""
    left, right = _no_factors(matrix.shape, matrix.dtype)
    low = LowRank(matrix, left, right, jnp.asarray(min(matrix.shape), jnp.int32))
    return low if mesh is None else place_low_rank(low, name, mesh)


@functools.lru_cache(maxsize=8)
def _no_factors(shape: tuple[int, int], dtype: jnp.dtype) -> tuple[Array, Array]:
    """Zeros that are never read; kept, since all matrices of a shape share them."""
    rows, columns = shape
    width = max(widths(rows, columns), default=1)
    shapes = (rows, width), (width, columns)
    left, right = (jax.device_put(np.zeros(shape, dtype)) for shape in shapes)
    return left, right
