"""Norms of a head's update and of its Jacobian, for one test token."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from theory.checks import Real, as_mask, real, require, require_finite
from theory.precision import by_input
from theory.softmax.weights import (
    AttentionWeights,
    Grams,
    Rotary,
    check_attention,
    grams_of,
    in_query_frame,
)

Arrays = Float[Array | np.ndarray, "..."]
Mask = Real
"""Booleans, or the numbers 0 and 1."""


class Norms(NamedTuple):
    """Natural logarithms.

    Attributes:
        update: log ||dW||_F of every head, gauge dependent.
        jacobian: log ||J_h||_F of every head, a property of the function.
        layer: log ||sum_h J_h||_F, the layer's, with the products of different heads.
    """

    update: Float[Array | np.ndarray, " H"]
    jacobian: Float[Array | np.ndarray, " H"]
    layer: Float[Array | np.ndarray, ""]


@by_input
def head_norms(
    query: Real,
    keys: Real,
    values: Real,
    weights: Grams,
    demonstrations: Mask | None = None,
    visible: Mask | None = None,
) -> Norms:
    """Both norms of every head, and the layer's Jacobian, for one test token.

    4 T^2 w G + O(T w^2 H + H^2 w^3) operations. In scaled units: a factor in front of keys or
    values costs nothing but where the scores themselves leave the range.

    Args:
        query: of the test token, not rotated, ``[H, w]``.
        keys: ``[T, G, w]``, with rotary positions in the query's frame (:func:`in_query_frame`).
        values: ``[T, G, w]``.
        weights: of the layer.
        demonstrations: which of the T tokens are demonstrations; all but the last if None.
        visible: which keys the test token sees; all if None (under a causal mask a test token in
            the last place sees all).

    Raises:
        ValueError: shapes that disagree, masks of other numbers than 0 and 1, values that are not
            finite real numbers, scores that leave the floating-point range, or no visible
            demonstration.
    """
    query, keys, values, weights = real(query=query, keys=keys, values=values, weights=weights)
    require(keys.ndim == 3, "keys", "[T, G, w]", keys.shape)
    tokens = keys.shape[0]
    shown = np.arange(tokens) < tokens - 1 if demonstrations is None else demonstrations
    seen = np.ones(tokens, bool) if visible is None else visible
    shown, seen = as_mask("demonstrations", shown), as_mask("visible", seen)
    _check_heads(query, keys, values, weights, shown, seen)
    norms = _head_norms(query, keys, values, weights, shown, seen)
    if not any(isinstance(norm, Tracer) for norm in norms):
        right = not any(bool(np.isnan(np.asarray(norm)).any()) for norm in norms)
        require(right, "query and keys", "of a size whose scores are finite", "an overflow")
    return norms


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
    keys, values = keys.swapaxes(0, 1), values.swapaxes(0, 1)
    scores = scale * jnp.einsum("gsw,gtw->gst", query.reshape(*shape, width), keys)
    scores = jnp.where(visible, scores, -jnp.inf)
    own = _diagonal(weights.output).reshape(*shape, width, width)

    # sum_ij K_ij <M v_i, M v_j> = <M^T M, V^T K V>, which heads that share V share.
    shown = (demonstrations & visible)[:, None]
    shown_keys = jnp.where(shown, keys, 0)
    small_values, value_size = _unit(jnp.where(shown, values, 0))
    small_own, output_size = _unit(own)  # M^T M, so its size is squared
    top = scale * (shown_keys**2).sum(-1).max(-1)  # no kernel exceeds its diagonal
    kernel = jnp.exp(
        scale * jnp.einsum("giw,gjw->gij", shown_keys, shown_keys) - top[:, None, None]
    )
    moment = jnp.einsum("giv,gij,gjw->gvw", small_values, kernel, small_values, optimize="optimal")
    square = jnp.einsum("gsvw,gvw->gs", small_own, moment)
    normaliser = jax.nn.logsumexp(scores, axis=-1)
    update = (top[:, None] + jnp.log(jnp.maximum(square, 0))) / 2 - normaliser
    update = update + jnp.log(value_size) + jnp.log(output_size) / 2

    attention = jax.nn.softmax(scores, axis=-1)
    small_keys, key_size = _unit(keys)
    small_values, value_size = _unit(values)
    # V^T (diag a - a a^T) K, centred first: the difference would lose what a shift of keys adds.
    off_key = small_keys[:, None] - jnp.einsum("gst,gtw->gsw", attention, small_keys)[:, :, None]
    off_value = (
        small_values[:, None] - jnp.einsum("gst,gtw->gsw", attention, small_values)[:, :, None]
    )
    core = jnp.einsum("gstv,gstw->gsvw", attention[..., None] * off_value, off_key)
    core = core.reshape(heads, width, width)
    output, output_size = _unit(weights.output)
    questions, query_size = _unit(weights.query)
    sizes = jnp.log(scale) + jnp.log(value_size) + jnp.log(key_size)
    sizes = sizes + (jnp.log(output_size) + jnp.log(query_size)) / 2
    # <J_g, J_h> = <(M_g^T M_h) C_h, C_g (W_g W_h^T)>, C the core.
    products = jnp.einsum(
        "gvhx,hxy,gvz,gzhy->gh", output, core, core, questions, optimize="optimal"
    )
    jacobian = jnp.log(jnp.maximum(jnp.diagonal(products), 0)) / 2 + sizes
    layer = jnp.log(jnp.maximum(products.sum(), 0)) / 2 + sizes
    return Norms(update.reshape(heads), jacobian, layer)


def _diagonal(gram: Real) -> Array:
    """A Gram matrix's blocks of a head with itself, ``[H, w, w]``."""
    return jnp.einsum("hvhw->hvw", gram)


def _unit(a: Real) -> tuple[Array, Array]:
    """An array divided by its largest entry, and that entry; 1 for zeros."""
    size = jnp.abs(a).max()
    size = jnp.where(size > 0, size, 1)
    return jnp.asarray(a / size), size


@by_input
def layer_norms(
    hidden: Real,
    attention: AttentionWeights,
    rotary: Rotary | None = None,
    demonstrations: Mask | None = None,
    *,
    position: int = -1,
    weights: Grams | None = None,
) -> Norms:
    """The norms of a layer, from its inputs, under a causal mask.

    One function for what decoders differ in: biases, grouped heads and rotary positions.

    Args:
        hidden: what the attention layer reads (after its layer norm), ``[T, D]``.
        attention: weights, and biases where the layer has them.
        rotary: positions 0, 1, ... of the tokens; None for a layer without.
        demonstrations: which tokens are demonstrations; None for all before the test token.
        position: of the test token. It sees itself and what comes before it.
        weights: from :func:`grams`, if already known.

    Raises:
        ValueError: shapes that disagree, values that are not finite, or no visible demonstration.
    """
    hidden, attention, weights = real(hidden=hidden, attention=attention, weights=weights)
    check_attention(attention)
    width = attention.query.shape[-1]
    require(hidden.ndim == 2 and hidden.shape[1] == width, "hidden", f"[T, {width}]", hidden.shape)
    tokens = hidden.shape[0]
    require(-tokens <= position < tokens, "position", "one of the tokens", position)
    at = position % tokens
    places = np.arange(tokens)
    query = _projected(hidden[at], attention.query, attention.query_bias)
    keys = _projected(hidden, attention.key, attention.key_bias)
    values = _projected(hidden, attention.value, attention.value_bias)
    if rotary is not None:
        keys = in_query_frame(keys, places - at, rotary)
    if demonstrations is None:
        demonstrations = places < at
    weights = grams_of(attention) if weights is None else weights
    return head_norms(query, keys, values, weights, demonstrations, places <= at)


def _projected(hidden: Arrays, matrix: Arrays, bias: Arrays | None) -> Array:
    projected = jnp.einsum("...d,hwd->...hw", hidden, matrix)
    return projected if bias is None else projected + bias


@by_input
def total(logs: Real) -> Float[Array | np.ndarray, "*layers"]:
    """Log norm of the layer's update from those of its heads, ``[*layers, H]``: squares add.

    Of ``Norms.update`` only; Jacobians read one input and have products, see ``Norms.layer``.
    """
    (logs,) = real(logs=logs)
    return jax.nn.logsumexp(2 * jnp.asarray(logs), axis=-1) / 2


def _check_heads(
    query: Arrays,
    keys: Arrays,
    values: Arrays,
    weights: Grams,
    demonstrations: Mask,
    visible: Mask,
) -> None:
    require(query.ndim == 2, "query", "[H, w]", query.shape)
    heads, width = query.shape
    tokens, groups, _ = keys.shape
    require(
        groups > 0 and heads % groups == 0,
        "keys",
        f"of a number of heads that divides {heads}",
        groups,
    )
    for name, array, shape in (
        ("keys", keys, (tokens, groups, width)),
        ("values", values, (tokens, groups, width)),
        ("weights.output", weights.output, (heads, width, heads, width)),
        ("weights.query", weights.query, (heads, width, heads, width)),
        ("demonstrations", demonstrations, (tokens,)),
        ("visible", visible, (tokens,)),
    ):
        require(array.shape == shape, name, f"of shape {shape}", array.shape)
    for name, array in (("query", query), ("keys", keys), ("values", values)):
        require_finite(name, array)
    if not isinstance(demonstrations, Tracer):
        seen = bool(np.asarray(demonstrations & visible).any())
        require(seen, "demonstrations", "some of the visible tokens", "none")
