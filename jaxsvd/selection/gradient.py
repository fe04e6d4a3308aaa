"""What truncation will do, to first order: one backward pass on some examples ranks every edit.

The loss of a question is the negative log-probability of its right candidate among all of its
candidates. With the gradient of its mean over some questions, the change that cutting a matrix to
rank r makes is - sum_{i>r} s_i u_i^T (grad_W l) v_i (:mod:`theory.first_order`; "Compress to
Impress", 2025, ranks components by the same quantity), for all ranks of all matrices at once.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Float64, Int

from jaxsvd.edits.edit import TRUNCATIONS, Edits, matrix_edits
from jaxsvd.edits.replacement import parameter_path
from jaxsvd.engine.encoding import Encoded
from jaxsvd.engine.requests import Group, Line
from jaxsvd.engine.variants import Place
from jaxsvd.model import Model
from jaxsvd.models.attention import Places
from jaxsvd.models.decoder import Decoder
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from theory.first_order import FirstOrder, first_order

EXAMPLES = 100
"""Questions of the backward pass."""

BATCH_TOKENS = 1024
"""Tokens of a batch: what a layer computes is kept for the way back."""

MULTIPLE = 64
"""Rows are padded to a multiple of so many tokens."""

Gradients = Mapping[Place, Float32[np.ndarray, "rows columns"]]
"""Of the mean loss, by layer and matrix."""


class Rows(NamedTuple):
    """Token rows of some questions: one each for labels of one token, one a candidate otherwise.

    Attributes:
        ids_BT: token ids, padded behind.
        mask_BT: False at padding.
        columns_BR: where something is read, padded with 0.
        targets_BR: the token whose log-probability is read there.
        weights_BR: what a read counts in its candidate's score; 0 at padding.
        gold_Q: positions of the right candidates; rows of a question follow each other.
    """

    ids_BT: Int[np.ndarray | Array, "B T"]
    mask_BT: Bool[np.ndarray | Array, "B T"]
    columns_BR: Int[np.ndarray | Array, "B R"]
    targets_BR: Int[np.ndarray | Array, "B R"]
    weights_BR: Float32[np.ndarray | Array, "B R"]
    gold_Q: Int[np.ndarray | Array, " Q"]


def matrix_gradients(
    model: Model,
    encoded: Encoded,
    positions: Sequence[int],
    places: Iterable[Place],
    *,
    progress: Progress = SILENT,
) -> dict[Place, Float32[np.ndarray, "rows columns"]]:
    """Gradients of the mean loss in some matrices, from one backward pass.

    Args:
        model: on one device.
        encoded: a task's questions (:class:`jaxsvd.encoded_task.EncodedTask`).
        positions: of those that are used, for example the first :data:`EXAMPLES` of validation.
        places: layers and matrices.
        progress: where to show it.

    Raises:
        UserError: the task's scores are means of raw logits, which are no likelihoods; or the
            questions differ in their number of candidates.
    """
    batches = padded_batches(encoded, positions)
    total: dict[Place, Float64[np.ndarray, "rows columns"]] = {}
    for gradients in _sums(model, encoded, batches, places, progress):
        for place, gradient in gradients.items():
            total[place] = total.get(place, 0.0) + np.asarray(gradient, np.float64)
    count = len(positions)
    return {place: (value / count).astype(np.float32) for place, value in total.items()}


def example_gradients(
    model: Model,
    encoded: Encoded,
    positions: Sequence[int],
    places: Iterable[Place],
    *,
    progress: Progress = SILENT,
) -> Iterator[Gradients]:
    """Gradients of the loss of one question after the other, a backward pass each.

    What :func:`matrix_gradients` is the mean of. Its arguments and errors are the same.
    """
    batches = padded_batches(encoded, positions, size=1)
    for gradients in _sums(model, encoded, batches, places, progress):
        yield {place: np.asarray(gradient) for place, gradient in gradients.items()}


def _sums(
    model: Model,
    encoded: Encoded,
    batches: Sequence[Rows],
    places: Iterable[Place],
    progress: Progress,
) -> Iterator[dict[Place, Float32[Array, "rows columns"]]]:
    """Gradients of the sum of each batch's losses."""
    wanted = {parameter_path(*place): place for place in places}
    graph, state = nnx.split(model.decoder)
    flat = {".".join(map(str, path)): value for path, value in nnx.to_flat_state(state)}
    matrices = {path: flat[path].get_value() for path in wanted}
    labels = jnp.asarray(encoded.label_ids, jnp.int32)
    step = _step(graph, bool(labels.size))
    count = sum(len(rows.gold_Q) for rows in batches)
    with progress.bar("gradients", count, "examples") as advance:
        for rows in batches:
            gradients = step(matrices, state, rows, labels)
            yield {wanted[path]: gradient for path, gradient in gradients.items()}
            advance(len(rows.gold_Q))


def predicted_changes(model: Model, gradients: Gradients, edits: Sequence[Edits]) -> list[float]:
    """The predicted change of the mean loss by each of some edits; 0 of the model as it is.

    Args:
        model: whose matrices they are.
        gradients: of all matrices that the edits touch.
        edits: truncations.

    Raises:
        UserError: an edit of another method.
    """
    by_variant = [matrix_edits(several, model.config) for several in edits]
    for edit in (edit for several in by_variant for edit in several):
        if edit.method not in TRUNCATIONS:
            raise UserError(f"{edit}: only truncations can be predicted by a gradient")
    ranks: dict[Place, list[int]] = {}
    for edit in (edit for several in by_variant for edit in several):
        place = edit.layer, edit.module
        ranks.setdefault(place, []).append(edit.rank_of(gradients[place].shape))
    known: dict[Place, FirstOrder] = {
        place: first_order(
            np.asarray(model.engine.matrix(*place), np.float64), gradients[place], sorted(set(kept))
        )
        for place, kept in ranks.items()
    }

    def change(place: Place, rank: int) -> float:
        number = known[place]
        return float(number.change[list(number.ranks).index(rank)])

    return [
        math.fsum(
            change((e.layer, e.module), e.rank_of(gradients[e.layer, e.module].shape))
            for e in several
        )
        for several in by_variant
    ]


def _step(
    graph: nnx.GraphDef, labels: bool
) -> Callable[[dict[str, Array], nnx.State, Rows, Int[Array, " C"]], dict[str, Array]]:
    """The gradient of the sum of a batch's losses in the given matrices, compiled once a shape."""

    def loss(
        matrices: dict[str, Array], state: nnx.State, rows: Rows, label_ids: Int[Array, " C"]
    ) -> Float32[Array, ""]:
        flat = nnx.to_flat_state(state)
        values = [
            (path, value.replace(matrices[name]) if name in matrices else value)
            for path, value in flat
            for name in [".".join(map(str, path))]
        ]
        decoder = nnx.merge(graph, nnx.from_flat_state(values))
        stream_BTD = _stream(decoder, rows)
        read_BRD = jnp.take_along_axis(stream_BTD, rows.columns_BR[..., None], axis=1)
        embedding = decoder.embedding.tokens[...]
        if labels:
            scores_QC = decoder.head(read_BRD[:, 0], embedding, label_ids)
        else:
            log_p_BRV = jax.nn.log_softmax(decoder.head(read_BRD, embedding))
            of_target = jnp.take_along_axis(log_p_BRV, rows.targets_BR[..., None], axis=-1)
            scores = (of_target[..., 0] * rows.weights_BR).sum(axis=1)
            scores_QC = scores.reshape(len(rows.gold_Q), -1)
        log_p_QC = jax.nn.log_softmax(scores_QC)
        return -jnp.take_along_axis(log_p_QC, rows.gold_Q[:, None], axis=1).sum()

    return jax.jit(jax.grad(loss))


def _stream(decoder: Decoder, rows: Rows) -> Float[Array, "B T D"]:
    """The residual stream after the last layer; each layer is computed again on the way back."""
    mask_BT = jnp.asarray(rows.mask_BT)
    positions_BT = jnp.maximum(jnp.cumsum(mask_BT, axis=-1) - 1, 0)
    places = Places.of(decoder.config, positions_BT, mask_BT.astype(jnp.int32))
    x_BTD = decoder.embedding(jnp.asarray(rows.ids_BT), positions_BT)
    for block in decoder.blocks:
        x_BTD = jax.checkpoint(lambda x, block=block: block(x, places)[0])(x_BTD)
    return x_BTD


def padded_batches(
    encoded: Encoded, positions: Sequence[int], *, size: int | None = None
) -> list[Rows]:
    """All questions in batches of one shape; the last one may have fewer questions.

    Args:
        encoded: a task's questions.
        positions: of those that are used.
        size: questions of a batch; as many as :data:`BATCH_TOKENS` allow if left out.
    """
    lines = {line.request: (group, line) for group in encoded.groups for line in group.lines}
    questions = [(_question_rows(*lines[i]), encoded.questions[i].gold) for i in positions]
    counts = {len(rows) for rows, _ in questions}
    if len(counts) != 1:
        raise UserError("gradients need questions of equally many candidates")
    longest = max(len(tokens) for rows, _ in questions for tokens, *_ in rows)
    length = -(-longest // MULTIPLE) * MULTIPLE
    reads = max(len(columns) for rows, _ in questions for _, columns, *_ in rows)
    size = size or max(1, BATCH_TOKENS // (length * counts.pop()))
    return [
        _padded(questions[start : start + size], length, reads)
        for start in range(0, len(questions), size)
    ]


Row = tuple[list[int], list[int], list[int], float]
"""Tokens, the columns that are read, the tokens looked for there, and a read's weight."""


def _question_rows(group: Group, line: Line) -> list[Row]:
    """The rows of one question."""
    if group.kind == "mean raw logit":
        raise UserError("a mean of raw logits is no likelihood and has no loss")
    prefix = group.prefix.tolist()
    if group.kind == "label tokens":
        columns = [len(prefix) + int(line.reads[0])]
        return [([*prefix, *line.tokens.tolist()], columns, [0], 1.0)]
    rows = []
    for candidate in range(line.count):
        own = np.flatnonzero((line.continuations == 0) | (line.continuations == candidate + 1))
        place = {int(column): at for at, column in enumerate(own)}
        read = np.flatnonzero(line.scored == candidate)
        columns = [len(prefix) + place[int(line.reads[r])] for r in read]
        weight = 1.0 / len(read) if group.kind == "mean log-likelihood" else 1.0
        tokens = [*prefix, *line.tokens[own].tolist()]
        rows.append((tokens, columns, line.targets[read].tolist(), weight))
    return rows


def _padded(questions: Sequence[tuple[list[Row], int]], length: int, reads: int) -> Rows:
    rows = [row for several, _ in questions for row in several]
    ids, mask = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), bool)
    columns, targets = (np.zeros((len(rows), reads), np.int32) for _ in range(2))
    weights = np.zeros((len(rows), reads), np.float32)
    for i, (tokens, read, wanted, weight) in enumerate(rows):
        ids[i, : len(tokens)], mask[i, : len(tokens)] = tokens, True
        columns[i, : len(read)], targets[i, : len(read)] = read, wanted
        weights[i, : len(read)] = weight
    gold = np.array([gold for _, gold in questions], np.int32)
    return Rows(ids, mask, columns, targets, weights, gold)
