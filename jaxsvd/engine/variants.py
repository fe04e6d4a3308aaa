"""Variants of a layer that are scored together, and what a score belongs to."""

import functools
from collections.abc import Callable, Mapping, Sequence
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

Variant = Mapping[str, Float[Array, "rows columns"] | LowRank]
"""The matrices of a layer that differ from the model's, by name (:mod:`jaxsvd.models.matrices`)."""


@dataclass(frozen=True)
class Branches:
    """Variants of one layer.

    Attributes:
        layer: counted from 0.
        exchanged: for each variant the names of the matrices that it exchanges; none at all is
            the model itself.
        make: the matrices of all variants, in that order; called when the engine gets there, so
            that a sweep never holds those of all layers.
    """

    layer: int
    exchanged: tuple[frozenset[str], ...]
    make: Callable[[], Sequence[Variant]]

    @classmethod
    def of(cls, layer: int, variants: Sequence[Variant]) -> "Branches":
        """Variants that are at hand."""
        return cls(layer, tuple(map(frozenset, variants)), lambda: variants)

    @property
    def attention_is_shared(self) -> bool:
        """Whether no variant touches the attention of the layer."""
        return all(part(name) == "mlp" for names in self.exchanged for name in names)


UNTOUCHED = Branches.of(0, ({},))
"""The model as it is."""


class Scored(NamedTuple):
    """Scores of one question under one variant.

    Attributes:
        point: position of the branches among those asked for.
        variant: position of the variant among its branches'.
        question: position of the question among those encoded.
        scores: one a candidate.
    """

    point: int
    variant: int
    question: int
    scores: Float32[np.ndarray, " candidates"]


def replaced(weights: Weights, variant: Variant, mesh: Mesh | None = None) -> Weights:
    """The weights of a block with some of its matrices exchanged.

    Every matrix of the MLP, and of the attention too if the variant touches it, takes the form of
    a :class:`LowRank`, those that stay at full rank: so one compiled function serves all modules.
    """
    weights = {half: dict(value) for half, value in weights.items()}
    touched = {part(name) for name in variant}
    for name in MATRICES:
        half = weights[part(name)]
        if name not in half or not ("attn" in touched or part(name) in touched):
            continue
        matrix = variant.get(name, half[name]["weight"])
        if not isinstance(matrix, LowRank):
            matrix = full_rank(matrix, name, mesh)
        half[name] = half[name] | matrix._asdict()
    return weights


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
