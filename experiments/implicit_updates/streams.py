"""What each block of a decoder reads and adds at a prompt's last token, with context and without.

The model side of :mod:`theory.blocks`: the one place that knows how a decoder's block is built.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxsvd.models.attention import Places
from jaxsvd.models.decoder import Block, Decoder


class Reading(NamedTuple):
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
    places = Places.in_order(decoder.config, *ids.shape)
    stream = decoder.embedding(ids, places.positions)
    before = []
    for block in decoder.blocks:
        before.append(stream)
        stream, _ = block(stream, places)
    return before


def reading(decoder: Decoder, block: Block, stream: Float[Array, "1 T D"]) -> Reading:
    """What a block (perhaps a truncated one) reads and adds at the last token of a stream."""
    places = Places.in_order(decoder.config, *stream.shape[:2])
    own = block.states(stream, places)
    attended = block.attend(stream, places, own, places)[0, -1]
    read = block.mlp_input(stream[0, -1], attended)
    return Reading(*(np.asarray(a, np.float32) for a in (attended, read, block.mlp(read))))
