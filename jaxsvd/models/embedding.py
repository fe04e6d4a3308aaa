"""From token ids and positions to the residual stream."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float32, Int

from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.layers import Linear


def table(rows: int, width: int, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Param:
    """Normal rows of standard deviation 0.02."""
    return nnx.Param(0.02 * jax.random.normal(rngs.params(), (rows, width)).astype(dtype))


class Embedding(nnx.Module):
    """Rows of tokens, projected if they are narrower than the stream, plus learned positions."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        """``positions`` and ``project`` are None where the config has none."""
        self.scale, self.context = config.embedding_scale, config.context
        narrow, offset = config.embedding_width, config.position_offset
        self.tokens = table(config.vocabulary, narrow or config.width, dtype, rngs)
        self.positions = (
            None if offset is None else table(config.context + offset, config.width, dtype, rngs)
        )
        self.project = (
            Linear(narrow, config.width, bias=False, dtype=dtype, rngs=rngs) if narrow else None
        )

    def __call__(
        self, tokens: Int[Array, "*batch"], positions: Int[Array, "*batch"]
    ) -> Float32[Array, "*batch width"]:
        """The stream before the first layer.

        Args:
            tokens: ids.
            positions: from 0; those beyond the context (of padding) get the last row's.
        """
        x = self.tokens[...][tokens].astype(jnp.float32)
        if self.scale != 1.0:
            x = x * self.scale
        if self.project is not None:
            x = self.project(x)
        if self.positions is not None:
            known = self.positions[...]
            rows = jnp.minimum(positions, self.context - 1)
            rows = rows + len(known) - self.context
            x = x + known[rows].astype(jnp.float32)
        return x
