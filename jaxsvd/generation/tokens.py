"""Greedy and sampled decoding with a cache of keys and values, a batch of prompts at a time.

Prompts are padded on the left, so that every row writes its next token into the same column.
Positions count from each row's own first token; padding is of another segment and never seen,
and the columns that are not written yet stand behind the query, where causality hides them.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Float32, Int, Key, PRNGKeyArray

from jaxsvd.devices.sharding import everywhere, rows_over
from jaxsvd.models.attention import KeyValues, Places
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Decoder

BATCH = 16
"""Prompts that are continued together."""

CHUNK = 16
"""Tokens between two looks at what was written, where a text may end a row."""


class Decoding(NamedTuple):
    """A batch that is being continued.

    Attributes:
        tokens: prompts, what was written, and room for more.
        pads: how many columns of padding stand before each prompt.
        cache: keys and values of every layer, ``[B, T, K, H]``, up to ``column``.
        logits: of the next token.
        column: that it will stand in.
        done: rows that are complete.
    """

    tokens: Int[Array, "B T"]
    pads: Int[Array, " B"]
    cache: list[KeyValues]
    logits: Float32[Array, "B V"]
    column: Int[Array, ""]
    done: Bool[Array, " B"]


def next_tokens(
    logits_BV: Float[Array, "B V"],
    temperature: float | Float[Array, ""],
    keys_B: Key[Array, " B"],
) -> Int[Array, " B"]:
    """The likeliest token at temperature 0, else one drawn from softmax(logits / temperature).

    Drawn by the Gumbel-max rule: the largest of logits / temperature + Gumbel noise.

    Args:
        logits_BV: of every token.
        temperature: 0 or more.
        keys_B: a key for each row.
    """

    def drawn() -> Array:
        scaled_BV = logits_BV / temperature
        return jax.vmap(jax.random.categorical)(keys_B, scaled_BV)

    greedy = jnp.argmax(logits_BV, axis=-1)
    return jax.lax.cond(temperature > 0, drawn, lambda: greedy).astype(jnp.int32)


def _places(config: DecoderConfig, pads_B: Array, columns: int) -> Places:
    positions_BT = jnp.arange(columns) - pads_B[:, None]
    return Places.of(config, jnp.maximum(positions_BT, 0), (positions_BT >= 0).astype(jnp.int32))


def _read(
    decoder: Decoder, tokens_BQ: Array, places: Places, column: Array | int, cache: list[KeyValues]
) -> tuple[Float32[Array, "B V"], list[KeyValues]]:
    """Read tokens that stand from ``column`` on: logits after the last of them, and the cache."""
    batch, count = tokens_BQ.shape
    columns_BQ = jnp.broadcast_to(column + jnp.arange(count), (batch, count))
    queries = places.at(columns_BQ)
    x_BQD, written = decoder.embedding(tokens_BQ, queries.positions), []
    for block, known in zip(decoder.blocks, cache, strict=True):
        own = block.states(x_BQD, queries)
        states = KeyValues(
            *(
                jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), column, axis=1)
                for old, new in zip(known, own, strict=True)
            )
        )
        x_BQD = block.feed(x_BQD, block.attend(x_BQD, queries, states, places))
        written.append(states)
    return decoder.logits(x_BQD[:, -1]), written


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _begin(
    graph: nnx.GraphDef, state: nnx.State, prompts: Array, pads: Array, room: int, mesh: Mesh | None
) -> Decoding:
    """Read the prompts ``[B, T]``; ``room`` columns follow them."""
    prompts_BT, pads_B = rows_over(mesh, (jnp.asarray(prompts), jnp.asarray(pads)))
    decoder = nnx.merge(graph, state)
    batch, columns = prompts_BT.shape
    tokens_BT = jnp.pad(prompts_BT, ((0, 0), (0, room)))
    places = _places(decoder.config, pads_B, columns + room)

    def empty(block: nnx.Module) -> KeyValues:
        first = jax.tree.map(lambda x: x[:, :1], places)
        x_B1D = decoder.embedding(tokens_BT[:, :1], first.positions)
        shapes = jax.eval_shape(lambda x: block.states(x, first), x_B1D)  # pyright: ignore
        return KeyValues(
            *(jnp.zeros((batch, columns + room, *s.shape[2:]), s.dtype) for s in shapes)
        )

    cache = [empty(block) for block in decoder.blocks]
    logits_BV, cache = _read(decoder, prompts_BT, places, 0, cache)
    done = jnp.zeros(batch, bool)
    return Decoding(tokens_BT, pads_B, cache, logits_BV, jnp.int32(columns), done)


@functools.partial(jax.jit, static_argnums=(0, 7), donate_argnums=2)
def _advance(
    graph: nnx.GraphDef,
    state: nnx.State,
    decoding: Decoding,
    end: Array,
    stops: Array,
    temperature: Array,
    keys_B: Key[Array, " B"],
    mesh: Mesh | None,
) -> Decoding:
    """Write tokens up to column ``end``, or until every row wrote one of ``stops``."""
    decoder = nnx.merge(graph, state)
    places = _places(decoder.config, decoding.pads, decoding.tokens.shape[1])

    def more(now: Decoding) -> Array:
        return (now.column < end) & ~now.done.all()

    def step(now: Decoding) -> Decoding:
        # By the token's own position, so that a row draws the same in any batch.
        keys = jax.vmap(jax.random.fold_in)(keys_B, now.column - now.pads)
        tokens_B1 = next_tokens(now.logits, temperature, keys)[:, None]
        tokens_BT = jax.lax.dynamic_update_slice_in_dim(now.tokens, tokens_B1, now.column, axis=1)
        done = now.done | (tokens_B1 == stops).any(axis=-1)
        logits_BV, cache = _read(decoder, tokens_B1, places, now.column, now.cache)
        return Decoding(tokens_BT, now.pads, cache, logits_BV, now.column + 1, done)

    return everywhere(mesh, jax.lax.while_loop(more, step, decoding))


def _rounded(count: int) -> int:
    """Up to one of few lengths, so that few programs are compiled."""
    step = max(8, 1 << max(0, count.bit_length() - 3))
    return -(-count // step) * step


def continued(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_tokens: Sequence[int] = (),
    temperature: float = 0.0,
    key: PRNGKeyArray | None = None,
    complete: Callable[[list[int]], bool] | None = None,
    batch: int = BATCH,
    mesh: Mesh | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """What a decoder writes after each prompt, as soon as a batch of them is complete.

    Args:
        decoder: with the weights.
        prompts: token ids, at least one each; with ``max_new_tokens`` within the context.
        max_new_tokens: of each prompt, at least 1.
        stop_tokens: each ends a row, and is the last token of it.
        temperature: 0 for the likeliest token, else that of the softmax which tokens are drawn of.
        key: of the draws; those of prompt i are by ``fold_in(key, i)``, whatever stands beside it.
        complete: whether what was written ends the row, for ends that are not a token; called
            with it every few tokens, so a row may be longer than it needs.
        batch: most prompts at a time.
        mesh: the devices that share the weights; None for one.

    Yields:
        The position of a prompt and the tokens after it, the stop token included.
    """
    key = jax.random.key(0) if key is None else key
    graph, state = nnx.split(decoder)
    stops = np.asarray(sorted(set(stop_tokens)) or [-1], np.int32)
    # Those of similar length together; the longest first, where memory is shortest.
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    room = _rounded(max_new_tokens)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        columns = _rounded(max(len(prompts[i]) for i in chosen))
        rows = np.zeros((batch if len(order) > batch else len(chosen), columns), np.int32)
        # Rows of no prompt fill the last batch up: they hold one token, and are done at once.
        pads = np.full(len(rows), columns - 1, np.int32)
        for row, i in enumerate(chosen):
            pads[row] = columns - len(prompts[i])
            rows[row, pads[row] :] = prompts[i]
        numbers = np.asarray([*chosen, *[0] * (len(rows) - len(chosen))], np.uint32)
        keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
        decoding = _begin(graph, state, rows, pads, room, mesh)
        spare = np.arange(len(rows)) >= len(chosen)
        decoding = decoding._replace(done=jnp.asarray(spare))
        last, end = columns + max_new_tokens, columns
        written: list[list[int]] = []
        while end < last:
            end = last if complete is None else min(end + CHUNK, last)
            decoding = _advance(
                graph,
                state,
                decoding,
                jnp.int32(end),
                stops,
                jnp.float32(temperature),
                keys_B,
                mesh,
            )
            tokens, done = np.asarray(decoding.tokens), np.array(decoding.done)
            upto = int(decoding.column)
            written = [_to_stop(row[columns:upto], stops) for row in tokens[: len(chosen)]]
            if complete is not None:
                done[: len(chosen)] |= [complete(row) for row in written]
                decoding = decoding._replace(done=jnp.asarray(done))
            if done.all():
                break
        yield from zip(chosen, written, strict=True)


def _to_stop(row: Int[np.ndarray, " T"], stops: Int[np.ndarray, " S"]) -> list[int]:
    """Tokens up to the first stop token, which is kept."""
    ends = np.flatnonzero(np.isin(row, stops))
    return [int(token) for token in (row[: ends[0] + 1] if len(ends) else row)]
