"""What softmax attention layers consist of, and what their norms need of the weights."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.checks import Real, real, require, require_finite
from theory.precision import by_input


class AttentionWeights(NamedTuple):
    """Weights of an attention layer by head (w = d_head).

    Attributes:
        query: W_Q, ``[H, w, D]``.
        key: W_K, ``[G, w, D]``.
        value: W_V, ``[G, w, D]``.
        output: M transposed, W_O by head, ``[H, w, D]``.
        query_bias: ``[H, w]``; None for a layer without.
        key_bias: ``[G, w]``.
        value_bias: ``[G, w]``.
    """

    query: Float[Array | np.ndarray, "H w D"]
    key: Float[Array | np.ndarray, "G w D"]
    value: Float[Array | np.ndarray, "G w D"]
    output: Float[Array | np.ndarray, "H w D"]
    query_bias: Float[Array | np.ndarray, "H w"] | None = None
    key_bias: Float[Array | np.ndarray, "G w"] | None = None
    value_bias: Float[Array | np.ndarray, "G w"] | None = None


class Rotary(NamedTuple):
    """Rotary positions of keys and queries: angles position * frequency of the first features.

    Attributes:
        frequencies: one for each pair of features.
        pairs: ``halves`` (Llama: feature i with i + R/2) or ``interleaved`` (GPT-J: 2i, 2i + 1).
    """

    frequencies: Float[Array | np.ndarray, " half"]
    pairs: Literal["halves", "interleaved"]


class Grams(NamedTuple):
    """M_g^T M_h and W_Q,g W_Q,h^T of all pairs of heads: what the norms need of the weights.

    The same for all prompts. H^2 w^2 numbers each, as many as W_O and W_Q have.
    """

    output: Float[Array | np.ndarray, "H w H w"]
    query: Float[Array | np.ndarray, "H w H w"]


@by_input
def grams(attention: AttentionWeights) -> Grams:
    """Of a layer's weights. Keys are taken in the query's frame, so no rotation enters here.

    Raises:
        ValueError: shapes that disagree, or values that are not finite.
    """
    (attention,) = real(attention=attention)
    check_attention(attention)
    return grams_of(attention)


@jax.jit
def grams_of(attention: AttentionWeights) -> Grams:
    """The same of what was checked."""
    output, query = (jnp.einsum("gvd,hwd->gvhw", a, a) for a in (attention.output, attention.query))
    return Grams(output, query)


@by_input
def in_query_frame(
    keys: Real,
    offsets: Real,
    rotary: Rotary,
) -> Float[Array | np.ndarray, "T G w"]:
    """Keys turned by their position *less the query's*; the query itself then stays unturned.

    All products are those of keys and query turned by their own positions, and W_Q enters the
    Jacobian as it is.

    Args:
        keys: before any rotation.
        offsets: position of each key minus that of the query.
        rotary: angles.

    Raises:
        ValueError: fewer features than the rotation turns, an unknown pairing, or what is not real
            numbers.
    """
    keys, offsets, frequencies = real(keys=keys, offsets=offsets, frequencies=rotary.frequencies)
    pairs = rotary.pairs
    width = 2 * frequencies.shape[0]
    require(width <= keys.shape[-1], "frequencies", "at most half the features", width // 2)
    require(pairs in ("halves", "interleaved"), "pairs", "halves or interleaved", repr(pairs))
    angles = (offsets[:, None] * frequencies)[:, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    turned, kept = keys[..., :width], keys[..., width:]
    if pairs == "halves":
        first, second = turned[..., : width // 2], turned[..., width // 2 :]
    else:
        first, second = turned[..., 0::2], turned[..., 1::2]
    both = (first * cos - second * sin, second * cos + first * sin)
    if pairs == "halves":
        return jnp.concatenate([*both, kept], axis=-1)
    return jnp.concatenate([jnp.stack(both, axis=-1).reshape(turned.shape), kept], axis=-1)


def check_attention(attention: AttentionWeights) -> None:
    """Refuse shapes that disagree, and what is not finite."""
    require(attention.query.ndim == 3, "attention.query", "[H, w, D]", attention.query.shape)
    heads, width, model = attention.query.shape
    groups = attention.key.shape[0]
    require(
        groups > 0 and heads % groups == 0,
        "attention.key",
        f"of a number that divides H = {heads}",
        groups,
    )
    wanted = [(heads, width, model)] + [(groups, width, model)] * 2 + [(heads, width, model)]
    wanted += [(heads, width)] + [(groups, width)] * 2
    for name, matrix, shape in zip(AttentionWeights._fields, attention, wanted, strict=True):
        if matrix is None:
            continue
        require(matrix.shape == shape, f"attention.{name}", f"of shape {shape}", matrix.shape)
        require_finite(f"attention.{name}", matrix)
