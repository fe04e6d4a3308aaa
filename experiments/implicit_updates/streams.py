"""What each block of a decoder reads and adds at a prompt's last token, with context and without.

The model side of :mod:`theory.blocks`: the one place that knows how a decoder's block is built.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxsvd.models.attention import Places
from jaxsvd.models.decoder import Block, Decoder
from jaxsvd.models.layers import MLP, Linear
from jaxsvd.models.matrices import matrices, part
from jaxsvd.runtime.errors import UserError
from jaxsvd.svd import truncate
from theory import softmax


class BlockReading(NamedTuple):
    """Of one block at the last token of one prompt, float32.

    Attributes:
        attended: the stream after attention, to which the MLP's output is added, ``[D]``.
        read: what the MLP's first matrices read, ``[D]``.
        output: of the MLP, ``[D]``.
    """

    attended: Float[np.ndarray, " D"]
    read: Float[np.ndarray, " D"]
    output: Float[np.ndarray, " D"]


def streams(decoder: Decoder, tokens: Int[np.ndarray, " T"]) -> list[Float[Array, "1 T D"]]:
    """The residual stream before every block, for a prompt without padding."""
    ids = jnp.asarray(tokens)[None]
    places = _places(decoder, ids.shape[1])
    stream = decoder.embedding(ids, places.positions)
    before = []
    for block in decoder.blocks:
        before.append(stream)
        stream, _ = block(stream, places)
    return before


def reading(decoder: Decoder, block: Block, stream: Float[Array, "1 T D"]) -> BlockReading:
    """What a block (perhaps a truncated one) reads and adds at the last token of a stream."""
    places = _places(decoder, stream.shape[1])
    own = block.states(stream, places)
    attended = block.attend(stream, places, own, places)
    read = block.mlp_input(stream, attended)[0, -1]
    return BlockReading(
        *(np.asarray(a, np.float32) for a in (attended[0, -1], read, block.mlp(read)))
    )


def _places(decoder: Decoder, count: int) -> Places:
    """Of the tokens of one row."""
    return Places.of(decoder.config, jnp.arange(count)[None])


def first_matrices(block: Block) -> tuple[Float[np.ndarray, "F D"], ...]:
    """The matrices of a block's MLP that read the stream: one, or the two of a gated MLP."""
    linears = [block.mlp.fc_in, *([] if block.mlp.fc_up is None else [block.mlp.fc_up])]
    return tuple(np.asarray(linear.weight[...], np.float32) for linear in linears)


def with_first_matrices(block: Block, weights: tuple[Float[np.ndarray, "F D"], ...]) -> MLP:
    """A block's MLP with other first matrices, in float32."""
    mlp = nnx.clone(block.mlp)
    linears = [mlp.fc_in, *([] if mlp.fc_up is None else [mlp.fc_up])]
    for linear, weight in zip(linears, weights, strict=True):
        linear.weight = nnx.Param(jnp.asarray(weight, jnp.float32))
    return mlp


def truncated(decoder: Decoder, layer: int, module: str, rate: float) -> Block:
    """A copy of a layer's block with a module truncated."""
    block = nnx.clone(decoder.blocks[layer])
    for name in matrices(decoder.config, module):
        weight = getattr(getattr(block, part(name)), name).weight
        weight.set_value(truncate(weight.get_value(), rate))
    return block


def normed_streams(
    decoder: Decoder, tokens: Int[np.ndarray, " T"]
) -> list[Float[np.ndarray, "T D"]]:
    """What every layer's attention reads: the streams after its norm, float32."""
    return [
        np.asarray(block.attention_input(stream)[0], np.float32)
        for block, stream in zip(decoder.blocks, streams(decoder, tokens), strict=True)
    ]


def attention_of(
    decoder: Decoder, layer: int
) -> tuple[softmax.AttentionWeights, softmax.Rotary | None]:
    """A layer's attention as :mod:`theory.softmax` takes it, in float64: heads, biases, rotary.

    A factor on the products of queries and keys that is not d_head^-1/2 is put into the queries.

    Raises:
        UserError: scores that are no products of projections (normalised or capped ones), a window,
            or a scaled rotation (YaRN).
    """
    config, attn = decoder.config, decoder.blocks[layer].attn
    kind = config.kind(layer)
    for name, there in (
        ("normalised queries and keys", config.qk_norm is not None),
        ("capped scores", config.attention_cap is not None),
        ("a window", kind.window is not None),
        ("a scaled rotation", kind.rotary is not None and kind.rotary.scale != 1),
    ):
        if there:
            raise UserError(f"layer {layer} has {name}, which theory.softmax does not cover")

    def by_head(linear: Linear, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray | None]:
        weight = factor * np.asarray(linear.weight[...], np.float64)
        bias = None if linear.bias is None else factor * np.asarray(linear.bias[...], np.float64)
        heads = weight.reshape(-1, config.head_width, weight.shape[-1])
        return heads, None if bias is None else bias.reshape(-1, config.head_width)

    query, query_bias = by_head(attn.q_proj, attn.scale * config.head_width**0.5)
    (key, key_bias), (value, value_bias) = map(by_head, (attn.k_proj, attn.v_proj))
    output = np.asarray(attn.out_proj.weight[...], np.float64).T
    output = output.reshape(-1, config.head_width, output.shape[-1])
    attention = softmax.AttentionWeights(
        query, key, value, output, query_bias, key_bias, value_bias
    )
    if kind.rotary is None:
        return attention, None
    frequencies = np.asarray(kind.rotary.inverse_frequencies, np.float64)
    return attention, softmax.Rotary(frequencies, kind.rotary.pairs)
