"""The jitted pieces of the engine: each is compiled once and serves every layer and rate.

Weights are arguments, as nested dictionaries of arrays (flattened in C, unlike modules); the
config and the kind of layer are static, and so is the mesh (:mod:`jaxsvd.devices.sharding`) where
there are several devices: then rows of a batch are dealt over its ``data`` axis, and what is read
comes back whole. A program is compiled for a kind of layer, not for a layer.
A layer also gives the stream between its attention and its MLP, where truncation cuts it.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Int

from jaxsvd.devices.sharding import axes_in, by_heads, everywhere, rows_over
from jaxsvd.models.attention import KeyValues, Places, Prefix, at_columns
from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.decoder import Block, Head, unembed
from jaxsvd.models.embedding import Embedding
from jaxsvd.models.lowrank import LowRankLinear
from jaxsvd.models.matrices import part

Weights = dict[str, Any]
"""The arrays of one block, of the embedding, or of the head, as nested dictionaries."""

_static = functools.partial(jax.jit, static_argnames=("config", "mesh"))
_static_of_kind = functools.partial(jax.jit, static_argnames=("config", "kind", "mesh"))


class TokenRows(NamedTuple):
    """Where the tokens of a batch stand, and the columns that are read."""

    places: Places
    reads: Int[Array, "B R"]


@functools.cache
def _block_graph(
    config: DecoderConfig, kind: LayerKind, low_rank: frozenset[str], summed: bool
) -> nnx.GraphDef:
    """The structure of a block, some of its matrices of low rank.

    Where its halves are ``summed`` over devices, those exchange what they add up in the dtype of
    the weights.
    """

    def build() -> Block:
        block = Block(config, kind, dtype=jnp.float32, rngs=nnx.Rngs(0))
        for name in low_rank:
            half = getattr(block, part(name))
            n_out, n_in = getattr(half, name).weight.shape
            setattr(half, name, LowRankLinear(n_in, n_out, bias=name in config.biased))
        block.attn.out_proj.summed = block.mlp.fc_out.summed = summed
        return block

    return nnx.split(nnx.eval_shape(build))[0]


@functools.cache
def _head_graph(config: DecoderConfig) -> nnx.GraphDef:
    abstract = nnx.eval_shape(lambda: Head(config, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    return nnx.split(abstract)[0]


@functools.cache
def _embedding_graph(config: DecoderConfig) -> nnx.GraphDef:
    embedding = nnx.eval_shape(lambda: Embedding(config, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    return nnx.split(embedding)[0]


def block_of(
    config: DecoderConfig, kind: LayerKind, weights: Weights, mesh: Mesh | None = None
) -> Block:
    """The block that a layer's arrays make, on one device or on a mesh."""
    halves = (weights["attn"], weights["mlp"])
    low_rank = frozenset(name for half in halves for name in half if "rank" in half[name])
    return nnx.merge(_block_graph(config, kind, low_rank, axes_in(mesh).model > 1), weights)


def _embedding(config: DecoderConfig, weights: Weights) -> Embedding:
    return nnx.merge(_embedding_graph(config), weights)


@_static
def embed_prefix(
    config: DecoderConfig, embedding: Weights, tokens: Int[Array, " P"], mesh: Mesh | None = None
) -> Float32[Array, "P D"]:
    """The residual stream of a prefix before the first layer."""
    return everywhere(mesh, _embedding(config, embedding)(tokens, jnp.arange(len(tokens))))


@_static
def embed(
    config: DecoderConfig,
    embedding: Weights,
    tokens: Int[Array, "B T"],
    positions: Int[Array, "B T"],
    segments: Int[Array, "B T"],
    branches: Int[Array, "B T"],
    reads: Int[Array, "B R"],
    mesh: Mesh | None = None,
) -> tuple[Float[Array, "B T D"], TokenRows]:
    """The residual stream before the first layer, and the geometry that every layer shares."""
    places = Places.of(config, positions, segments, branches)
    x_BTD = _embedding(config, embedding)(tokens, positions)
    return rows_over(mesh, (x_BTD, TokenRows(places, reads)))


@_static_of_kind
def layer(
    config: DecoderConfig,
    kind: LayerKind,
    weights: Weights,
    x_BTD: Float[Array, "B T D"],
    rows: TokenRows,
    prefix: Prefix,
    mesh: Mesh | None = None,
) -> tuple[Float[Array, "B T D"], Float[Array, "B T D"]]:
    """A layer over the lines and the prefix: the stream after its attention, and after its MLP."""
    block, places = block_of(config, kind, weights, mesh), rows.places
    own = block.states(x_BTD, places)
    attended = block.attend(x_BTD, places, own, places, prefix)
    return rows_over(mesh, (attended, block.feed(x_BTD, attended)))


class Reads(NamedTuple):
    """The stream in the last layer, where it is read: before it, after attention, after it."""

    before: Float[Array, "B R D"]
    attended: Float[Array, "B R D"]
    after: Float[Array, "B R D"]


@_static_of_kind
def last_layer(
    config: DecoderConfig,
    kind: LayerKind,
    weights: Weights,
    x_BTD: Float[Array, "B T D"],
    rows: TokenRows,
    prefix: Prefix,
    mesh: Mesh | None = None,
) -> Reads:
    """The last layer: keys and values everywhere, the rest only where something is read."""
    block, places = block_of(config, kind, weights, mesh), rows.places
    own, x_BRD = block.states(x_BTD, places), at_columns(x_BTD, rows.reads)
    attended = block.attend(x_BRD, places.at(rows.reads), own, places, prefix)
    return rows_over(mesh, Reads(x_BRD, attended, block.feed(x_BRD, attended)))


@_static
def feed(
    config: DecoderConfig,
    weights: Weights,
    x_BTD: Float[Array, "B T D"],
    attended_BTD: Float[Array, "B T D"],
    mesh: Mesh | None = None,
) -> Float[Array, "B T D"]:
    """The stream after the MLP, from before and after attention; alike for all kinds of layers."""
    block = block_of(config, config.kind(0), weights, mesh)
    return rows_over(mesh, block.feed(x_BTD, attended_BTD))


class PrefixLayer(NamedTuple):
    """A layer's effect on the prefix: its stream after attention and after the MLP, its states."""

    attended: Float[Array, "P D"]
    after: Float[Array, "P D"]
    states: KeyValues


@_static_of_kind
def prefix_layer(
    config: DecoderConfig,
    kind: LayerKind,
    weights: Weights,
    x_PD: Float[Array, "P D"],
    mesh: Mesh | None = None,
) -> PrefixLayer:
    """A layer over the prefix alone."""
    block = block_of(config, kind, weights, mesh)
    places = Places.in_order(config, 1, len(x_PD))
    own = block.states(x_PD[None], places)
    attended = block.attend(x_PD[None], places, own, places)
    after = block.feed(x_PD[None], attended)
    states = by_heads(mesh, KeyValues(own.keys[0], own.values[0]))
    return PrefixLayer(*everywhere(mesh, (attended[0], after[0])), states)


@_static_of_kind
def prefix_states(
    config: DecoderConfig,
    kind: LayerKind,
    weights: Weights,
    x_PD: Float[Array, "P D"],
    mesh: Mesh | None = None,
) -> KeyValues:
    """The prefix's keys and values of a layer, ``[P, K, H]``, when nothing follows."""
    places = Places.in_order(config, 1, len(x_PD))
    own = block_of(config, kind, weights, mesh).states(x_PD[None], places)
    return by_heads(mesh, KeyValues(own.keys[0], own.values[0]))


def _head(config: DecoderConfig, weights: Weights) -> Head:
    return nnx.merge(_head_graph(config), weights)


@_static
def label_logits(
    config: DecoderConfig,
    head: Weights,
    embedding: Weights,
    x_BRD: Float[Array, "B R D"],
    labels: Int[Array, " C"],
    mesh: Mesh | None = None,
) -> Float32[Array, "B R C"]:
    """Logits of the label tokens: only their rows of the unembedding are multiplied."""
    return everywhere(mesh, _head(config, head)(x_BRD, embedding["tokens"], labels))


@_static
def log_probabilities(
    config: DecoderConfig,
    head: Weights,
    embedding: Weights,
    x_BRD: Float[Array, "B R D"],
    targets: Int[Array, "B R"],
    mesh: Mesh | None = None,
) -> Float32[Array, "B R"]:
    """Log-probability of the target token at every read position.

    A row at a time: the logits of a whole batch over the whole vocabulary may not fit. Over
    several devices a read of every row at a time, so that the rows stay where they are.
    """

    def row(x_and_target: tuple[Array, Array]) -> Array:
        x_RD, target_R = x_and_target
        logits_RV = _head(config, head)(x_RD, embedding["tokens"])
        chosen = jnp.take_along_axis(logits_RV, target_R[:, None], axis=-1)[:, 0]
        return chosen - jax.nn.logsumexp(logits_RV, axis=-1)

    if mesh is None:
        return jax.lax.map(row, (x_BRD, targets))
    return everywhere(mesh, jax.lax.map(row, (x_BRD.swapaxes(0, 1), targets.T)).T)


@_static
def log_probabilities_and_shortfalls(
    config: DecoderConfig,
    head: Weights,
    embedding: Weights,
    x_BRD: Float[Array, "B R D"],
    targets: Int[Array, "B R"],
    mesh: Mesh | None = None,
) -> Float32[Array, "B R 2"]:
    """As :func:`log_probabilities`, and the target's logit less the largest: 0 if it is that."""

    def row(x_and_target: tuple[Array, Array]) -> Array:
        x_RD, target_R = x_and_target
        logits_RV = _head(config, head)(x_RD, embedding["tokens"])
        chosen = jnp.take_along_axis(logits_RV, target_R[:, None], axis=-1)[:, 0]
        log_probability = chosen - jax.nn.logsumexp(logits_RV, axis=-1)
        return jnp.stack([log_probability, chosen - logits_RV.max(axis=-1)], axis=-1)

    if mesh is None:
        return jax.lax.map(row, (x_BRD, targets))
    by_read = jax.lax.map(row, (x_BRD.swapaxes(0, 1), targets.T))
    return everywhere(mesh, by_read.swapaxes(0, 1))


@_static
def mean_logits(
    config: DecoderConfig,
    head: Weights,
    embedding: Weights,
    x_BRD: Float[Array, "B R D"],
    mesh: Mesh | None = None,
) -> Float32[Array, "B R"]:
    """Mean of the logits over the vocabulary at every read position (the scripts' COPA rule)."""
    module = _head(config, head)
    if config.logit_cap is not None:  # not linear: a row at a time, as log_probabilities

        def row(x_RD: Array) -> Array:
            return module(x_RD, embedding["tokens"]).mean(axis=-1)

        if mesh is None:
            return jax.lax.map(row, x_BRD)
        return everywhere(mesh, jax.lax.map(row, x_BRD.swapaxes(0, 1)).T)
    matrix, bias = module.rows(embedding["tokens"])
    mean = matrix.astype(jnp.float32).mean(axis=0, keepdims=True)
    shift = None if bias is None else bias.astype(jnp.float32).mean(keepdims=True)
    return everywhere(mesh, unembed(module.features(x_BRD), mean, shift)[..., 0])
