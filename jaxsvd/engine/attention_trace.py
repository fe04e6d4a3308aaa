"""What a prompt's last token reads, layer by layer: keys, values and attention, for any variant.

The engine keeps scores only. Theory asks for more: which demonstration each key belongs to, the
keys as the query sees them, and the weights that make an update of them. :func:`attention_layers`
gives that one layer at a time, over the same prefix states as the engine's, and holds no more than
one layer; a variant of a layer goes on from where the untouched model got to.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Bool, Float

from jaxsvd.engine import kernels
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.kernels import TokenRows, Weights
from jaxsvd.engine.prompts import Prompts
from jaxsvd.engine.variants import Variant, blocks_with
from jaxsvd.models.attention import KeyValues, Places, Prefix, at_columns, visible, visible_prefix
from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.lowrank import LowRank
from jaxsvd.models.lowrank import widths as _widths


class AttentionStreams(NamedTuple):
    """The residual stream before a layer: of the prefix, and of what follows it in each row."""

    prefix: Float[Array, "P D"]
    rows: Float[Array, "B T D"]


class LayerAttention(NamedTuple):
    """What the last token of each prompt attends to in one layer.

    Attributes:
        layer: from 0.
        before: the streams before it, from which a variant of it can go on.
        prefix: the prefix's keys, turned by their positions, and values.
        weights: of the layer's block, truncated ones as factors.
        stream: of the last token, before the layer's norm.
        query: of the last token, not turned; N heads.
        keys: of prefix and row, turned by their position *less the query's*, so that scores are
            ``query . key / sqrt(H)`` (or the config's ``query_scale``, and capped if it says so):
            the query is as W_Q gives it. K heads, each for N / K of N.
        values: of the same tokens.
        attention: of every head over all tokens; 0 where nothing is seen.
        visible: which tokens the last one sees, itself included.
    """

    layer: int
    before: AttentionStreams
    prefix: KeyValues
    weights: Weights
    stream: Float[Array, "B D"]
    query: Float[Array, "B N H"]
    keys: Float[Array, "B keys K H"]
    values: Float[Array, "B keys K H"]
    attention: Float[Array, "B N keys"]
    visible: Bool[Array, "B keys"]


def attention_layers(
    engine: Engine,
    prompts: Prompts,
    *,
    first: int = 0,
    before: AttentionStreams | None = None,
    variant: Variant | None = None,
) -> Iterator[LayerAttention]:
    """The layers from ``first`` up, one at a time.

    Args:
        engine: holds the weights.
        prompts: whose last tokens read.
        first: where to begin.
        before: the streams before it, from an earlier walk; not needed at layer 0.
        variant: the matrices that are replaced, in layer ``first`` and above.

    Raises:
        ValueError: a layer above 0 without streams.
    """
    config = engine.config
    length, width = len(prompts.prefix), prompts.tokens.shape[1]
    exists = jnp.asarray(np.arange(length) < prompts.prefix_length)
    inside = np.arange(width) < prompts.lengths[:, None]
    x, rows = kernels.embed(
        config,
        engine.embedding,
        jnp.asarray(prompts.tokens),
        jnp.asarray(np.broadcast_to(np.arange(width) + prompts.prefix_length, inside.shape)),
        jnp.asarray(inside.astype(np.int32)),
        jnp.zeros(inside.shape, jnp.int32),
        jnp.asarray(prompts.lengths[:, None] - 1),
    )
    if before is None:
        if first:
            raise ValueError(f"layer {first} needs the streams before it")
        before = AttentionStreams(
            kernels.embed_prefix(config, engine.embedding, jnp.asarray(prompts.prefix)), x
        )
    blocks = blocks_with(engine.blocks, variant or {})
    for layer in range(first, config.layers):
        weights, kind = blocks[layer], config.kind(layer)
        effect = kernels.prefix_layer(config, kind, weights, before.prefix)
        prefix = Prefix(effect.states, exists)
        read = _read(config, kind, weights, before.rows, rows, prefix)
        yield LayerAttention(layer, before, effect.states, weights, *read)
        if layer + 1 < config.layers:
            _, after = kernels.layer(config, kind, weights, before.rows, rows, prefix)
            before = AttentionStreams(effect.after, after)


def read_rows(
    config: DecoderConfig, layer: int, weights: Weights, x_BTD: Float[Array, "B T D"]
) -> LayerAttention:
    """What the last token of whole rows attends to in one layer, for streams made elsewhere.

    Args:
        config: of the decoder that the block is of.
        layer: its number, for the record.
        weights: of its block.
        x_BTD: the stream before it, of rows without padding at positions 0, 1, ...
    """
    batch, tokens = x_BTD.shape[:2]
    rows = TokenRows(Places.in_order(config, batch, tokens), jnp.full((batch, 1), tokens - 1))
    nothing = jnp.zeros((0, config.key_value_heads, config.head_width))
    prefix = KeyValues(nothing, nothing)
    before = AttentionStreams(jnp.zeros((0, x_BTD.shape[-1])), x_BTD)
    read = _read(
        config, config.kind(layer), weights, x_BTD, rows, Prefix(prefix, jnp.zeros(0, bool))
    )
    return LayerAttention(layer, before, prefix, weights, *read)


@functools.partial(jax.jit, static_argnames=("config", "kind"))
def _read(
    config: DecoderConfig,
    kind: LayerKind,
    weights: Weights,
    x_BTD: Float[Array, "B T D"],
    rows: TokenRows,
    prefix: Prefix,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Stream, query, keys, values, attention and what is visible; see :class:`LayerAttention`."""
    block, places = kernels.block_of(config, kind, weights), rows.places
    attn, own = block.attn, block.states(x_BTD, places)
    reads, x_B1D = places.at(rows.reads), at_columns(x_BTD, rows.reads)
    q_B1NH = attn.query_heads(block.attention_input(x_B1D))
    k_BTKH, v_BTKH = (
        jnp.concatenate([jnp.broadcast_to(a, (len(b), *a.shape)), b], axis=1).astype(jnp.float32)
        for a, b in zip(prefix.states, own, strict=True)
    )
    # Turned back by the query's position; a scale of the query's rotation (YaRN) goes to the keys.
    wide = [
        tuple(jnp.broadcast_to(a, (*k_BTKH.shape[:2], a.shape[-1])) for a in turn)
        for turn in reads.turns
    ]
    back = reads._replace(turns=tuple((cos, -sin) for cos, sin in wide))
    k_BTKH = attn.turn(k_BTKH, back)
    seen_prefix = visible_prefix(reads, prefix, kind.window)
    seen_B1T = jnp.concatenate(
        [
            jnp.broadcast_to(seen_prefix, (len(x_B1D), 1, len(prefix.mask_P))),
            visible(reads, places, kind.window),
        ],
        axis=-1,
    )
    q_KB1GH = rearrange(q_B1NH * attn.scale, "b q (k g) h -> k b q g h", k=config.key_value_heads)
    s_KB1GT = attn.scores(q_KB1GH, rearrange(k_BTKH, "b t k h -> k b t h"), seen_B1T)
    a_KB1GT = jax.nn.softmax(s_KB1GT, axis=-1)
    a_BNT = rearrange(a_KB1GT, "k b 1 g t -> b (k g) t")
    return x_B1D[:, 0], q_B1NH[:, 0], k_BTKH, v_BTKH, a_BNT, seen_B1T[:, 0]


class HeadMatrices(NamedTuple):
    """W_Q and W_O of a layer by head: q = W_Q x, and W_O^T o is added to the stream."""

    query: Float[Array, "N H D"]
    output: Float[Array, "N H D"]


def head_matrices(config: DecoderConfig, weights: Weights) -> HeadMatrices:
    """Of a block's weights, truncated matrices multiplied out; float32."""
    query, output = (_dense(weights["attn"][name]) for name in ("q_proj", "out_proj"))
    return HeadMatrices(
        rearrange(query, "(n h) d -> n h d", h=config.head_width),
        rearrange(output, "d (n h) -> n h d", h=config.head_width),
    )


def _dense(matrix: dict[str, Array]) -> Float[Array, "rows columns"]:
    if "rank" not in matrix:
        return matrix["weight"].astype(jnp.float32)
    return dense(LowRank(matrix["weight"], matrix["left"], matrix["right"], matrix["rank"]))


@jax.jit
def dense(matrix: LowRank) -> Float[Array, "rows columns"]:
    """A truncated matrix as it multiplies, float32."""
    left, right = (a.astype(jnp.float32) for a in (matrix.left, matrix.right))
    counted = jnp.where(jnp.arange(left.shape[1]) < matrix.rank, left, 0)
    product = jnp.matmul(counted, right, precision=jax.lax.Precision.HIGHEST)
    factored = matrix.rank <= max(_widths(*matrix.weight.shape), default=0)
    return jnp.where(factored, product, matrix.weight.astype(jnp.float32))


@functools.partial(jax.jit, static_argnames=("config",))
def norm_differential(
    config: DecoderConfig,
    weights: Weights,
    x_BD: Float[Array, "B D"],
    tangents_BDC: Float[Array, "B D C"],
) -> Float[Array, "B D C"]:
    """The Jacobian of the norm before a layer's attention, at ``x``, times the columns given."""
    norm = kernels.block_of(config, config.kind(0), weights).attention_input

    def one(x_D: Array, tangents_DC: Array) -> Array:
        push = jax.linearize(norm, x_D)[1]
        return jax.vmap(push, in_axes=1, out_axes=1)(tangents_DC)

    return jax.vmap(one)(x_BD, tangents_BDC)
