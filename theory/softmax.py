"""Softmax attention read as an implicit update (the paper's appendix A.2), on real layers.

With K(x, y) = exp(<x, y>) = <phi(x), phi(y)> a head adds M sum_i v_i <phi(k_i), phi(q)> / D' to the
test token: an update dW = (1 / D') sum_i M v_i phi(k_i)^T of the features phi(q), M the head's part
of W_O. phi has infinitely many entries, but the norm needs only kernels:

    ||dW||_F^2 = D'^{-2} sum_ij <M v_i, M v_j> exp(<k_i, k_j> / sqrt(d_head)),

i and j over the demonstrations' tokens, D' over every visible key, the test token's own included.
Slips of the paper corrected here: sqrt(d_scale) belongs inside the softmax, and the normaliser of
A.2 runs over N + 1 keys. The reading is exact for one layer and one query: D' depends on the
query, so that Theorems 1 and 2 do not extend to stacks of softmax layers.

The norm is no property of the function: adding one vector to every key multiplies it by anything
(1e8 with ease) and leaves the output as it is. Report it, and beside it the head's Jacobian in the
test token, J = M V^T (diag a - a a^T) K W_Q / sqrt(d_head), a the attention, which is invariant.

Logarithms throughout: the exponents reach 146 in trained models. Grouped queries: G <= H heads of
keys and values, each shared by H / G heads of queries. Heads act on features of their own, so
squared norms add: :func:`total`.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from theory.checks import require, require_finite
from theory.precision import by_input

Real = Float[Array | np.ndarray, "..."]
Mask = Bool[Array | np.ndarray, "..."]


class Attention(NamedTuple):
    """Weights of an attention layer by head (w = d_head).

    Attributes:
        query: W_Q, ``[H, w, D]``.
        key: W_K, ``[G, w, D]``.
        value: W_V, ``[G, w, D]``.
        output: M transposed, W_O by head, ``[H, w, D]``.
    """

    query: Float[Array | np.ndarray, "H w D"]
    key: Float[Array | np.ndarray, "G w D"]
    value: Float[Array | np.ndarray, "G w D"]
    output: Float[Array | np.ndarray, "H w D"]


class Rotary(NamedTuple):
    """Rotary positions of keys and queries: angles position * frequency of the first features.

    Attributes:
        frequencies: one for each pair of features.
        pairs: ``halves`` (Llama: feature i with i + R/2) or ``interleaved`` (GPT-J: 2i, 2i + 1).
    """

    frequencies: Float[Array | np.ndarray, " half"]
    pairs: Literal["halves", "interleaved"]


class Norms(NamedTuple):
    """Of every head, natural logarithms.

    Attributes:
        update: log ||dW||_F, gauge dependent.
        jacobian: log ||J||_F, a property of the function.
    """

    update: Float[Array | np.ndarray, " H"]
    jacobian: Float[Array | np.ndarray, " H"]


class Grams(NamedTuple):
    """M^T M and W_Q W_Q^T of every head: what the norms need of the weights, for all prompts."""

    output: Float[Array | np.ndarray, "H w w"]
    query: Float[Array | np.ndarray, "H w w"]


@by_input
def grams(attention: Attention) -> Grams:
    """Of a layer's weights. Keys are taken in the query's frame, so no rotation enters here.

    Raises:
        ValueError: shapes that disagree, or values that are not finite.
    """
    _check_attention(attention)
    return _grams(attention)


@jax.jit
def _grams(attention: Attention) -> Grams:
    output, query = (jnp.einsum("hvd,hwd->hvw", a, a) for a in (attention.output, attention.query))
    return Grams(output, query)


@by_input
def in_query_frame(
    keys: Float[Array | np.ndarray, "T G w"],
    offsets: Int[Array | np.ndarray, " T"],
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
        ValueError: fewer features than the rotation turns, or an unknown pairing.
    """
    frequencies, pairs = rotary
    width = 2 * frequencies.shape[0]
    require(width <= keys.shape[-1], "frequencies", "at most half the features", width // 2)
    require(pairs in ("halves", "interleaved"), "pairs", "halves or interleaved", pairs)
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


@by_input
def head_norms(
    query: Float[Array | np.ndarray, "H w"],
    keys: Float[Array | np.ndarray, "..."],
    values: Float[Array | np.ndarray, "..."],
    weights: Grams,
    demonstrations: Mask | None = None,
    visible: Mask | None = None,
) -> Norms:
    """Both norms of every head, for one test token.

    4 T^2 w G + O(T w^2 H) operations: under 1 % of a forward pass.

    Args:
        query: of the test token, not rotated.
        keys: ``[T, G, w]``, with rotary positions in the query's frame (:func:`in_query_frame`).
        values: ``[T, G, w]``.
        weights: of the layer.
        demonstrations: which of the T tokens are demonstrations; all but the last if None.
        visible: which keys the test token sees; all if None (under a causal mask a test token in
            the last place sees all).

    Raises:
        ValueError: shapes that disagree, values that are not finite, or no visible demonstration.
    """
    tokens = keys.shape[0]
    shown = np.arange(tokens) < tokens - 1 if demonstrations is None else demonstrations
    seen = np.ones(tokens, bool) if visible is None else visible
    _check_heads(query, keys, values, weights, shown, seen)
    return _head_norms(query, keys, values, weights, shown, seen)


@jax.jit
def _head_norms(
    query: Array,
    keys: Array,
    values: Array,
    weights: Grams,
    demonstrations: Array,
    visible: Array,
) -> Norms:
    heads, width = query.shape
    groups = keys.shape[1]
    shape = (groups, heads // groups)
    scale = width**-0.5
    output, asked = (gram.reshape(*shape, width, width) for gram in weights)
    keys, values = keys.swapaxes(0, 1), values.swapaxes(0, 1)
    scores = scale * jnp.einsum("gsw,gtw->gst", query.reshape(*shape, width), keys)
    scores = jnp.where(visible, scores, -jnp.inf)

    # sum_ij K_ij <M v_i, M v_j> = <M^T M, V^T K V>, which heads that share V share.
    shown = (demonstrations & visible)[:, None]
    shown_keys, shown_values = (jnp.where(shown, a, 0) for a in (keys, values))
    top = scale * (shown_keys**2).sum(-1).max(-1)  # no kernel exceeds its diagonal
    kernel = jnp.exp(
        scale * jnp.einsum("giw,gjw->gij", shown_keys, shown_keys) - top[:, None, None]
    )
    moment = jnp.einsum("giv,gij,gjw->gvw", shown_values, kernel, shown_values, optimize="optimal")
    square = jnp.einsum("gsvw,gvw->gs", output, moment)
    normaliser = jax.nn.logsumexp(scores, axis=-1)
    update = (top[:, None] + jnp.log(jnp.maximum(square, 0))) / 2 - normaliser

    attention = jax.nn.softmax(scores, axis=-1)
    # V^T (diag a - a a^T) K, centred first: the difference would lose what a shift of keys adds.
    off_key = keys[:, None] - jnp.einsum("gst,gtw->gsw", attention, keys)[:, :, None]
    off_value = values[:, None] - jnp.einsum("gst,gtw->gsw", attention, values)[:, :, None]
    core = jnp.einsum("gstv,gstw->gsvw", attention[..., None] * off_value, off_key)
    power = jnp.einsum("gsvx,gsvx->gs", output @ core, core @ asked)
    jacobian = jnp.log(jnp.maximum(scale**2 * power, 0)) / 2
    return Norms(update.reshape(heads), jacobian.reshape(heads))


@by_input
def layer_norms(
    hidden: Float[Array | np.ndarray, "..."],
    attention: Attention,
    rotary: Rotary | None = None,
    demonstrations: Mask | None = None,
    *,
    position: int = -1,
    weights: Grams | None = None,
) -> Norms:
    """Both norms of every head of a layer, from its inputs, under a causal mask.

    Args:
        hidden: what the attention layer reads (after its layer norm), ``[T, D]``.
        attention: weights, without biases.
        rotary: positions 0, 1, ... of the tokens; None for a layer without.
        demonstrations: which tokens are demonstrations; None for all before the test token.
        position: of the test token. It sees itself and what comes before it.
        weights: from :func:`grams`, if already known.

    Raises:
        ValueError: shapes that disagree, values that are not finite, or no visible demonstration.
    """
    _check_attention(attention)
    width = attention.query.shape[-1]
    require(hidden.ndim == 2 and hidden.shape[1] == width, "hidden", f"[T, {width}]", hidden.shape)
    tokens = hidden.shape[0]
    require(-tokens <= position < tokens, "position", "one of the tokens", position)
    at = position % tokens
    places = np.arange(tokens)
    query = jnp.einsum("d,hwd->hw", hidden[at], attention.query)
    keys, values = (
        jnp.einsum("td,gwd->tgw", hidden, matrix) for matrix in (attention.key, attention.value)
    )
    if rotary is not None:
        keys = in_query_frame(keys, places - at, rotary)
    if demonstrations is None:
        demonstrations = places < at
    weights = _grams(attention) if weights is None else weights
    return head_norms(query, keys, values, weights, demonstrations, places <= at)


@by_input
def total(logs: Float[Array | np.ndarray, "*layers H"]) -> Float[Array | np.ndarray, "*layers"]:
    """Log norm over all heads, whose squares add."""
    return jax.nn.logsumexp(2 * jnp.asarray(logs), axis=-1) / 2


def _check_attention(attention: Attention) -> None:
    require(attention.query.ndim == 3, "attention.query", "[H, w, D]", attention.query.shape)
    heads, width, model = attention.query.shape
    groups = attention.key.shape[0]
    require(heads % groups == 0, "attention.key", f"of a number that divides H = {heads}", groups)
    wanted = [(heads, width, model)] + [(groups, width, model)] * 2 + [(heads, width, model)]
    for name, matrix, shape in zip(Attention._fields, attention, wanted, strict=True):
        require(matrix.shape == shape, f"attention.{name}", f"of shape {shape}", matrix.shape)
        require_finite(f"attention.{name}", matrix)


def _check_heads(
    query: Real, keys: Real, values: Real, weights: Grams, demonstrations: Mask, visible: Mask
) -> None:
    heads, width = query.shape
    require(keys.ndim == 3, "keys", "[T, G, w]", keys.shape)
    tokens, groups, _ = keys.shape
    require(heads % groups == 0, "keys", f"of a number of heads that divides {heads}", groups)
    for name, array, shape in (
        ("keys", keys, (tokens, groups, width)),
        ("values", values, (tokens, groups, width)),
        ("weights.output", weights.output, (heads, width, width)),
        ("weights.query", weights.query, (heads, width, width)),
        ("demonstrations", demonstrations, (tokens,)),
        ("visible", visible, (tokens,)),
    ):
        require(array.shape == shape, name, f"of shape {shape}", array.shape)
    for name, array in (("query", query), ("keys", keys), ("values", values)):
        require_finite(name, array)
    if not isinstance(demonstrations, Tracer):
        seen = bool(np.asarray(demonstrations & visible).any())
        require(seen, "demonstrations", "some of the visible tokens", "none")
