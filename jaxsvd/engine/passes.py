"""One pass of a group's batches through the model, and the branches off it.

All contexts of a group share a prefix, whose keys and values are computed once; a variant shares
everything below the lowest layer that it touches, and that layer's attention too if only its MLP is
replaced there. In the last layer queries and MLP are computed only where something is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Float32

from jaxsvd.engine import kernels
from jaxsvd.engine.kernels import PrefixLayer, Reads, TokenRows, Weights
from jaxsvd.engine.packing import Batch, padded_length
from jaxsvd.engine.requests import Group
from jaxsvd.engine.variants import Scored, Variants, blocks_with
from jaxsvd.engine.workers import Workers
from jaxsvd.models.attention import Prefix
from jaxsvd.models.matrices import part

if TYPE_CHECKING:
    from jaxsvd.engine.engine import Engine


Done = Callable[[int, int], bool]
"""Whether the score of a variant and a request is known already."""


def nothing_done(variant: int, request: int) -> bool:
    """No score is known."""
    del variant, request
    return False


class _At(NamedTuple):
    """A batch in a layer of the untouched model: the stream before it, and what it does to it."""

    x: Float[Array, "B T D"]
    rows: TokenRows
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
        group: the batches' lines and their prefix.
        batches: to be scored.
        workers: do it.
        prefix: the stream of the prefix before the first layer, padded.
        exists: which of its positions are tokens.
    """

    engine: "Engine"
    group: Group
    batches: Sequence[Batch]
    workers: Workers
    prefix: Float[Array, "P D"]
    exists: Bool[Array, " P"]

    @classmethod
    def of(
        cls,
        engine: "Engine",
        group: Group,
        batches: Sequence[Batch],
        workers: Workers,
    ) -> "Pass":
        """A pass of some batches of a group."""
        length = len(group.prefix)
        padded = np.zeros(padded_length(length), np.int32)
        padded[:length] = group.prefix
        x = kernels.embed_prefix(engine.config, engine.embedding, padded, engine.mesh)
        exists = engine.everywhere(np.arange(len(padded)) < length)
        return cls(engine, group, batches, workers, x, exists)

    @property
    def _last(self) -> int:
        return self.engine.config.layers - 1

    def score(self, variants: Variants, done: Done) -> Iterator[Scored]:
        """Every variant; see :meth:`jaxsvd.engine.engine.Engine.score_groups`."""
        wanted = self._wanted(len(variants.replaced), done)
        base = [v for v in wanted if not variants.replaced[v]]
        branching = variants.by_layer(wanted)
        stops = branching.keys() | ({self._last} if base else set())
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
            for alike in branching.get(stop, ()):
                yield from self._branch(stop, variants, alike, wanted, at, prefix)
            reached = stop
        for b in needed if base else ():
            values = self._read(self.batches[b], at[b].reads.after)
            for request, scores in self._by_request(self.batches[b], values):
                for v in base:
                    if b in wanted[v]:
                        yield Scored(v, request, scores)

    def _wanted(self, variants: int, done: Done) -> Mapping[int, Sequence[int]]:
        """Which batches have something to score, by variant."""
        requests = [
            {self.group.lines[i].request for i in np.unique(batch.lines[batch.lines >= 0])}
            for batch in self.batches
        ]
        wanted = {
            v: [b for b, within in enumerate(requests) if not all(done(v, r) for r in within)]
            for v in range(variants)
        }
        return {v: batches for v, batches in wanted.items() if batches}

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
        layer: int,
        variants: Variants,
        alike: Sequence[int],
        wanted: Mapping[int, Sequence[int]],
        at: Mapping[int, _At],
        prefix: _PrefixAt,
    ) -> Iterator[Scored]:
        """Variants that replace the same matrices, each from the lowest layer of these up."""
        replaced = variants.replaced[alike[0]]
        shared = all(part(name) == "mlp" for i, name in replaced if i == layer)
        above = {(i == self._last, part(name)) for i, name in replaced if i > layer}
        kind = ("branch", shared, layer == self._last, frozenset(above))
        for v, matrices in zip(alike, variants.make(alike), strict=True):
            blocks = blocks_with(self.engine.blocks, matrices, self.engine.mesh)
            states = self._branch_prefix(layer, blocks, shared, prefix)
            read = partial(self._branch_batch, layer, blocks, shared, states, at)
            for b, values in zip(wanted[v], self.workers.map(kind, read, wanted[v]), strict=True):
                for request, scores in self._by_request(self.batches[b], values):
                    yield Scored(v, request, scores)

    def _branch_prefix(
        self, layer: int, blocks: Sequence[Weights], shared: bool, prefix: _PrefixAt
    ) -> Mapping[int, Prefix]:
        """Keys and values of the prefix from the branching layer up."""
        effect = prefix.effect
        if not shared:
            effect = self._prefix_layer(blocks[layer], layer, prefix.x)
        elif layer < self._last:
            config, mesh = self.engine.config, self.engine.mesh
            x, attended = prefix.x[None], effect.attended[None]
            after = kernels.feed(config, blocks[layer], x, attended, mesh)[0]
            effect = effect._replace(after=after)
        states = {layer: Prefix(effect.states, self.exists)}
        for above in range(layer + 1, self._last + 1):
            effect = self._prefix_layer(blocks[above], above, effect.after)
            states[above] = Prefix(effect.states, self.exists)
        return states

    def _branch_batch(
        self,
        layer: int,
        blocks: Sequence[Weights],
        shared: bool,
        states: Mapping[int, Prefix],
        at: Mapping[int, _At],
        b: int,
    ) -> Float32[np.ndarray, "rows reads ..."]:
        """What is read of a batch under a variant."""
        x, rows, reads = at[b]
        if shared:
            config, mesh = self.engine.config, self.engine.mesh
            y = kernels.feed(config, blocks[layer], reads.before, reads.attended, mesh)
        else:
            y = self._layer(blocks[layer], layer, x, rows, states[layer]).after
        for above in range(layer + 1, self._last + 1):
            y = self._layer(blocks[above], above, y, rows, states[above]).after
        return self._read(self.batches[b], y)

    def _embed(self, batch: Batch) -> tuple[Array, TokenRows]:
        return kernels.embed(
            self.engine.config,
            self.engine.embedding,
            batch.tokens,
            batch.positions + len(self.group.prefix),
            batch.segments,
            batch.continuations,
            batch.reads,
            self.engine.mesh,
        )

    def _layer(
        self, weights: Weights, layer: int, x: Array, rows: TokenRows, prefix: Prefix
    ) -> Reads:
        config, mesh = self.engine.config, self.engine.mesh
        kind = config.kind(layer)
        if layer == self._last:
            return kernels.last_layer(config, kind, weights, x, rows, prefix, mesh)
        return Reads(x, *kernels.layer(config, kind, weights, x, rows, prefix, mesh))

    def _prefix_layer(self, weights: Weights, layer: int, x: Array) -> PrefixLayer:
        config, mesh = self.engine.config, self.engine.mesh
        kind = config.kind(layer)
        if layer == self._last:  # nothing reads the prefix's stream any more
            return PrefixLayer(x, x, kernels.prefix_states(config, kind, weights, x, mesh))
        return kernels.prefix_layer(config, kind, weights, x, mesh)

    def _read(self, batch: Batch, x_BRD: Array) -> Float32[np.ndarray, "rows reads ..."]:
        """Logits or log-probabilities, on the host."""
        engine, group = self.engine, self.group
        arguments = engine.config, engine.head, engine.embedding, x_BRD
        if group.kind == "label tokens":
            labels = np.asarray(group.labels, np.int32)
            return np.asarray(kernels.label_logits(*arguments, labels, engine.mesh))
        if group.kind == "mean raw logit":
            return np.asarray(kernels.mean_logits(*arguments, engine.mesh))
        if group.kind == "log-likelihood and shortfall":
            both = kernels.log_probabilities_and_shortfalls
            return np.asarray(both(*arguments, batch.targets, engine.mesh))
        return np.asarray(kernels.log_probabilities(*arguments, batch.targets, engine.mesh))

    def _by_request(
        self, batch: Batch, values: Float32[np.ndarray, "rows reads ..."]
    ) -> Iterator[tuple[int, Float32[np.ndarray, " continuations"]]]:
        """The requests of a batch and their scores, from what was read."""
        used = batch.lines >= 0
        chosen, where = np.unique(batch.lines[used], return_inverse=True)
        lines = [self.group.lines[i] for i in chosen]
        if self.group.kind == "label tokens":
            # One read a line, in the order of the slots.
            scores = list(values[used][np.argsort(where, kind="stable")])
        else:
            ends = np.cumsum([line.count for line in lines])
            cells = np.append(0, ends)[where] + batch.scored[used]
            read = values[used].reshape(len(cells), -1)
            sums = [np.bincount(cells, column, minlength=ends[-1]) for column in read.T]
            if self.group.kind in ("mean log-likelihood", "mean raw logit"):
                sums = [column / np.bincount(cells, minlength=ends[-1]) for column in sums]
            columns = [np.split(column.astype(np.float32), ends[:-1]) for column in sums]
            scores = [np.concatenate(of_line) for of_line in zip(*columns, strict=True)]
        for line, line_scores in zip(lines, scores, strict=True):
            yield line.request, line_scores
