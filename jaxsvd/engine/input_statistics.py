"""Moments of what the matrices of a decoder read, from one plain pass over some rows of tokens.

Truncations that weigh a matrix's columns by its inputs are made from them
(:mod:`jaxsvd.edits.calibrated`).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Float64

from jaxsvd.engine.variants import Place
from jaxsvd.models.attention import Places
from jaxsvd.models.decoder import Block, Decoder
from jaxsvd.models.layers import Linear
from jaxsvd.models.matrices import part
from jaxsvd.runtime.progress import SILENT, Progress

BATCH_TOKENS = 1024
"""Tokens of a batch; its sums are float32, those of all batches float64."""

MULTIPLE = 64
"""Rows are padded to a multiple of so many tokens."""

SAME_INPUT = {"k_proj": "q_proj", "v_proj": "q_proj", "fc_up": "fc_in"}
"""Matrices that read what another one reads."""


class Moments(NamedTuple):
    """Of the inputs of one matrix, over all tokens, not centred.

    Attributes:
        second: mean of ``x x^T``.
        magnitude: mean of ``|x_j|``.
    """

    second: Float64[np.ndarray, "inputs inputs"]
    magnitude: Float64[np.ndarray, " inputs"]


@dataclasses.dataclass(frozen=True, eq=False)
class InputStatistics:
    """Moments of the inputs of some matrices.

    Attributes:
        moments: by layer, counted from 0, and matrix; those that read the same share one.
        tokens: how many they are means over.
        source: what the tokens were, for records: ``"256 train examples of sst2, seed 0"``.
    """

    moments: Mapping[Place, Moments]
    tokens: int
    source: str


def input_statistics(
    decoder: Decoder,
    rows: Sequence[Sequence[int]],
    places: Iterable[Place],
    *,
    source: str,
    progress: Progress = SILENT,
) -> InputStatistics:
    """Moments of what some matrices of the untouched decoder read.

    Args:
        decoder: whose matrices they are.
        rows: token ids, each row a sequence of its own, none longer than the context.
        places: layers, counted from 0, and matrices.
        source: what the rows are.
        progress: where to show it.

    Raises:
        ValueError: there are no tokens.
    """
    places = list(dict.fromkeys(places))
    readers: dict[int, set[str]] = {}
    for layer, name in places:
        readers.setdefault(layer, set()).add(SAME_INPUT.get(name, name))
    tokens = sum(map(len, rows))
    if not tokens:
        raise ValueError("there are no tokens to take statistics of")
    blocks = [nnx.split(block) for block in decoder.blocks[: 1 + max(readers, default=-1)]]
    sums: dict[Place, Moments] = {}
    with progress.bar("activations", len(rows), "rows") as advance:
        for ids_BT, mask_BT in _batches(rows):
            positions_BT = jnp.maximum(jnp.cumsum(mask_BT, axis=-1) - 1, 0)
            at = Places.of(decoder.config, positions_BT, jnp.asarray(mask_BT, jnp.int32))
            x_BTD = decoder.embedding(jnp.asarray(ids_BT), positions_BT)
            for layer, (graph, state) in enumerate(blocks):
                names = tuple(sorted(readers.get(layer, ())))
                x_BTD, statistics = _layer(graph, names, state, x_BTD, at, jnp.asarray(mask_BT))
                for name, batch in statistics.items():
                    new = Moments(*(np.asarray(x, np.float64) for x in batch))
                    old = sums.get((layer, name))
                    both = new if old is None else Moments(*map(np.add, old, new))
                    sums[layer, name] = both
            advance(int(mask_BT.any(axis=1).sum()))
    means = {place: Moments(*(x / tokens for x in total)) for place, total in sums.items()}
    moments = {(layer, name): means[layer, SAME_INPUT.get(name, name)] for layer, name in places}
    return InputStatistics(moments, tokens, source)


class _Recorder(nnx.Module):
    """Stands where a projection stands and keeps what it reads, rounded as it reads it."""

    def __init__(self, linear: Linear):
        self.linear = linear
        self.read = nnx.data(None)

    @property
    def weight(self) -> nnx.Param:
        return self.linear.weight

    def __call__(self, x: Float32[Array, "*batch in"]) -> Float32[Array, "*batch out"]:
        self.read = nnx.data(x.astype(self.weight[...].dtype).astype(jnp.float32))
        return self.linear(x)


@partial(jax.jit, static_argnums=(0, 1))
def _layer(
    graph: nnx.GraphDef,
    names: tuple[str, ...],
    state: nnx.State,
    x_BTD: Float[Array, "B T D"],
    places: Places,
    mask_BT: Bool[Array, "B T"],
) -> tuple[Float[Array, "B T D"], dict[str, tuple[Array, Array]]]:
    """The stream after a layer, and sums over a batch for the matrices that are named."""
    block: Block = nnx.merge(graph, state)
    recorders = {}
    for name in names:
        half = getattr(block, part(name))
        recorders[name] = _Recorder(getattr(half, name))
        setattr(half, name, recorders[name])
    after_BTD, _ = block(x_BTD, places)
    sums = {}
    for name, recorder in recorders.items():
        read_BTI = jnp.where(mask_BT[..., None], recorder.read, 0)
        second = jnp.einsum("bti,btj->ij", read_BTI, read_BTI, precision=jax.lax.Precision.HIGHEST)
        sums[name] = second, jnp.abs(read_BTI).sum(axis=(0, 1))
    return after_BTD, sums


def _batches(
    rows: Sequence[Sequence[int]],
) -> Iterable[tuple[np.ndarray, Bool[np.ndarray, "B T"]]]:
    """Ids and masks of one shape, the last rows of the last batch being padding."""
    length = -(-max(map(len, rows)) // MULTIPLE) * MULTIPLE
    size = min(len(rows), max(1, BATCH_TOKENS // length))
    for start in range(0, len(rows), size):
        ids, mask = np.zeros((size, length), np.int32), np.zeros((size, length), bool)
        for i, row in enumerate(rows[start : start + size]):
            ids[i, : len(row)], mask[i, : len(row)] = row, True
        yield ids, mask
