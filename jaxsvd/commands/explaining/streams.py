"""The residual streams of an untouched and an edited decoder, as sums over halves of layers.

Prompts are computed whole and without shared prefixes: every piece is the decoder's own.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxsvd.models.attention import Places
from jaxsvd.models.decoder import Block, Decoder
from jaxsvd.models.matrices import part
from jaxsvd.selection.gradient import Rows


class Streams(NamedTuple):
    """At the position that is read, of a batch of prompts.

    Attributes:
        final_BD: the untouched stream after the last layer.
        direct_BD: what the edited matrices of their layer change by themselves.
        later_LBD: what each half of a layer changes besides, from the edited layer's MLP on:
            that MLP, then attention and MLP of every later layer.
        before_BTD: the untouched stream before the edited layer, at all positions.
        attended_BTD: likewise after its attention.
    """

    final_BD: Float[Array, "B D"]
    direct_BD: Float[Array, "B D"]
    later_LBD: Float[Array, "L B D"]
    before_BTD: Float[Array, "B T D"]
    attended_BTD: Float[Array, "B T D"]


def places_of(decoder: Decoder, rows: Rows) -> Places:
    """Where the tokens of padded prompts stand."""
    mask_BT = jnp.asarray(rows.mask_BT)
    positions_BT = jnp.maximum(jnp.cumsum(mask_BT, axis=-1) - 1, 0)
    return Places.of(decoder.config, positions_BT, mask_BT.astype(jnp.int32))


def read(x_BTD: Float[Array, "B T D"], columns_B: Int[Array, " B"]) -> Float[Array, "B D"]:
    """The stream at one position of each row."""
    return jnp.take_along_axis(x_BTD, columns_B[:, None, None], axis=1)[:, 0]


def halves(
    block: Block, x_BTD: Float[Array, "B T D"], places: Places
) -> tuple[Float[Array, "B T D"], Float[Array, "B T D"]]:
    """The stream after attention and after the MLP."""
    attended = block.attend(x_BTD, places, block.states(x_BTD, places), places)
    return attended, block.feed(x_BTD, attended)


@functools.partial(jax.jit, static_argnums=(0, 1, 5))
def streams(
    graph: nnx.GraphDef,
    edited_graph: nnx.GraphDef,
    state: nnx.State,
    edited_state: nnx.State,
    rows: Rows,
    layer: int,
) -> Streams:
    """Both decoders on one batch.

    Args:
        graph, state: of the untouched decoder, whose layers add to the stream.
        edited_graph, edited_state: of the one with edits in one layer.
        rows: one read each.
        layer: the edited one.
    """
    decoder, edited = nnx.merge(graph, state), nnx.merge(edited_graph, edited_state)
    places, columns_B = places_of(decoder, rows), jnp.asarray(rows.columns_BR)[:, 0]
    here = functools.partial(read, columns_B=columns_B)
    positions_BT = places.positions
    x_BTD = y_BTD = decoder.embedding(jnp.asarray(rows.ids_BT), positions_BT)
    before_BTD = attended_BTD = x_BTD
    direct_BD = jnp.zeros_like(here(x_BTD))
    later = []
    for number, (block, changed) in enumerate(zip(decoder.blocks, edited.blocks, strict=True)):
        attended, fed = halves(block, x_BTD, places)
        if number < layer:
            x_BTD = y_BTD = fed
            continue
        other_attended, other_fed = halves(changed, y_BTD, places)
        of_attn = here(other_attended - y_BTD) - here(attended - x_BTD)
        of_mlp = here(other_fed - other_attended) - here(fed - attended)
        if number == layer:
            before_BTD, attended_BTD = x_BTD, attended
            # The edited MLP on what the untouched one reads: no answer to the attention's change.
            alone = here(changed.feed(x_BTD, attended)) - here(fed)
            direct_BD = of_attn + alone
            later.append(of_mlp - alone)
        else:
            later += [of_attn, of_mlp]
        x_BTD, y_BTD = fed, other_fed
    return Streams(here(x_BTD), direct_BD, jnp.stack(later), before_BTD, attended_BTD)


def margin(
    decoder: Decoder, stream_BD: Float[Array, "*batch D"], labels: Int[Array, " 2"]
) -> Float[Array, "*batch"]:
    """The logit difference of two labels, second less first."""
    logits = decoder.head(stream_BD, decoder.embedding.tokens[...], labels)
    return logits[..., 1] - logits[..., 0]


@functools.partial(jax.jit, static_argnums=(0,))
def margins(
    graph: nnx.GraphDef, state: nnx.State, streams: Streams, labels: Int[Array, " 2"]
) -> Float[Array, "steps B"]:
    """Logit differences as the changes are added to the stream, one after another."""
    decoder = nnx.merge(graph, state)
    steps = jnp.concatenate([streams.final_BD[None], streams.direct_BD[None], streams.later_LBD])
    return margin(decoder, jnp.cumsum(steps, axis=0), labels)


@functools.partial(jax.jit, static_argnums=(0, 4))
def direct_gradients(
    graph: nnx.GraphDef,
    state: nnx.State,
    rows: Rows,
    streams: Streams,
    layer: int,
    factors: dict[str, tuple[Array, Array]],
    labels: Int[Array, " 2"],
) -> dict[str, Float[Array, "B removed"]]:
    """The direct effect of removing each singular direction, to first order.

    ``-s_i u_i^T G v_i``, with G the gradient of an example's logit difference in the matrix along
    the direct path: its layer reads the untouched stream, and what the layer adds goes to the head.

    Args:
        graph, state: of the untouched decoder.
        rows: the batch.
        streams: its streams.
        layer: the edited one.
        factors: by matrix, columns ``s_i u_i`` and rows ``v_i`` of the directions.
        labels: tokens of the two.
    """
    decoder = nnx.merge(graph, state)
    places, columns_B = places_of(decoder, rows), jnp.asarray(rows.columns_BR)[:, 0]
    block_graph, block_state = nnx.split(decoder.blocks[layer])
    flat = nnx.to_flat_state(block_state)
    weights = {
        name: getattr(getattr(decoder.blocks[layer], part(name)), name).weight[...]
        for name in factors
    }

    def of_example(example: tuple) -> dict[str, Array]:
        x_TD, attended_TD, final_D, column, own = jax.tree.map(lambda a: a[None], example)

        def value(matrices: dict[str, Array]) -> Array:
            given = {f"{part(name)}.{name}.weight": value for name, value in matrices.items()}
            names = [".".join(map(str, at)) for at, _ in flat]
            values = [
                (at, leaf.replace(given[name]) if name in given else leaf)
                for name, (at, leaf) in zip(names, flat, strict=True)
            ]
            block = nnx.merge(block_graph, nnx.from_flat_state(values))
            attended = block.attend(x_TD, own, block.states(x_TD, own), own)
            # The MLP reads what it read: only what its own matrices change is direct.
            added = read(attended, column) + read(block.feed(x_TD, attended_TD), column)
            return margin(decoder, final_D + added - jax.lax.stop_gradient(added), labels)[0]

        gradients = jax.grad(value)(weights)
        return {
            name: -jnp.einsum("or,oi,ri->r", left, gradients[name].astype(left.dtype), right)
            for name, (left, right) in factors.items()
        }

    return jax.lax.map(
        of_example, (streams.before_BTD, streams.attended_BTD, streams.final_BD, columns_B, places)
    )


def inputs(
    block: Block,
    name: str,
    x_BTD: Float[Array, "B T D"],
    attended_BTD: Float[Array, "B T D"],
    places: Places,
) -> Float[np.ndarray, "B T n"]:
    """What a matrix of a block reads at every position."""
    if part(name) == "mlp":
        read_BTD = block.mlp_input(x_BTD, attended_BTD)
        return np.asarray(block.mlp.hidden(read_BTD) if name == "fc_out" else read_BTD)
    read_BTD = block.attention_input(x_BTD)
    if name != "out_proj":
        return np.asarray(read_BTD)
    own = block.attn.states(read_BTD, places)
    return np.asarray(block.attn.mixed(read_BTD, places, own, places))
