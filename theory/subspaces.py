"""Where gradients live among the D x D matrices, and the algorithm's noise with them."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from theory.checks import require


class Block(NamedTuple):
    """The subspace of the D x D matrices that vanish outside some rows and columns.

    Attributes:
        rows: output features that the gradients reach.
        columns: input features that they read.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]


Subspace = Block | Literal["full", "symmetric"]
"""Where gradients live: a :class:`Block`, all D^2 directions, or the D (D + 1) / 2 of
{W_V A X A^T W_K^T W_Q A : X symmetric}, which hold the gradients of any weights but move with A."""


def regression_block(d: int) -> Block:
    """Where the gradients of :func:`theory.implicit.gd_weights` live: from x to y, d directions."""
    require(d >= 1, "d", "at least 1", d)
    return Block((d,), tuple(range(d)))


def dimension(subspace: Subspace, width: int) -> int:
    """Directions of a subspace of the D x D matrices.

    Raises:
        ValueError: a block with features that do not exist.
    """
    if subspace == "full":
        return width**2
    if subspace == "symmetric":
        return width * (width + 1) // 2
    for name, features in zip(Block._fields, subspace, strict=True):
        inside = len(features) > 0 and all(0 <= feature < width for feature in features)
        require(inside, f"subspace.{name}", f"some of the features 0 to {width - 1}", features)
    return len(set(subspace.rows)) * len(set(subspace.columns))


def indicator(subspace: Subspace, width: int) -> Float[np.ndarray, "D D"]:
    """1 at the entries of a D x D matrix that belong to a subspace (all but for a block)."""
    if not isinstance(subspace, Block):
        return np.ones((width, width))
    inside = np.zeros((width, width))
    inside[np.ix_(_unique(subspace.rows), _unique(subspace.columns))] = 1
    return inside


def _unique(features: Sequence[int]) -> list[int]:
    return sorted(set(features))
