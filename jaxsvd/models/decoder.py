"""A decoder-only transformer in Flax NNX, written once for all families.

A family is a :class:`~jaxsvd.models.config.DecoderConfig`. Matrices keep the orientation of
Hugging Face checkpoints, ``[out, in]``, so that loading and saving copy nothing.

The pieces are cut where truncation cuts: :meth:`Block.attend` and :meth:`Block.feed` are the two
halves of a layer, and keys and values of a prefix are computed apart from the queries that read
them.

The residual stream, norms, softmax and logits are float32 whatever the dtype of the weights; only
the operands of matrix products are rounded to it. The letters of array names are explained in
:mod:`jaxsvd.models.config`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32, Int

from jaxsvd.models.config import Activation, DecoderConfig
from jaxsvd.models.rotary import Rotation, rotate, rotation

ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


class KeyValues(NamedTuple):
    """Keys (rotated) and values of some tokens, ``[..., tokens, K, H]``."""

    keys: Float[Array, "..."]
    values: Float[Array, "..."]


class Prefix(NamedTuple):
    """Keys and values shared by all rows of a batch, ``[P, K, H]``, and which of them exist."""

    states: KeyValues
    mask_P: Bool[Array, " prefix"]


def precision_of(dtype: DTypeLike) -> jax.lax.Precision:
    """Float32 means float32: accelerators would silently multiply it in TF32 or bfloat16."""
    highest = jnp.dtype(dtype) == jnp.float32
    return jax.lax.Precision.HIGHEST if highest else jax.lax.Precision.DEFAULT


def multiply(
    equation: str, x: Float[Array, "..."], y: Float[Array, "..."]
) -> Float32[Array, "..."]:
    """An einsum of operands in the dtype of the second, accumulated and returned in float32."""
    return jnp.einsum(
        equation,
        x.astype(y.dtype),
        y,
        precision=precision_of(y.dtype),
        preferred_element_type=jnp.float32,
    )


class Linear(nnx.Module):
    """``x W^T + b`` with ``W`` stored ``[out, in]`` as in Hugging Face checkpoints."""

    def __init__(self, n_in: int, n_out: int, *, bias: bool, dtype: DTypeLike, rngs: nnx.Rngs):
        """Normal weights of standard deviation 0.02, zero bias."""
        self.weight = nnx.Param(
            0.02 * jax.random.normal(rngs.params(), (n_out, n_in), jnp.float32).astype(dtype)
        )
        self.bias = nnx.Param(jnp.zeros((n_out,), dtype)) if bias else None

    def __call__(self, x: Float32[Array, "*batch in"]) -> Float32[Array, "*batch out"]:
        y = multiply("...i,oi->...o", x, self.weight[...])
        return y if self.bias is None else y + self.bias[...].astype(jnp.float32)


def _projection(
    config: DecoderConfig, dtype: DTypeLike, rngs: nnx.Rngs, name: str, n_in: int, n_out: int
) -> Linear:
    return Linear(n_in, n_out, bias=name in config.biased, dtype=dtype, rngs=rngs)


class Norm(nnx.Module):
    """Layer norm, or RMS norm (no mean, no bias), computed in float32."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike):
        """Identity scale."""
        self.centred = config.norm == "layer"
        self.epsilon = config.norm_epsilon
        self.weight = nnx.Param(jnp.ones((config.width,), dtype))
        self.bias = nnx.Param(jnp.zeros((config.width,), dtype)) if self.centred else None

    def __call__(self, x: Float32[Array, "*batch width"]) -> Float32[Array, "*batch width"]:
        y = x - x.mean(axis=-1, keepdims=True) if self.centred else x
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + self.epsilon)
        y = y * self.weight[...].astype(jnp.float32)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y


class Attention(nnx.Module):
    """Multi-head attention with rotary positions; K key-value heads serve N query heads."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        """See :class:`~jaxsvd.models.config.DecoderConfig` for the shapes."""
        self.config = config
        queries = config.heads * config.head_width
        states = config.key_value_heads * config.head_width

        linear = functools.partial(_projection, config, dtype, rngs)
        self.q_proj = linear("q_proj", config.width, queries)
        self.k_proj = linear("k_proj", config.width, states)
        self.v_proj = linear("v_proj", config.width, states)
        self.out_proj = linear("out_proj", queries, config.width)

    def states(self, x_BTD: Float[Array, "B T D"], turn: Rotation) -> KeyValues:
        """Keys and values of the tokens, ``[B, T, K, H]``."""
        k_BTKH, v_BTKH = (
            rearrange(project(x_BTD), "b t (k h) -> b t k h", h=self.config.head_width)
            for project in (self.k_proj, self.v_proj)
        )
        dtype = self.k_proj.weight[...].dtype
        k_BTKH = rotate(self.config.rotary, k_BTKH, turn)
        return KeyValues(k_BTKH.astype(dtype), v_BTKH.astype(dtype))

    def __call__(
        self,
        x_BQD: Float[Array, "B Q D"],
        turn: Rotation,
        own: KeyValues,
        mask_BQT: Bool[Array, "B Q T"],
        prefix: Prefix | None = None,
    ) -> Float[Array, "B Q D"]:
        """Queries at ``x_BQD`` over the row's own tokens and a prefix common to all rows.

        Heads come first, so that the product with the prefix is one large one for each head; the
        two parts of the softmax are summed apart and divided once at the end, on H numbers a
        query instead of P + T.
        """
        config = self.config
        q_BQNH = rearrange(self.q_proj(x_BQD), "b q (n h) -> b q n h", h=config.head_width)
        q_BQNH = rotate(config.rotary, q_BQNH, turn) * config.head_width**-0.5
        q_KBQGH = rearrange(q_BQNH, "b q (k g) h -> k b q g h", k=config.key_value_heads)
        k_KBTH, v_KBTH = (rearrange(a, "b t k h -> k b t h") for a in own)

        # A finite floor: a padding query that sees nothing must not become NaN.
        floor = jnp.finfo(jnp.float32).min
        s_KBQGT = multiply("kbqgh,kbth->kbqgt", q_KBQGH, k_KBTH)
        s_KBQGT = jnp.where(mask_BQT[:, :, None], s_KBQGT, floor)
        top_KBQG = s_KBQGT.max(axis=-1, keepdims=True)
        if prefix is None:
            e_KBQGT = jnp.exp(s_KBQGT - top_KBQG)
            total_KBQG = e_KBQGT.sum(axis=-1, keepdims=True)
            o_KBQGH = multiply("kbqgt,kbth->kbqgh", e_KBQGT, v_KBTH)
        else:
            s_KBQGP = multiply("kbqgh,pkh->kbqgp", q_KBQGH, prefix.states.keys)
            s_KBQGP = jnp.where(prefix.mask_P, s_KBQGP, floor)
            top_KBQG = jnp.maximum(top_KBQG, s_KBQGP.max(axis=-1, keepdims=True))
            e_KBQGT, e_KBQGP = jnp.exp(s_KBQGT - top_KBQG), jnp.exp(s_KBQGP - top_KBQG)
            total_KBQG = e_KBQGT.sum(axis=-1, keepdims=True) + e_KBQGP.sum(axis=-1, keepdims=True)
            o_KBQGH = multiply("kbqgt,kbth->kbqgh", e_KBQGT, v_KBTH)
            o_KBQGH += multiply("kbqgp,pkh->kbqgh", e_KBQGP, prefix.states.values)
        return self.out_proj(rearrange(o_KBQGH / total_KBQG, "k b q g h -> b q (k g h)"))


class MLP(nnx.Module):
    """``fc_out(act(fc_in(x)))``, or gated: ``fc_out(act(fc_in(x)) * fc_up(x))``."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        """See :class:`~jaxsvd.models.config.DecoderConfig` for the shapes."""
        linear = functools.partial(_projection, config, dtype, rngs)
        self.config = config
        self.fc_in = linear("fc_in", config.width, config.mlp_width)
        self.fc_up = linear("fc_up", config.width, config.mlp_width) if config.gated else None
        self.fc_out = linear("fc_out", config.mlp_width, config.width)

    def __call__(self, x_BTD: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        y_BTF = ACTIVATIONS[self.config.activation](self.fc_in(x_BTD))
        if self.fc_up is not None:
            y_BTF = y_BTF * self.fc_up(x_BTD)
        return self.fc_out(y_BTF)


class Block(nnx.Module):
    """One layer: attention, then the MLP, each added to the residual stream."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        """A parallel block (GPT-J) has no norm of its own for the MLP."""
        self.norm_attn = Norm(config, dtype=dtype)
        self.attn = Attention(config, dtype=dtype, rngs=rngs)
        self.norm_mlp = None if config.parallel else Norm(config, dtype=dtype)
        self.mlp = MLP(config, dtype=dtype, rngs=rngs)

    def states(self, x_BTD: Float[Array, "B T D"], turn: Rotation) -> KeyValues:
        """Keys and values that this layer's attention reads, ``[B, T, K, H]``."""
        return self.attn.states(self.norm_attn(x_BTD), turn)

    def attend(
        self,
        x_BQD: Float[Array, "B Q D"],
        turn: Rotation,
        own: KeyValues,
        mask_BQT: Bool[Array, "B Q T"],
        prefix: Prefix | None = None,
    ) -> Float[Array, "B Q D"]:
        """The residual stream after attention."""
        return x_BQD + self.attn(self.norm_attn(x_BQD), turn, own, mask_BQT, prefix)

    def feed(
        self, x_BQD: Float[Array, "B Q D"], attended_BQD: Float[Array, "B Q D"]
    ) -> Float[Array, "B Q D"]:
        """The residual stream after the MLP, from before and after attention."""
        if self.norm_mlp is None:
            return attended_BQD + self.mlp(self.norm_attn(x_BQD))
        return attended_BQD + self.mlp(self.norm_mlp(attended_BQD))

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        turn: Rotation,
        mask_BTT: Bool[Array, "B T T"],
        prefix: Prefix | None = None,
    ) -> tuple[Float[Array, "B T D"], KeyValues]:
        """The whole layer, and the keys and values of its tokens."""
        own = self.states(x_BTD, turn)
        return self.feed(x_BTD, self.attend(x_BTD, turn, own, mask_BTT, prefix)), own


class Head(nnx.Module):
    """Final norm and unembedding; the matrix is the embedding's where the two are tied."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        """``unembedding`` is None when tied."""
        biased = "unembedding" in config.biased
        self.norm = Norm(config, dtype=dtype)
        self.unembedding = (
            None
            if config.tied
            else nnx.Param(
                0.02
                * jax.random.normal(rngs.params(), (config.vocabulary, config.width)).astype(dtype)
            )
        )
        self.bias = nnx.Param(jnp.zeros((config.vocabulary,), dtype)) if biased else None


class Decoder(nnx.Module):
    """Token ids to logits."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        """Random weights; under ``nnx.eval_shape`` only their shapes."""
        self.config = config
        self.embedding = nnx.Param(
            0.02 * jax.random.normal(rngs.params(), (config.vocabulary, config.width)).astype(dtype)
        )
        self.blocks = nnx.List(
            [Block(config, dtype=dtype, rngs=rngs) for _ in range(config.layers)]
        )
        self.head = Head(config, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        tokens_BT: Int[Array, "B T"],
        mask_BT: Bool[Array, "B T"] | None = None,
        prefix: list[Prefix] | None = None,
    ) -> tuple[Float32[Array, "B T V"], list[KeyValues]]:
        """Logits after every token, and each layer's keys and values.

        Args:
            tokens_BT: token ids.
            mask_BT: False at padding, on either side; positions count the real tokens only.
            prefix: each layer's states of tokens that come before every row.

        Returns:
            Logits in float32 (meaningless at padding) and the states by layer.
        """
        mask_BT = jnp.ones(tokens_BT.shape, bool) if mask_BT is None else mask_BT
        start = 0 if prefix is None else prefix[0].mask_P.sum()
        positions_BT = jnp.maximum(start + jnp.cumsum(mask_BT, axis=-1) - 1, 0)
        turn = rotation(self.config.rotary, positions_BT)
        causal_TT = jnp.tril(jnp.ones((tokens_BT.shape[1],) * 2, bool))
        mask_BTT = causal_TT & mask_BT[:, None, :]
        x_BTD = self.embedding[...][tokens_BT].astype(jnp.float32)
        states = []
        for layer, block in enumerate(self.blocks):
            x_BTD, own = block(x_BTD, turn, mask_BTT, None if prefix is None else prefix[layer])
            states.append(own)
        return self.logits(x_BTD), states

    def logits(self, x_BTD: Float[Array, "*batch D"]) -> Float32[Array, "*batch V"]:
        """Final norm and unembedding, in float32."""
        head = self.head
        matrix = self.embedding[...] if head.unembedding is None else head.unembedding[...]
        return unembed(head.norm(x_BTD), matrix, None if head.bias is None else head.bias[...])


def unembed(
    x: Float32[Array, "*batch D"],
    matrix: Float[Array, "rows D"],
    bias: Float[Array, " rows"] | None,
) -> Float32[Array, "*batch rows"]:
    """Logits of the given rows of the unembedding, in float32."""
    y = multiply("...d,vd->...v", x, matrix)
    return y if bias is None else y + bias.astype(jnp.float32)
