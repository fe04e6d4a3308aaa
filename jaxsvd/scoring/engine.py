"""Scores of many questions under many truncations of one layer, computing what is shared once.

All prompts of a group share a prefix, whose keys and values are computed once; all rates share
every layer below the truncated one, and the attention of that layer too if only its MLP is
truncated; above it each rate is a branch of its own. In the last layer queries and MLP are
computed only where something is read. See :mod:`jaxsvd.scoring.kernels` for the jitted pieces.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32

from jaxsvd.model import Model
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Prefix
from jaxsvd.modules import part
from jaxsvd.scoring import kernels
from jaxsvd.scoring.encoding import Encoded
from jaxsvd.scoring.kernels import Rows, Weights
from jaxsvd.scoring.lines import Group
from jaxsvd.scoring.packing import ROW, Batch, Shape, choose_shape, pack, round_up

TOKENS_PER_BATCH = {"cpu": 2048}
TOKENS_ON_ACCELERATOR = 16384


@dataclass(frozen=True)
class Branches:
    """Variants of one layer, scored together.

    Attributes:
        layer: counted from 0.
        variants: for each variant the matrices that differ from the model's, by name
            (:mod:`jaxsvd.modules`); an empty mapping is the model itself.
    """

    layer: int
    variants: tuple[Mapping[str, Float[Array, "rows columns"]], ...]

    @property
    def attention_is_shared(self) -> bool:
        """Whether no variant touches the attention of the layer."""
        return all(part(name) == "mlp" for variant in self.variants for name in variant)


UNTOUCHED = Branches(0, ({},))
"""The model as it is."""


def replaced(weights: Weights, matrices: Mapping[str, Any]) -> Weights:
    """The weights of a block with some of its matrices exchanged."""
    weights = {half: dict(value) for half, value in weights.items()}
    for name, matrix in matrices.items():
        half = weights[part(name)]
        half[name] = half[name] | {"weight": matrix}
    return weights


@dataclass(frozen=True)
class Engine:
    """The weights of a model, laid out for the jitted pieces.

    Attributes:
        config: of the decoder.
        blocks: weights by layer.
        embedding: V x D.
        head: final norm and unembedding.
    """

    config: DecoderConfig
    blocks: tuple[Weights, ...]
    embedding: Float[Array, "V D"]
    head: Weights

    @classmethod
    def of(cls, model: Model) -> "Engine":
        """The engine of a model; shares its arrays."""
        decoder = model.decoder
        return cls(
            model.config,
            tuple(nnx.to_pure_dict(nnx.state(block)) for block in decoder.blocks),
            decoder.embedding[...],
            nnx.to_pure_dict(nnx.state(decoder.head)),
        )

    def matrix(self, layer: int, name: str) -> Float[Array, "rows columns"]:
        """A truncatable matrix, ``[out, in]``."""
        return self.blocks[layer][part(name)][name]["weight"]

    def score(
        self,
        encoded: Encoded,
        branches: Branches = UNTOUCHED,
        *,
        done: Collection[int] = (),
        shape: Shape | None = None,
    ) -> Iterator[tuple[int, Float32[np.ndarray, "variants candidates"]]]:
        """Score every question under every variant.

        Args:
            encoded: the questions.
            branches: the variants.
            done: positions of questions that need not be scored again. They keep their places
                in the batches, so that the others get the same scores to the last bit.
            shape: of the batches; chosen from the questions and the device if left out.

        Yields:
            The position of a question and its scores, as soon as they are known; also of those
            done that share a batch with others.
        """
        if not encoded.groups:
            return
        platform = jax.devices()[0].platform
        budget = TOKENS_PER_BATCH.get(platform, TOKENS_ON_ACCELERATOR)
        shape = shape or choose_shape(encoded.groups, budget)
        blocks = [replaced(self.blocks[branches.layer], v) for v in branches.variants]
        for group in encoded.groups:
            batches = [
                batch
                for batch in pack(group.lines, shape)
                if any(group.lines[i].question not in done for i in batch.lines[batch.lines >= 0])
            ]
            if batches:
                yield from self._score_group(encoded, group, branches, blocks, batches)

    def _score_group(
        self,
        encoded: Encoded,
        group: Group,
        branches: Branches,
        blocks: Sequence[Weights],
        batches: Sequence[Batch],
    ) -> Iterator[tuple[int, Float32[np.ndarray, "variants candidates"]]]:
        prefix = _PrefixStates.compute(self, group, branches, blocks)
        for batch in batches:
            values = self._score_batch(encoded, batch, branches, blocks, prefix)
            used = batch.lines >= 0
            lines, where = np.unique(batch.lines[used], return_inverse=True)
            n_candidates = len(encoded.questions[group.lines[lines[0]].question].candidates)
            if encoded.scoring == "label tokens":
                scores = values[:, used]  # one read a line, in the order of the slots
                scores = scores[:, np.argsort(where, kind="stable")]
            else:
                cells = where * n_candidates + batch.candidates[used]
                size = len(lines) * n_candidates
                sums = [np.bincount(cells, row, minlength=size) for row in values[:, used]]
                scores = np.reshape(sums, (-1, len(lines), n_candidates))
                if encoded.scoring != "sequence log-likelihood":
                    scores = scores / np.bincount(cells).reshape(scores.shape[1:])
            for i, line in enumerate(lines):
                yield group.lines[line].question, scores[:, i].astype(np.float32)

    def _score_batch(
        self,
        encoded: Encoded,
        batch: Batch,
        branches: Branches,
        blocks: Sequence[Weights],
        prefix: "_PrefixStates",
    ) -> Float32[np.ndarray, "variants rows reads ..."]:
        config, layer, last = self.config, branches.layer, self.config.layers - 1
        x, rows = kernels.embed(
            config,
            self.embedding,
            batch.tokens,
            batch.positions + prefix.length,
            batch.segments,
            batch.branches,
            batch.reads,
        )
        for below in range(layer):
            weights = self.blocks[below]
            attended = kernels.attend(config, weights, x, rows, prefix.base[below])
            x = kernels.feed(config, weights, x, attended)
        shared = None
        if branches.attention_is_shared:
            shared = self._attended(self.blocks[layer], x, rows, prefix.base[layer], layer)
        outputs = []
        for weights, states in zip(blocks, prefix.branches, strict=True):
            before, attended = shared or self._attended(weights, x, rows, states[layer], layer)
            y = kernels.feed(config, weights, before, attended)
            for above in range(layer + 1, last + 1):
                before, attended = self._attended(self.blocks[above], y, rows, states[above], above)
                y = kernels.feed(config, self.blocks[above], before, attended)
            outputs.append(self._read(encoded, batch, y))
        return np.stack([np.asarray(output) for output in outputs])

    def _attended(
        self, weights: Weights, x: Array, rows: Rows, prefix: Prefix, layer: int
    ) -> tuple[Array, Array]:
        """The stream before and after attention; in the last layer only where it is read."""
        if layer == self.config.layers - 1:
            return kernels.attend_reads(self.config, weights, x, rows, prefix)
        return x, kernels.attend(self.config, weights, x, rows, prefix)

    def _read(self, encoded: Encoded, batch: Batch, x_BRD: Array) -> Array:
        arguments = self.config, self.head, self.embedding, x_BRD
        if encoded.scoring == "label tokens":
            return kernels.label_logits(*arguments, np.asarray(encoded.label_ids, np.int32))
        if encoded.scoring == "mean raw logit":
            return kernels.mean_logits(*arguments)
        return kernels.log_probabilities(*arguments, batch.targets)


@dataclass(frozen=True)
class _PrefixStates:
    """Keys and values of a group's prefix.

    Attributes:
        length: tokens of the prefix.
        base: by layer, of the untouched model, up to the branching layer.
        branches: for each variant, by layer, from the branching layer on.
    """

    length: int
    base: Mapping[int, Prefix]
    branches: tuple[Mapping[int, Prefix], ...]

    @classmethod
    def compute(
        cls, engine: Engine, group: Group, branches: Branches, blocks: Sequence[Weights]
    ) -> "_PrefixStates":
        config, last = engine.config, engine.config.layers - 1
        length = len(group.prefix)
        padded = np.zeros(max(round_up(length, ROW), ROW), np.int32)
        padded[:length] = group.prefix
        exists = jnp.arange(len(padded)) < length

        def step(weights: Weights, x: Array, at: int) -> tuple[Array, Prefix]:
            if at == last:  # no later layer reads the prefix's stream
                return x, Prefix(kernels.prefix_states(config, weights, x), exists)
            attended, states = kernels.prefix_attend(config, weights, x)
            return kernels.feed(config, weights, x[None], attended[None])[0], Prefix(states, exists)

        x = engine.embedding[padded].astype(jnp.float32)
        base: dict[int, Prefix] = {}
        for at in range(branches.layer):
            x, base[at] = step(engine.blocks[at], x, at)
        variants = []
        for weights in blocks:
            states: dict[int, Prefix] = {}
            y, states[branches.layer] = step(weights, x, branches.layer)
            for at in range(branches.layer + 1, last + 1):
                y, states[at] = step(engine.blocks[at], y, at)
            variants.append(states)
        # Where attention is shared, so are the keys and values that it reads.
        base[branches.layer] = variants[0][branches.layer]
        return cls(length, base, tuple(variants))
