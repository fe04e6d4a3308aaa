"""Softmax attention of real models as theory reads it: norms, and the linearised trajectory.

Norms are those of softmax attention read as an update (:mod:`theory.softmax`), of the last token of
some prompts. Theorem 2 and Lemma 6 speak of linear attention; here they are those of the
*linearised trajectory*: dW_t is the part of the Jacobian of layer t's attention in its input (its
norm's included) that the demonstrations make,

    dW_t = sum over heads and demonstration tokens j of  a_j M v_j ((k_j - k) W_Q)^T / sqrt(H) . J,

k the attention's mean key and J the norm's Jacobian, keys and values held and the MLP left out;
example i's gradient g_i is N times the share of its own tokens, times A_{t-1} = prod (I + dW_s).
The exact Jacobian of one layer, but no more than a first order for stacks: softmax layers are not
covered by the theorems.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.bounds_vs_accuracy.questions import SupersampledTask
from jaxsvd.engine.attention_trace import (
    AttentionStreams,
    HeadMatrices,
    LayerAttention,
    attention_layers,
    head_matrices,
    norm_differential,
)
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.prompts import Prompts
from jaxsvd.engine.variants import Variant
from jaxsvd.model import Model
from jaxsvd.models.config import DecoderConfig
from theory import softmax


class LayerNorms(NamedTuple):
    """Of one layer, for each of M prompts; natural logarithms of norms.

    Attributes:
        update: log ||dW||_F of softmax attention over all heads.
        jacobian: log of the norm of its Jacobian in the test token (through the query), all heads.
        linear: squared Frobenius norm of the linearised dW_t.
        gradient: of G_t = dW_t A_{t-1}.
        state: of A_{t-1}.
        spectrum: eigenvalues of the gradients' covariance at kappa = 1, ``[M, N]``.
    """

    update: Float[np.ndarray, " M"]
    jacobian: Float[np.ndarray, " M"]
    linear: Float[np.ndarray, " M"]
    gradient: Float[np.ndarray, " M"]
    state: Float[np.ndarray, " M"]
    spectrum: Float[np.ndarray, "M N"]


Trajectory = tuple[LayerNorms, ...]
"""Every layer of a variant."""


@dataclass(frozen=True)
class At:
    """Where a variant of a layer goes on from, for each group of prompts."""

    streams: AttentionStreams
    state: Float[Array, "B D D"]


def chosen_prompts(model: Model, draw: SupersampledTask, count: int) -> list[Prompts]:
    """Test questions on as many prompts as there are, up to ``count`` questions in all.

    Prompts are padded to one size, so that everything compiles once; those that lost
    demonstrations are left out, N being one number.
    """
    encoded = draw.encoded
    most = max(len(encoded.questions[i].demonstrations) for i in draw.positions["test"])
    lines = []
    for group in encoded.groups:
        questions = [encoded.questions[line.request] for line in group.lines]
        of_test = [i for i, q in enumerate(questions) if q.split == "test"]
        if of_test and len(questions[of_test[0]].demonstrations) == most:
            lines.append((group, of_test))
    lines = lines[:count]
    each = math.ceil(count / len(lines))
    prompts = [
        Prompts.of(model.tokenizer, encoded, group, of_test[:each]) for group, of_test in lines
    ]
    least = (max(len(p.prefix) for p in prompts), max(p.tokens.shape[1] for p in prompts))
    return [
        Prompts.of(model.tokenizer, encoded, group, of_test[:each], least=least)
        for group, of_test in lines
    ]


def walk(
    engine: Engine,
    prompts: Sequence[Prompts],
    demonstrations: int,
    *,
    first: int = 0,
    stop: int | None = None,
    at: Sequence[At] | None = None,
    variant: Variant | None = None,
) -> tuple[list[LayerNorms], list[At]]:
    """Layers ``first`` to ``stop`` (not included), and where each group is before the last of them.

    Args:
        engine: holds the weights.
        prompts: groups.
        demonstrations: N.
        first: where to begin.
        stop: where to end; the top by default.
        at: where each group is before ``first``; not needed at layer 0.
        variant: matrices that are replaced, in layer ``first`` and above.
    """
    by_group, ends = [], []
    for g, group in enumerate(prompts):
        begin = None if at is None else at[g]
        norms = list(_group(engine, group, demonstrations, first, stop, begin, variant))
        by_group.append([layer for layer, _ in norms])
        ends.append(norms[-1][1])
    # Of one layer all prompts of all groups together.
    layers = [
        LayerNorms(
            *(
                np.concatenate(columns)
                for columns in zip(*(group[t] for group in by_group), strict=True)
            )
        )
        for t in range(len(by_group[0]))
    ]
    return layers, ends


def _group(
    engine: Engine,
    prompts: Prompts,
    demonstrations: int,
    first: int,
    stop: int | None,
    at: At | None,
    variant: Variant | None,
) -> Iterator[tuple[LayerNorms, At]]:
    batch, width = len(prompts.tokens), engine.config.width
    state = jnp.broadcast_to(jnp.eye(width), (batch, width, width)) if at is None else at.state
    numbers = jnp.asarray(prompts.demonstrations)
    streams = None if at is None else at.streams
    for read in attention_layers(engine, prompts, first=first, before=streams, variant=variant):
        norms, after = of_layer(engine.config, read, numbers, state, demonstrations)
        yield norms, At(read.before, state)
        if stop is not None and read.layer + 1 >= stop:
            return
        state = after


def of_layer(
    config: DecoderConfig,
    read: LayerAttention,
    numbers: Int[Array, "M keys"],
    state: Float[Array, "M D D"],
    demonstrations: int,
) -> tuple[LayerNorms, Float[Array, "M D D"]]:
    """One layer, and A_t after it.

    Args:
        config: of the decoder.
        read: what M last tokens attend to.
        numbers: of the demonstration that each token belongs to; negative for none.
        state: A_{t-1}.
        demonstrations: N.
    """
    with jax.default_matmul_precision("highest"):
        heads = head_matrices(config, read.weights)
        eye = jnp.broadcast_to(jnp.eye(config.width), state.shape)
        normed = norm_differential(config, read.weights, read.stream, eye)
        norms = _norms(read.query, read.keys, read.values, heads, numbers >= 0, read.visible)
        step = _step(_shares(read), heads, numbers, normed, state, demonstrations)
    layer_norms = LayerNorms(
        total(_host(norms.update)),
        _host(norms.layer),
        _host(step.linear),
        _host(step.gradient),
        _host(step.size),
        spectrum_of(_host(step.gram)),
    )
    return layer_norms, step.after


def total(logs: Float[np.ndarray, "*batch parts"]) -> Float[np.ndarray, "*batch"]:
    """Log norm of parts whose squares add (heads, layers), from those of the parts."""
    return np.logaddexp.reduce(2 * logs, axis=-1) / 2


def _host(a: Array | np.ndarray) -> np.ndarray:
    return np.asarray(a, np.float64)


@jax.jit
def _norms(
    query: Array, keys: Array, values: Array, heads: HeadMatrices, shown: Array, visible: Array
) -> softmax.Norms:
    grams = softmax.Grams(*(jnp.einsum("gvd,hwd->gvhw", a, a) for a in (heads.output, heads.query)))
    return jax.vmap(softmax.head_norms, (0, 0, 0, None, 0, 0))(
        query, keys, values, grams, shown, visible
    )


class _Shares(NamedTuple):
    """Each token's part of a head's Jacobian: a_j v_j and (k_j - k) / sqrt(H)."""

    values: Float[Array, "B N keys H"]
    keys: Float[Array, "B N keys H"]


@jax.jit
def _shares(read: LayerAttention) -> _Shares:
    each = read.query.shape[1] // read.keys.shape[2]
    keys, values = (jnp.repeat(a.swapaxes(1, 2), each, axis=1) for a in (read.keys, read.values))
    mean = jnp.einsum("bnt,bnth->bnh", read.attention, keys)
    centred = (keys - mean[:, :, None]) / math.sqrt(keys.shape[-1])
    seen = read.attention[..., None] > 0
    return _Shares(read.attention[..., None] * values, jnp.where(seen, centred, 0))


class _Step(NamedTuple):
    linear: Array
    gradient: Array
    size: Array
    gram: Array
    after: Array


@functools.partial(jax.jit, static_argnames="demonstrations")
def _step(
    shares: _Shares,
    heads: HeadMatrices,
    numbers: Int[Array, "B keys"],
    normed: Float[Array, "B D D"],
    state: Float[Array, "B D D"],
    demonstrations: int,
) -> _Step:
    """dW_t and G_t of every prompt, one at a time, and the Gram matrix of the N gradients."""

    def one(inputs: tuple[Array, ...]) -> _Step:
        values, keys, number, normed, state = inputs
        member = (number[:, None] == jnp.arange(demonstrations)).astype(values.dtype)
        core = jnp.einsum("ti,ntv,ntw->invw", member, values, keys)
        right = jnp.einsum("nwd,de->nwe", heads.query, normed)
        update = jnp.einsum("nvd,nvw,nwe->de", heads.output, core.sum(0), right)
        onward = jnp.einsum("nwd,de->nwe", right, state)
        each = jnp.einsum("invw,nwe->inve", core, onward)
        each = demonstrations * jnp.einsum("nvd,inve->ide", heads.output, each)
        gradient = each.mean(0)
        gram = jnp.einsum("ide,jde->ij", each - gradient, each - gradient)
        linear, size, whole = ((a**2).sum() for a in (update, gradient, state))
        return _Step(linear, size, whole, gram, state + gradient)

    return jax.lax.map(one, (*shares, numbers, normed, state))


def spectrum_of(gram: Float[np.ndarray, "M N N"]) -> Float[np.ndarray, "M N"]:
    """Eigenvalues of (1/N) sum (g_i - G)(g_i - G)^T from the centred gradients' Gram matrix.

    Descending; what rounding leaves of a zero is 0.
    """
    eigenvalues = np.linalg.eigvalsh(gram / gram.shape[-1])[:, ::-1]
    rounding = 1e-6 * np.abs(eigenvalues).max(axis=1, keepdims=True)
    return np.where(eigenvalues > rounding, eigenvalues, 0.0)
