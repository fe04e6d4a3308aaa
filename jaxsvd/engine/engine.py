"""Scores of many requests under many variants of the weights, computing what is shared once.

The untouched model is one pass from bottom to top, and every variant branches off it at the lowest
layer that it touches. What a group of requests shares (its prefix) and what a pass computes are in
:mod:`jaxsvd.engine.passes`, the jitted pieces in :mod:`jaxsvd.engine.kernels`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxsvd.devices.sharding import WHOLE, axes_in, place
from jaxsvd.engine.kernels import Weights
from jaxsvd.engine.limits import PACKED, Limits
from jaxsvd.engine.packing import Batch, Shape, choose_shape, pack
from jaxsvd.engine.passes import Done, Pass, nothing_done
from jaxsvd.engine.requests import Group, Request, grouped
from jaxsvd.engine.variants import (
    UNTOUCHED,
    Place,
    Replacement,
    Scored,
    Variants,
    blocks_with,
)
from jaxsvd.engine.workers import workers
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Decoder
from jaxsvd.models.lowrank import from_factors
from jaxsvd.models.matrices import part

BATCHES_A_CHUNK = 64
"""Batches that a search takes through all its rates before it goes on: progress shows soon."""


@dataclass(frozen=True)
class Engine:
    """The weights of a model, laid out for the jitted pieces.

    Attributes:
        config: of the decoder.
        blocks: weights by layer.
        embedding: of tokens, and of positions where they are learned.
        head: final norm and unembedding.
        mesh: where the weights are; None for one device (:mod:`jaxsvd.devices.sharding`).
    """

    config: DecoderConfig
    blocks: tuple[Weights, ...]
    embedding: Weights
    head: Weights
    mesh: Mesh | None = None

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        mesh: Mesh | None = None,
        factors: Mapping[Place, tuple[Array, Array]] | None = None,
    ) -> "Engine":
        """The engine of a decoder; shares its arrays.

        Args:
            decoder: with the weights.
            mesh: where they are.
            factors: matrices that are products of two, ``[rows, rank]`` and ``[rank, columns]``;
                they are multiplied as such where that is fewer operations.
        """
        blocks = [nnx.to_pure_dict(nnx.state(block)) for block in decoder.blocks]
        low: dict[Place, Replacement] = {}
        for (layer, name), (left, right) in (factors or {}).items():
            weight = blocks[layer][part(name)][name]["weight"]
            if (replacement := from_factors(weight, left, right)) is not None:
                low[layer, name] = replacement
        return cls(
            decoder.config,
            blocks_with(blocks, low, mesh),
            nnx.to_pure_dict(nnx.state(decoder.embedding)),
            nnx.to_pure_dict(nnx.state(decoder.head)),
            mesh,
        )

    @property
    def last(self) -> int:
        """The last layer."""
        return self.config.layers - 1

    def matrix(self, layer: int, name: str) -> Float[Array, "rows columns"]:
        """A truncatable matrix, ``[out, in]``."""
        return self.blocks[layer][part(name)][name]["weight"]

    def everywhere(self, x: ArrayLike) -> Array:
        """An array of the host on the device, or on all of them."""
        return jnp.asarray(x) if self.mesh is None else place(x, self.mesh, WHOLE)

    def score(
        self, requests: Sequence[Request], variants: Variants = UNTOUCHED
    ) -> Iterator[Scored]:
        """Score every request under every variant of the weights.

        Args:
            requests: of any kinds and numbers of continuations.
            variants: each may replace matrices of several layers.

        Yields:
            Scores as soon as they are known, each once.
        """
        return self.score_groups(grouped(requests), variants)

    def score_groups(
        self,
        groups: Sequence[Group],
        variants: Variants = UNTOUCHED,
        *,
        done: Done = nothing_done,
        shape: Shape | None = None,
        limits: Limits | None = None,
    ) -> Iterator[Scored]:
        """Score requests that are grouped already; see :meth:`score`.

        Args:
            groups: the requests.
            variants: of the weights.
            done: which scores are known already. Batches without any other are skipped; in the
                rest known ones keep their places, so that the others get the same scores to
                the last bit.
            shape: of the batches; chosen from the requests and the limits if left out.
            limits: of memory and batches; those of the device if left out.

        Yields:
            Scores as soon as they are known; also of those done that share a batch with others.
        """
        if not groups:
            return
        axes = axes_in(self.mesh)
        longest = max(len(group.prefix) for group in groups)
        limits = limits or Limits.of_device(self.mesh).fitted(self.config, longest + PACKED, axes)
        shape = shape or choose_shape(groups, limits.batch_tokens, width=self.config.width)
        size = self._chunk_size(variants, shape, limits)
        # Executions that exchange something must reach all devices in one order: one thread.
        with workers(limits.workers if self.mesh is None else 0) as pool:
            for group in groups:
                batches = pack(group.lines, shape, rows_multiple=axes.data)
                for chunk in _chunks(batches, size):
                    yield from Pass.of(self, group, chunk, pool).score(variants, done)

    def _chunk_size(self, variants: Variants, shape: Shape, limits: Limits) -> int:
        """Batches of one pass, by the memory that a batch's stream takes.

        Kept are the stream before a layer, after its attention and after its MLP, in float32.
        """
        most = limits.stream_bytes // (3 * 4 * self.config.width * shape.rows * shape.tokens)
        several = len({replaced for replaced in variants.replaced if replaced}) > 1
        return max(1, most if several else min(most, BATCHES_A_CHUNK))


def _chunks(batches: Sequence[Batch], size: int) -> Iterator[Sequence[Batch]]:
    for start in range(0, len(batches), size):
        yield batches[start : start + size]
