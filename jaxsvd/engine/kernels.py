"""The jitted pieces of the engine: each is compiled once and serves every layer and rate.

Weights are arguments, as nested dictionaries of arrays (flattened in C, unlike modules); the
config is static, and so is the mesh (:mod:`jaxsvd.devices.sharding`) where there are several
devices: then rows of a batch are dealt over its ``data`` axis, and what is read comes back whole.
A layer also gives the stream between its attention and its MLP, where truncation cuts it.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Float32, Int

from jaxsvd.devices.sharding import by_heads, everywhere, rows_over
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Block, Head, KeyValues, Prefix, unembed
from jaxsvd.models.lowrank import LowRankLinear
from jaxsvd.models.matrices import part
from jaxsvd.models.rotary import rotation

Weights = dict[str, Any]
"""The arrays of one block, or of the head, as nested dictionaries."""

_static = functools.partial(jax.jit, static_argnames=("config", "mesh"))


class Rows(NamedTuple):
    """Where the tokens of a batch are: angles, segments, branches, and the columns read."""

    cos: Float32[Array, "B T half"]
    sin: Float32[Array, "B T half"]
    segments: Int[Array, "B T"]
    branches: Int[Array, "B T"]
    reads: Int[Array, "B R"]


@functools.cache
def _block_graph(config: DecoderConfig, low_rank: frozenset[str]) -> nnx.GraphDef:
    """The structure of a block, some of its matrices of low rank."""

    def build() -> Block:
        block = Block(config, dtype=jnp.float32, rngs=nnx.Rngs(0))
        for name in low_rank:
            half = getattr(block, part(name))
            n_out, n_in = getattr(half, name).weight.shape
            setattr(half, name, LowRankLinear(n_in, n_out, bias=name in config.biased))
        return block

    return nnx.split(nnx.eval_shape(build))[0]


@functools.cache
def _head_graph(config: DecoderConfig) -> nnx.GraphDef:
    abstract = nnx.eval_shape(lambda: Head(config, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    return nnx.split(abstract)[0]


def block_of(config: DecoderConfig, weights: Weights) -> Block:
    """The block that a layer's arrays make."""
    halves = (weights["attn"], weights["mlp"])
    low_rank = frozenset(name for half in halves for name in half if "rank" in half[name])
    return nnx.merge(_block_graph(config, low_rank), weights)


@functools.partial(jax.jit, static_argnames=("mesh",))
def embed_tokens(
    embedding: Float[Array, "V D"], tokens: Int[Array, " P"], mesh: Mesh | None = None
) -> Float32[Array, "P D"]:
    """The residual stream of a prefix before the first layer."""
    return everywhere(mesh, embedding[tokens].astype(jnp.float32))


@_static
def embed(
    config: DecoderConfig,
    embedding: Float[Array, "V D"],
    tokens: Int[Array, "B T"],
    positions: Int[Array, "B T"],
    segments: Int[Array, "B T"],
    branches: Int[Array, "B T"],
    reads: Int[Array, "B R"],
    mesh: Mesh | None = None,
) -> tuple[Float[Array, "B T D"], Rows]:
    """The residual stream before the first layer, and the geometry that every layer shares."""
    cos, sin = rotation(config.rotary, positions)
    x_BTD = embedding[tokens].astype(jnp.float32)
    return rows_over(mesh, (x_BTD, Rows(cos, sin, segments, branches, reads)))


def visible(rows: Rows) -> Bool[Array, "B T T"]:
    """Tokens see their own line up to themselves: of its branches only the prompt and their own."""
    same = rows.segments[:, :, None] == rows.segments[:, None, :]
    own = rows.branches[:, :, None] == rows.branches[:, None, :]
    prompt = rows.branches[:, None, :] == 0
    return same & (own | prompt) & jnp.tril(jnp.ones(same.shape[1:], bool))


@_static
def layer(
    config: DecoderConfig,
    weights: Weights,
    x_BTD: Float[Array, "B T D"],
    rows: Rows,
    prefix: Prefix,
    mesh: Mesh | None = None,
) -> tuple[Float[Array, "B T D"], Float[Array, "B T D"]]:
    """A layer over the lines and the prefix: the stream after its attention, and after its MLP."""
    block, turn = block_of(config, weights), (rows.cos, rows.sin)
    own = block.states(x_BTD, turn)
    attended = block.attend(x_BTD, turn, own, visible(rows), prefix)
    return rows_over(mesh, (attended, block.feed(x_BTD, attended)))


class Reads(NamedTuple):
    """The stream in the last layer, where it is read: before it, after attention, after it."""

    before: Float[Array, "B R D"]
    attended: Float[Array, "B R D"]
    after: Float[Array, "B R D"]


@_static
def last_layer(
    config: DecoderConfig,
    weights: Weights,
    x_BTD: Float[Array, "B T D"],
    rows: Rows,
    prefix: Prefix,
    mesh: Mesh | None = None,
) -> Reads:
    """The last layer: keys and values everywhere, the rest only where something is read."""
    block, turn = block_of(config, weights), (rows.cos, rows.sin)
    own = block.states(x_BTD, turn)
    at_reads = functools.partial(jnp.take_along_axis, indices=rows.reads[:, :, None], axis=1)
    x_BRD, cos, sin = map(at_reads, (x_BTD, rows.cos, rows.sin))
    attended = block.attend(x_BRD, (cos, sin), own, at_reads(visible(rows)), prefix)
    return rows_over(mesh, Reads(x_BRD, attended, block.feed(x_BRD, attended)))


@_static
def feed(
    config: DecoderConfig,
    weights: Weights,
    x_BTD: Float[Array, "B T D"],
    attended_BTD: Float[Array, "B T D"],
    mesh: Mesh | None = None,
) -> Float[Array, "B T D"]:
    """The stream after a layer's MLP, from before and after its attention."""
    return rows_over(mesh, block_of(config, weights).feed(x_BTD, attended_BTD))


class PrefixLayer(NamedTuple):
    """A layer's effect on the prefix: its stream after attention and after the MLP, its states."""

    attended: Float[Array, "P D"]
    after: Float[Array, "P D"]
    states: KeyValues


@_static
def prefix_layer(
    config: DecoderConfig, weights: Weights, x_PD: Float[Array, "P D"], mesh: Mesh | None = None
) -> PrefixLayer:
    """A layer over the prefix alone."""
    block = block_of(config, weights)
    turn = rotation(config.rotary, jnp.arange(x_PD.shape[0])[None])
    causal = jnp.tril(jnp.ones((x_PD.shape[0],) * 2, bool))[None]
    own = block.states(x_PD[None], turn)
    attended = block.attend(x_PD[None], turn, own, causal)
    after = block.feed(x_PD[None], attended)
    states = by_heads(mesh, KeyValues(own.keys[0], own.values[0]))
    return PrefixLayer(*everywhere(mesh, (attended[0], after[0])), states)


@_static
def prefix_states(
    config: DecoderConfig, weights: Weights, x_PD: Float[Array, "P D"], mesh: Mesh | None = None
) -> KeyValues:
    """The prefix's keys and values of a layer, ``[P, K, H]``, when nothing follows."""
    turn = rotation(config.rotary, jnp.arange(x_PD.shape[0])[None])
    own = block_of(config, weights).states(x_PD[None], turn)
    return by_heads(mesh, KeyValues(own.keys[0], own.values[0]))


def _final_norm(config: DecoderConfig, head: Weights, x: Array) -> Array:
    return nnx.merge(_head_graph(config), head).norm(x)


def _matrix(head: Weights, embedding: Array) -> tuple[Array, Array | None]:
    return head.get("unembedding", embedding), head.get("bias")


@_static
def label_logits(
    config: DecoderConfig,
    head: Weights,
    embedding: Float[Array, "V D"],
    x_BRD: Float[Array, "B R D"],
    labels: Int[Array, " C"],
    mesh: Mesh | None = None,
) -> Float32[Array, "B R C"]:
    """Logits of the label tokens: only their rows of the unembedding are multiplied."""
    matrix, bias = _matrix(head, embedding)
    rows = None if bias is None else bias[labels]
    return everywhere(mesh, unembed(_final_norm(config, head, x_BRD), matrix[labels], rows))


@_static
def log_probabilities(
    config: DecoderConfig,
    head: Weights,
    embedding: Float[Array, "V D"],
    x_BRD: Float[Array, "B R D"],
    targets: Int[Array, "B R"],
    mesh: Mesh | None = None,
) -> Float32[Array, "B R"]:
    """Log-probability of the target token at every read position.

    A row at a time: the logits of a whole batch over the whole vocabulary may not fit. Over
    several devices a read of every row at a time, so that the rows stay where they are.
    """
    matrix, bias = _matrix(head, embedding)

    def row(x_and_target: tuple[Array, Array]) -> Array:
        x_RD, target_R = x_and_target
        logits_RV = unembed(_final_norm(config, head, x_RD), matrix, bias)
        chosen = jnp.take_along_axis(logits_RV, target_R[:, None], axis=-1)[:, 0]
        return chosen - jax.nn.logsumexp(logits_RV, axis=-1)

    if mesh is None:
        return jax.lax.map(row, (x_BRD, targets))
    return everywhere(mesh, jax.lax.map(row, (x_BRD.swapaxes(0, 1), targets.T)).T)


@_static
def mean_logits(
    config: DecoderConfig,
    head: Weights,
    embedding: Float[Array, "V D"],
    x_BRD: Float[Array, "B R D"],
    mesh: Mesh | None = None,
) -> Float32[Array, "B R"]:
    """Mean of the logits over the vocabulary at every read position (the scripts' COPA rule)."""
    matrix, bias = _matrix(head, embedding)
    mean = matrix.astype(jnp.float32).mean(axis=0, keepdims=True)
    shift = None if bias is None else bias.astype(jnp.float32).mean(keepdims=True)
    return everywhere(mesh, unembed(_final_norm(config, head, x_BRD), mean, shift)[..., 0])
