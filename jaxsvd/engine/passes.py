"""One pass of a group's batches through the model, and the branches off it.

All prompts of a group share a prefix, whose keys and values are computed once; all variants of a
layer share everything below it, and its attention too if only its MLP is exchanged. In the last
layer queries and MLP are computed only where something is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Float32

from jaxsvd.engine import kernels
from jaxsvd.engine.encoding import Encoded
from jaxsvd.engine.kernels import PrefixLayer, Reads, Rows, Weights
from jaxsvd.engine.packing import Batch, padded_length
from jaxsvd.engine.sequences import Group
from jaxsvd.engine.variants import Branches, Scored, replaced
from jaxsvd.engine.workers import Workers
from jaxsvd.models.decoder import Prefix

if TYPE_CHECKING:
    from jaxsvd.engine.engine import Engine


Done = Callable[[int, int, int], bool]
"""Whether the score of a point, a variant and a question is known already."""


def nothing_done(point: int, variant: int, question: int) -> bool:
    """No score is known."""
    del point, variant, question
    return False


Cell = tuple[int, int]
"""A point and one of its variants."""


class _At(NamedTuple):
    """A batch in a layer of the untouched model: the stream before it, and what it does to it."""

    x: Float[Array, "B T D"]
    rows: Rows
    reads: Reads


class _PrefixAt(NamedTuple):
    """The prefix in a layer of the untouched model, likewise."""

    x: Float[Array, "P D"]
    effect: PrefixLayer


@dataclass(frozen=True)
class Pass:
    """Some batches of a group, to be scored together.

    Attributes:
        engine: holds the weights.
        encoded: the questions.
        group: the batches' lines and their prefix.
        batches: to be scored.
        workers: do it.
        prefix: the stream of the prefix before the first layer, padded.
        exists: which of its positions are tokens.
    """

    engine: "Engine"
    encoded: Encoded
    group: Group
    batches: Sequence[Batch]
    workers: Workers
    prefix: Float[Array, "P D"]
    exists: Bool[Array, " P"]

    @classmethod
    def of(
        cls,
        engine: "Engine",
        encoded: Encoded,
        group: Group,
        batches: Sequence[Batch],
        workers: Workers,
    ) -> "Pass":
        """A pass of some batches of a group."""
        length = len(group.prefix)
        padded = np.zeros(padded_length(length), np.int32)
        padded[:length] = group.prefix
        x = kernels.embed_tokens(engine.embedding, padded, mesh=engine.mesh)
        exists = engine.everywhere(np.arange(len(padded)) < length)
        return cls(engine, encoded, group, batches, workers, x, exists)

    @property
    def _last(self) -> int:
        return self.engine.config.layers - 1

    def score(self, points: Sequence[Branches], done: Done) -> Iterator[Scored]:
        """Every variant of every point; see :meth:`jaxsvd.engine.engine.Engine.score`."""
        wanted = self._wanted(points, done)
        base = [(p, v) for p, v in wanted if not points[p].exchanged[v]]
        branching = sorted({p for p, v in wanted if points[p].exchanged[v]})
        stops = {points[p].layer for p in branching} | ({self._last} if base else set())
        needed = sorted({b for batches in wanted.values() for b in batches})
        at: dict[int, _At] = {}
        prefix: _PrefixAt | None = None
        reached = -1
        for stop in sorted(stops):
            # The batches follow the prefix layer by layer: what it does next needs none of them.
            states = {layer: Future[Prefix]() for layer in range(reached + 1, stop + 1)}
            climbing = self.workers.start(partial(self._climb_prefix, prefix, states))
            climb = partial(self._climb, at, states)
            at = dict(zip(needed, self.workers.map("climb", climb, needed), strict=True))
            prefix = climbing.result()
            for p in branching:
                if points[p].layer == stop:
                    yield from self._branch(p, points[p], wanted, at, prefix)
            reached = stop
        for b in needed if base else ():
            values = self._read(self.batches[b], at[b].reads.after)
            for question, scores in self._by_question(self.batches[b], values):
                for p, v in base:
                    if b in wanted[p, v]:
                        yield Scored(p, v, question, scores)

    def _wanted(self, points: Sequence[Branches], done: Done) -> Mapping[Cell, Sequence[int]]:
        """Which batches have something to score, by point and variant."""
        questions = [
            {self.group.lines[i].question for i in np.unique(batch.lines[batch.lines >= 0])}
            for batch in self.batches
        ]
        wanted = {
            (p, v): [
                b for b, asked in enumerate(questions) if not all(done(p, v, q) for q in asked)
            ]
            for p, point in enumerate(points)
            for v in range(len(point.exchanged))
        }
        return {cell: batches for cell, batches in wanted.items() if batches}

    def _climb_prefix(
        self, before: _PrefixAt | None, states: Mapping[int, Future[Prefix]]
    ) -> _PrefixAt:
        """The prefix in the last of some layers; gives its keys and values in each as they come."""
        at = before
        try:
            for layer, keys_and_values in states.items():
                x = self.prefix if at is None else at.effect.after
                at = _PrefixAt(x, self._prefix_layer(self.engine.blocks[layer], layer, x))
                keys_and_values.set_result(Prefix(at.effect.states, self.exists))
        except BaseException as error:  # whoever waits must not wait for ever
            for missing in states.values():
                if not missing.done():
                    missing.set_exception(error)
            raise
        assert at is not None
        return at

    def _climb(
        self, before: Mapping[int, _At], states: Mapping[int, Future[Prefix]], b: int
    ) -> _At:
        """A batch in the last of some layers."""
        if b in before:
            x, rows = before[b].reads.after, before[b].rows
        else:
            x, rows = self._embed(self.batches[b])
        *below, stop = states
        for layer in below:
            prefix = states[layer].result()
            x = self._layer(self.engine.blocks[layer], layer, x, rows, prefix).after
        effect = self._layer(self.engine.blocks[stop], stop, x, rows, states[stop].result())
        return _At(x, rows, effect)

    def _branch(
        self,
        p: int,
        point: Branches,
        wanted: Mapping[Cell, Sequence[int]],
        at: Mapping[int, _At],
        prefix: _PrefixAt,
    ) -> Iterator[Scored]:
        """The variants of a layer, each from there to the top."""
        for v, variant in enumerate(point.make()):
            if not variant or (p, v) not in wanted:
                continue
            weights = replaced(self.engine.blocks[point.layer], variant, self.engine.mesh)
            shared = point.attention_is_shared
            states = self._branch_prefix(point.layer, weights, shared, prefix)
            kind = ("branch", shared, point.layer == self._last)
            read = partial(self._branch_batch, point.layer, weights, shared, states, at)
            batches = wanted[p, v]
            for b, values in zip(batches, self.workers.map(kind, read, batches), strict=True):
                for question, scores in self._by_question(self.batches[b], values):
                    yield Scored(p, v, question, scores)

    def _branch_prefix(
        self, layer: int, weights: Weights, shared: bool, prefix: _PrefixAt
    ) -> Mapping[int, Prefix]:
        """Keys and values of the prefix from the branching layer up."""
        effect = prefix.effect
        if not shared:
            effect = self._prefix_layer(weights, layer, prefix.x)
        elif layer < self._last:
            x, attended = prefix.x[None], effect.attended[None]
            after = kernels.feed(self.engine.config, weights, x, attended, self.engine.mesh)[0]
            effect = effect._replace(after=after)
        states = {layer: Prefix(effect.states, self.exists)}
        for above in range(layer + 1, self._last + 1):
            effect = self._prefix_layer(self.engine.blocks[above], above, effect.after)
            states[above] = Prefix(effect.states, self.exists)
        return states

    def _branch_batch(
        self,
        layer: int,
        weights: Weights,
        shared: bool,
        states: Mapping[int, Prefix],
        at: Mapping[int, _At],
        b: int,
    ) -> Float32[np.ndarray, "rows reads ..."]:
        """What is read of a batch under a variant."""
        x, rows, reads = at[b]
        if shared:
            y = kernels.feed(
                self.engine.config, weights, reads.before, reads.attended, self.engine.mesh
            )
        else:
            y = self._layer(weights, layer, x, rows, states[layer]).after
        for above in range(layer + 1, self._last + 1):
            y = self._layer(self.engine.blocks[above], above, y, rows, states[above]).after
        return self._read(self.batches[b], y)

    def _embed(self, batch: Batch) -> tuple[Array, Rows]:
        return kernels.embed(
            self.engine.config,
            self.engine.embedding,
            batch.tokens,
            batch.positions + len(self.group.prefix),
            batch.segments,
            batch.branches,
            batch.reads,
            self.engine.mesh,
        )

    def _layer(self, weights: Weights, layer: int, x: Array, rows: Rows, prefix: Prefix) -> Reads:
        config, mesh = self.engine.config, self.engine.mesh
        if layer == self._last:
            return kernels.last_layer(config, weights, x, rows, prefix, mesh)
        return Reads(x, *kernels.layer(config, weights, x, rows, prefix, mesh))

    def _prefix_layer(self, weights: Weights, layer: int, x: Array) -> PrefixLayer:
        config, mesh = self.engine.config, self.engine.mesh
        if layer == self._last:  # nothing reads the prefix's stream any more
            return PrefixLayer(x, x, kernels.prefix_states(config, weights, x, mesh))
        return kernels.prefix_layer(config, weights, x, mesh)

    def _read(self, batch: Batch, x_BRD: Array) -> Float32[np.ndarray, "rows reads ..."]:
        """Logits or log-probabilities, on the host."""
        engine, encoded = self.engine, self.encoded
        arguments = engine.config, engine.head, engine.embedding, x_BRD
        if encoded.scoring == "label tokens":
            labels = np.asarray(encoded.label_ids, np.int32)
            return np.asarray(kernels.label_logits(*arguments, labels, engine.mesh))
        if encoded.scoring == "mean raw logit":
            return np.asarray(kernels.mean_logits(*arguments, engine.mesh))
        return np.asarray(kernels.log_probabilities(*arguments, batch.targets, engine.mesh))

    def _by_question(
        self, batch: Batch, values: Float32[np.ndarray, "rows reads ..."]
    ) -> Iterator[tuple[int, Float32[np.ndarray, " candidates"]]]:
        """The questions of a batch and their scores, from what was read."""
        used = batch.lines >= 0
        lines, where = np.unique(batch.lines[used], return_inverse=True)
        questions = [self.group.lines[line].question for line in lines]
        if self.encoded.scoring == "label tokens":
            # One read a line, in the order of the slots.
            scores = values[used][np.argsort(where, kind="stable")]
        else:
            n_candidates = len(self.encoded.questions[questions[0]].candidates)
            cells = where * n_candidates + batch.candidates[used]
            size = len(lines) * n_candidates
            scores = np.bincount(cells, values[used], minlength=size)
            if self.encoded.scoring != "sequence log-likelihood":
                scores = scores / np.bincount(cells)
            scores = scores.reshape(len(lines), n_candidates).astype(np.float32)
        yield from zip(questions, scores, strict=True)
