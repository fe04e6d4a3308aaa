"""A truncated matrix multiplied as two factors where that is fewer operations than dense.

``W_r = (U_r)(diag(s_r) Vt_r)``: a rank-r product takes ``r (rows + columns)`` multiplications for
each token instead of ``rows * columns``. The rank is data, not a shape, so that no rate compiles
anew: one compiled function holds a dense product and a few factored ones of fixed widths, and the
rank picks among them when it runs.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32, Int

from jaxsvd.models.layers import multiply

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Widths of the factored products, as shares of the smaller side; the candidate rates' own."""


class LowRank(NamedTuple):
    """A truncated matrix; all ranks of one matrix share ``left`` and ``right``.

    Attributes:
        weight: the truncated matrix; only where its rank is above the last of :func:`widths`
            is it read, elsewhere any array of its shape will do.
        left: the first left singular vectors.
        right: the first right singular vectors, times their singular values.
        rank: how many of them count; the rest is taken as zero.
    """

    weight: Float[Array, "rows columns"]
    left: Float[Array, "rows width"]
    right: Float[Array, "width columns"]
    rank: Int[Array, ""]


def widths(rows: int, columns: int) -> tuple[int, ...]:
    """Widths of the factored products that take fewer operations than the dense one."""
    smaller = min(rows, columns)
    candidates = sorted({max(1, -int(-smaller * share // 1)) for share in SHARES})
    return tuple(w for w in candidates if w * (rows + columns) < rows * columns)


def from_factors(
    weight: Float[Array, "rows columns"],
    left: Float[Array, "rows rank"],
    right: Float[Array, "rank columns"],
) -> LowRank | None:
    """A matrix that is a product, to be multiplied as one; None where that is more operations."""
    rank, width = left.shape[1], max(widths(*weight.shape), default=0)
    if rank > width:
        return None
    missing = width - rank
    wide = jnp.pad(left, ((0, 0), (0, missing))), jnp.pad(right, ((0, missing), (0, 0)))
    return LowRank(weight, *wide, jnp.asarray(rank, jnp.int32))


class LowRankLinear(nnx.Module):
    """``x W_r^T + b`` for a :class:`LowRank` ``W_r``; stands where a ``Linear`` stands."""

    def __init__(self, n_in: int, n_out: int, *, bias: bool):
        """Only shapes: the arrays are put in by whoever merges it."""
        self.summed = False
        width = max(widths(n_out, n_in), default=1)
        self.weight = nnx.Param(jnp.zeros((n_out, n_in)))
        self.bias = nnx.Param(jnp.zeros((n_out,))) if bias else None
        self.left = nnx.Param(jnp.zeros((n_out, width)))
        self.right = nnx.Param(jnp.zeros((width, n_in)))
        self.rank = nnx.Param(jnp.zeros((), jnp.int32))

    def __call__(self, x: Float32[Array, "*batch in"]) -> Float32[Array, "*batch out"]:
        weight, left, right, rank = (
            p[...] for p in (self.weight, self.left, self.right, self.rank)
        )

        def factored(width: int, x: Array) -> Array:
            inner = multiply("...i,ri->...r", x, right[:width])
            inner = jnp.where(jnp.arange(width) < rank, inner, 0)
            return multiply("...r,or->...o", inner, left[:, :width])

        sizes = widths(*weight.shape)
        branches: list[Callable[[Array], Array]] = [partial(factored, width) for width in sizes]
        branches.append(lambda x: multiply("...i,oi->...o", x, weight, rounded=self.summed))
        # The first width that holds the rank, counted: a binary search would be a loop on devices.
        chosen = (jnp.asarray(sizes, jnp.int32) < rank).sum()
        y = jax.lax.switch(chosen, branches, x)
        return y if self.bias is None else y + self.bias[...].astype(jnp.float32)
