"""Who sees whom, and attention: written once for the decoder, the engine and whatever traces it.

Keys and values of a prefix are computed apart from the queries that read them. The letters of
array names are explained in :mod:`jaxsvd.models.config`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32, Int

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.layers import Norm, multiply, projection, soft_cap
from jaxsvd.models.rotary import Rotation, rotate, rotation


class KeyValues(NamedTuple):
    """Keys (normalised and rotated) and values of some tokens, ``[..., tokens, K, H]``."""

    keys: Float[Array, "..."]
    values: Float[Array, "..."]


class Prefix(NamedTuple):
    """Keys and values shared by all rows of a batch, ``[P, K, H]``, and which of them exist."""

    states: KeyValues
    mask_P: Bool[Array, " prefix"]


class Places(NamedTuple):
    """Where tokens stand.

    Attributes:
        positions: in their sequence, from 0, a prefix included.
        segments: number of the sequence; tokens of two sequences do not see each other.
        branches: 0 for what all continuations of a sequence share, else the continuation's.
        turns: the rotation at each position by each of ``config.rotaries``.
    """

    positions: Int[Array, "B T"]
    segments: Int[Array, "B T"]
    branches: Int[Array, "B T"]
    turns: tuple[Rotation, ...]

    @classmethod
    def of(
        cls,
        config: DecoderConfig,
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"] | None = None,
        branches: Int[Array, "B T"] | None = None,
    ) -> "Places":
        """Tokens at these positions; without segments each row is one sequence."""
        zeros = jnp.zeros_like(positions)
        turns = tuple(rotation(rotary, positions) for rotary in config.rotaries)
        return cls(
            positions,
            zeros if segments is None else segments,
            zeros if branches is None else branches,
            turns,
        )

    @classmethod
    def in_order(cls, config: DecoderConfig, batch: int, tokens: int) -> "Places":
        """Rows of one sequence each, without padding."""
        return cls.of(config, jnp.broadcast_to(jnp.arange(tokens), (batch, tokens)))

    def at(self, columns_BR: Int[Array, "B R"]) -> "Places":
        """Those of some columns of each row."""
        return jax.tree.map(lambda x: at_columns(x, columns_BR), self)


def at_columns(x: Array, columns_BR: Int[Array, "B R"]) -> Array:
    """``x[b, columns[b, r], ...]`` at ``[b, r, ...]``."""
    indices = columns_BR.reshape(*columns_BR.shape, *[1] * (x.ndim - 2))
    return jnp.take_along_axis(x, indices, axis=1)


def visible(queries: Places, keys: Places, window: int | None) -> Bool[Array, "B Q T"]:
    """Tokens see their own sequence up to themselves: of its branches what is shared and their own.

    Args:
        queries: who sees.
        keys: what may be seen.
        window: how many tokens back, the token itself included; None for any number.
    """
    q_BQ1, k_B1T = queries.positions[:, :, None], keys.positions[:, None, :]
    same = queries.segments[:, :, None] == keys.segments[:, None, :]
    own = queries.branches[:, :, None] == keys.branches[:, None, :]
    shared = keys.branches[:, None, :] == 0
    return same & (own | shared) & (k_B1T <= q_BQ1) & _near(q_BQ1, k_B1T, window)


def visible_prefix(
    queries: Places, prefix: Prefix, window: int | None
) -> Bool[Array, " P"] | Bool[Array, "B Q P"]:
    """What of a prefix each query sees; without a window that is the same for all.

    Tokens of a prefix stand at the positions 0, 1, ..., those that do not exist left out.
    """
    if window is None:
        return prefix.mask_P
    positions_P = jnp.cumsum(prefix.mask_P) - 1
    return prefix.mask_P & _near(queries.positions[:, :, None], positions_P, window)


def _near(queries: Array, keys: Array, window: int | None) -> Array | bool:
    return True if window is None else keys > queries - window


class Attention(nnx.Module):
    """Multi-head attention; K key-value heads serve N query heads."""

    def __init__(self, config: DecoderConfig, kind: LayerKind, *, dtype: DTypeLike, rngs: nnx.Rngs):
        """See :class:`~jaxsvd.models.config.DecoderConfig` for the shapes."""
        self.config = config
        self.kind = kind
        queries = config.heads * config.head_width
        states = config.key_value_heads * config.head_width

        linear = functools.partial(projection, config, dtype, rngs)
        self.q_proj = linear("q_proj", config.width, queries)
        self.k_proj = linear("k_proj", config.width, states)
        self.v_proj = linear("v_proj", config.width, states)
        self.out_proj = linear("out_proj", queries, config.width)
        whole, head = config.qk_norm == "projection", config.head_width
        self.q_norm, self.k_norm = (
            None if config.qk_norm is None else Norm(config, dtype=dtype, width=width)
            for width in ((queries, states) if whole else (head, head))
        )

    @property
    def scale(self) -> float:
        """Factor on query-key products."""
        scale = self.config.query_scale
        return self.config.head_width**-0.5 if scale is None else scale

    def turn(self, x_BTNH: Float[Array, "B T N H"], places: Places) -> Float[Array, "B T N H"]:
        """Queries or keys rotated by their positions, if this kind of layer rotates them."""
        rotary = self.kind.rotary
        if rotary is None:
            return x_BTNH
        return rotate(rotary, x_BTNH, places.turns[self.config.rotaries.index(rotary)])

    def _heads(self, x_BTX: Float[Array, "B T features"], norm: Norm | None) -> Array:
        whole = self.config.qk_norm == "projection"
        if norm is not None and whole:
            x_BTX = norm(x_BTX)
        x_BTNH = rearrange(x_BTX, "b t (n h) -> b t n h", h=self.config.head_width)
        return x_BTNH if norm is None or whole else norm(x_BTNH)

    def query_heads(self, x_BQD: Float[Array, "B Q D"]) -> Float[Array, "B Q N H"]:
        """Queries by head, normalised, neither rotated nor scaled."""
        return self._heads(self.q_proj(x_BQD), self.q_norm)

    def queries(self, x_BQD: Float[Array, "B Q D"], places: Places) -> Float[Array, "K B Q G H"]:
        """Queries, rotated and scaled, by the key-value head that they read."""
        q_BQNH = self.turn(self.query_heads(x_BQD), places) * self.scale
        return rearrange(q_BQNH, "b q (k g) h -> k b q g h", k=self.config.key_value_heads)

    def states(self, x_BTD: Float[Array, "B T D"], places: Places) -> KeyValues:
        """Keys and values of the tokens, ``[B, T, K, H]``."""
        k_BTKH = self._heads(self.k_proj(x_BTD), self.k_norm)
        v_BTKH = self._heads(self.v_proj(x_BTD), None)
        dtype = self.k_proj.weight[...].dtype
        return KeyValues(self.turn(k_BTKH, places).astype(dtype), v_BTKH.astype(dtype))

    def scores(
        self,
        q_KBQGH: Float[Array, "K B Q G H"],
        keys: Float[Array, "..."],
        seen: Bool[Array, "*#B_Q T"],
    ) -> Float32[Array, "K B Q G T"]:
        """What the softmax is taken of.

        Args:
            q_KBQGH: of :meth:`queries`.
            keys: ``[K, B, T, H]``, or ``[T, K, H]`` where all rows share them.
            seen: ``[B, Q, T]``, or ``[T]`` where all queries see the same.
        """
        equation = "kbqgh,kbth->kbqgt" if keys.ndim == 4 else "kbqgh,tkh->kbqgt"
        s_KBQGT = soft_cap(multiply(equation, q_KBQGH, keys), self.config.attention_cap)
        seen = seen if seen.ndim == 1 else seen[:, :, None]
        # A finite floor: a padding query that sees nothing must not become NaN.
        return jnp.where(seen, s_KBQGT, jnp.finfo(jnp.float32).min)

    def __call__(
        self,
        x_BQD: Float[Array, "B Q D"],
        queries: Places,
        own: KeyValues,
        keys: Places,
        prefix: Prefix | None = None,
    ) -> Float[Array, "B Q D"]:
        """Queries at ``x_BQD`` over the row's own tokens and a prefix common to all rows."""
        return self.out_proj(self.mixed(x_BQD, queries, own, keys, prefix))

    def mixed(
        self,
        x_BQD: Float[Array, "B Q D"],
        queries: Places,
        own: KeyValues,
        keys: Places,
        prefix: Prefix | None = None,
    ) -> Float[Array, "B Q heads"]:
        """What ``out_proj`` reads: the values that each head has mixed, one head after another.

        Heads come first, so that the product with the prefix is one large one for each head; the
        two parts of the softmax are summed apart and divided once at the end, on H numbers a
        query instead of P + T.
        """
        q_KBQGH = self.queries(x_BQD, queries)
        k_KBTH, v_KBTH = (rearrange(a, "b t k h -> k b t h") for a in own)
        s_KBQGT = self.scores(q_KBQGH, k_KBTH, visible(queries, keys, self.kind.window))
        top_KBQG = s_KBQGT.max(axis=-1, keepdims=True)
        if prefix is None:
            e_KBQGT = jnp.exp(s_KBQGT - top_KBQG)
            total_KBQG = e_KBQGT.sum(axis=-1, keepdims=True)
            o_KBQGH = multiply("kbqgt,kbth->kbqgh", e_KBQGT, v_KBTH)
        else:
            seen = visible_prefix(queries, prefix, self.kind.window)
            s_KBQGP = self.scores(q_KBQGH, prefix.states.keys, seen)
            top_KBQG = jnp.maximum(top_KBQG, s_KBQGP.max(axis=-1, keepdims=True))
            e_KBQGT, e_KBQGP = jnp.exp(s_KBQGT - top_KBQG), jnp.exp(s_KBQGP - top_KBQG)
            total_KBQG = e_KBQGT.sum(axis=-1, keepdims=True) + e_KBQGP.sum(axis=-1, keepdims=True)
            o_KBQGH = multiply("kbqgt,kbth->kbqgh", e_KBQGT, v_KBTH)
            o_KBQGH += multiply("kbqgp,pkh->kbqgh", e_KBQGP, prefix.states.values)
        return rearrange(o_KBQGH / total_KBQG, "k b q g h -> b q (k g h)")
