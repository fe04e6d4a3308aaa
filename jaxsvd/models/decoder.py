"""A decoder-only transformer in Flax NNX, written once for all families.

A family is a :class:`~jaxsvd.models.config.DecoderConfig`. The pieces are cut where truncation
cuts: :meth:`Block.attend` and :meth:`Block.feed` are the two halves of a layer.

The residual stream, norms, softmax and logits are float32 whatever the dtype of the weights; only
the operands of matrix products are rounded to it. The letters of array names are explained in
:mod:`jaxsvd.models.config`.
"""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32, Int

from jaxsvd.models.attention import Attention, KeyValues, Places, Prefix
from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.embedding import Embedding, table
from jaxsvd.models.layers import MLP, Linear, Norm, multiply, soft_cap


class Block(nnx.Module):
    """One layer: attention, then the MLP, each added to the residual stream.

    Its norms, None where ``config.residual`` has none: ``norm_attn`` and ``norm_mlp`` of what
    attention and MLP read, ``norm_attn_out`` and ``norm_mlp_out`` of what they give (``sandwich``,
    ``output``) or of the stream with it (``post``).
    """

    def __init__(
        self,
        config: DecoderConfig,
        kind: LayerKind | None = None,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Of the first layer's kind if none is given."""
        before = config.residual not in ("output", "post")
        after = config.residual in ("sandwich", "output", "post")
        second = before and config.residual != "parallel"
        self.residual = config.residual
        self.norm_attn = Norm(config, dtype=dtype) if before else None
        self.attn = Attention(config, kind or config.kind(0), dtype=dtype, rngs=rngs)
        self.norm_attn_out = Norm(config, dtype=dtype) if after else None
        self.norm_mlp = Norm(config, dtype=dtype) if second else None
        self.mlp = MLP(config, dtype=dtype, rngs=rngs)
        self.norm_mlp_out = Norm(config, dtype=dtype) if after else None

    def attention_input(self, x_BTD: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """What the attention reads of the stream."""
        return x_BTD if self.norm_attn is None else self.norm_attn(x_BTD)

    def states(self, x_BTD: Float[Array, "B T D"], places: Places) -> KeyValues:
        """Keys and values that this layer's attention reads, ``[B, T, K, H]``."""
        return self.attn.states(self.attention_input(x_BTD), places)

    def attend(
        self,
        x_BQD: Float[Array, "B Q D"],
        queries: Places,
        own: KeyValues,
        keys: Places,
        prefix: Prefix | None = None,
    ) -> Float[Array, "B Q D"]:
        """The residual stream after attention.

        Args:
            x_BQD: the stream before the layer at the queries.
            queries: where they stand.
            own: keys and values of the rows' tokens.
            keys: where those stand.
            prefix: what comes before every row.
        """
        update = self.attn(self.attention_input(x_BQD), queries, own, keys, prefix)
        return self._add(x_BQD, update, self.norm_attn_out)

    def feed(
        self, x_BQD: Float[Array, "B Q D"], attended_BQD: Float[Array, "B Q D"]
    ) -> Float[Array, "B Q D"]:
        """The residual stream after the MLP, from before and after attention."""
        update = self.mlp(self.mlp_input(x_BQD, attended_BQD))
        return self._add(attended_BQD, update, self.norm_mlp_out)

    def mlp_input(
        self, x_BQD: Float[Array, "*batch D"], attended_BQD: Float[Array, "*batch D"]
    ) -> Float[Array, "*batch D"]:
        """What the MLP reads of the stream before attention (parallel blocks) or after it."""
        read = x_BQD if self.residual in ("parallel", "parallel-two") else attended_BQD
        norm = self.norm_attn if self.residual == "parallel" else self.norm_mlp
        return read if norm is None else norm(read)

    def _add(self, x: Array, update: Array, norm: Norm | None) -> Array:
        if norm is None:
            return x + update
        return norm(x + update) if self.residual == "post" else x + norm(update)

    def __call__(
        self, x_BTD: Float[Array, "B T D"], places: Places, prefix: Prefix | None = None
    ) -> tuple[Float[Array, "B T D"], KeyValues]:
        """The whole layer, and the keys and values of its tokens."""
        own = self.states(x_BTD, places)
        return self.feed(x_BTD, self.attend(x_BTD, places, own, places, prefix)), own


class Head(nnx.Module):
    """Final norm, projection to the embedding's width, unembedding and soft cap."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        """``unembedding`` is None when it is the embedding's matrix, the others where unused."""
        narrow = config.embedding_width
        self.cap = config.logit_cap
        self.norm = Norm(config, dtype=dtype) if config.final_norm else None
        self.project = (
            Linear(config.width, narrow, bias=False, dtype=dtype, rngs=rngs) if narrow else None
        )
        self.unembedding = (
            None if config.tied else table(config.vocabulary, narrow or config.width, dtype, rngs)
        )
        biased = "unembedding" in config.biased
        self.bias = nnx.Param(jnp.zeros((config.vocabulary,), dtype)) if biased else None

    def features(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch E"]:
        """What the rows of the unembedding are multiplied with."""
        x = x if self.norm is None else self.norm(x)
        return x if self.project is None else self.project(x)

    def rows(self, embedding: Float[Array, "V E"]) -> tuple[Array, Array | None]:
        """The unembedding ``[V, E]`` and its bias ``[V]``, given the embedding."""
        matrix = embedding if self.unembedding is None else self.unembedding[...]
        return matrix, None if self.bias is None else self.bias[...]

    def __call__(
        self,
        x: Float[Array, "*batch D"],
        embedding: Float[Array, "V E"],
        tokens: Int[Array, " C"] | None = None,
    ) -> Float32[Array, "*batch C"]:
        """Logits in float32.

        Args:
            x: the stream after the last layer.
            embedding: of the tokens, which a tied head multiplies with.
            tokens: whose logits; all V if left out.
        """
        matrix, bias = self.rows(embedding)
        if tokens is not None:
            matrix, bias = matrix[tokens], None if bias is None else bias[tokens]
        return soft_cap(unembed(self.features(x), matrix, bias), self.cap)


class Decoder(nnx.Module):
    """Token ids to logits."""

    def __init__(self, config: DecoderConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        """Random weights; under ``nnx.eval_shape`` only their shapes."""
        self.config = config
        self.embedding = Embedding(config, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List(
            [
                Block(config, config.kind(layer), dtype=dtype, rngs=rngs)
                for layer in range(config.layers)
            ]
        )
        self.head = Head(config, dtype=dtype, rngs=rngs)

    @property
    def dtype(self) -> jnp.dtype:
        """Of the parameters."""
        return self.embedding.tokens[...].dtype

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
        places = Places.of(self.config, positions_BT, mask_BT.astype(jnp.int32))
        x_BTD = self.embedding(tokens_BT, positions_BT)
        states = []
        for layer, block in enumerate(self.blocks):
            x_BTD, own = block(x_BTD, places, None if prefix is None else prefix[layer])
            states.append(own)
        return self.logits(x_BTD), states

    def logits(self, x_BTD: Float[Array, "*batch D"]) -> Float32[Array, "*batch V"]:
        """Final norm and unembedding of the stream after the last layer, in float32."""
        return self.head(x_BTD, self.embedding.tokens[...])


def unembed(
    x: Float32[Array, "*batch E"],
    matrix: Float[Array, "rows E"],
    bias: Float[Array, " rows"] | None,
) -> Float32[Array, "*batch rows"]:
    """Logits of the given rows of the unembedding, in float32, not capped."""
    y = multiply("...d,vd->...v", x, matrix)
    return y if bias is None else y + bias.astype(jnp.float32)
