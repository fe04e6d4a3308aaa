"""By which layers and singular directions a truncation moves the logit difference of two labels.

The stream after the last layer is a sum of what the halves of layers add to it. The changes of
these, by the truncation, are added to the untouched stream one after another, in the order of the
layers; each moves the logit difference by something, and the somethings add up to the whole. The
first is direct: what the truncated matrices add when they read what they read before. The others
answer to it. Where the last layer's MLP is truncated there are none, so the direct one is all.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from jaxsvd.commands.explaining.streams import (
    Streams,
    direct_gradients,
    inputs,
    margins,
    places_of,
    streams,
)
from jaxsvd.edits.edit import Edit, matrix_edits
from jaxsvd.encoded_task import EncodedTask
from jaxsvd.engine.prompts import NO_DEMONSTRATION, demonstration_of_tokens
from jaxsvd.model import Model
from jaxsvd.results.origins import Direction, EffectOrigin, Origins, Part, Shift
from jaxsvd.results.statistics import Z95
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.selection.gradient import Rows, padded_batches

WORDS = 5
"""Words told of a direction."""

CHARACTERS = 60
"""Of the demonstration told of a direction, at most."""

Factors = Mapping[
    str, tuple[Float[np.ndarray, "rows removed"], Float[np.ndarray, "removed columns"]]
]


def origins(
    model: Model,
    edit: Edit,
    task: EncodedTask,
    *,
    examples: int,
    directions: int,
    progress: Progress = SILENT,
) -> Origins | None:
    """Where the change of the logit difference comes from.

    Args:
        model: untouched, on one device.
        edit: an exact truncation of one layer.
        task: whose test set is measured.
        examples: of it, at most; the first ones.
        directions: singular directions that are described.
        progress: where to show it.

    Returns:
        None where there is no such sum: labels that are not two of one token each, norms that the
        stream itself goes through (OPT-350m), weights on several devices, other edits.
    """
    edit = edit.resolved(model.config)
    labels = task.encoded.label_ids
    if len(labels) != 2 or model.config.residual == "post" or model.mesh is not None:
        return None
    if edit.method != "exact":
        return None
    positions = task.positions("test")[:examples]
    gold = np.array([task.encoded.questions[i].gold for i in positions])
    graph, state = nnx.split(model.decoder)
    edited_graph, edited_state = nnx.split(model.edited(edit).decoder)
    factors, sizes = _removed(model, edit)
    token_ids = jnp.asarray(labels, jnp.int32)
    steps, effects = [], {name: [] for name in factors}
    batches = padded_batches(task.encoded, positions)
    streams_of: list[Streams] = []
    with progress.bar("origins", len(positions), "examples") as advance:
        for rows in batches:
            of_rows = streams(graph, edited_graph, state, edited_state, rows, edit.layer)
            steps.append(np.asarray(margins(graph, state, of_rows, token_ids), np.float64))
            if directions:
                given = {name: tuple(map(jnp.asarray, pair)) for name, pair in factors.items()}
                own = direct_gradients(graph, state, rows, of_rows, edit.layer, given, token_ids)
                for name, values in own.items():
                    effects[name].append(np.asarray(values, np.float64))
            streams_of.append(of_rows)
            advance(len(rows.gold_Q))
    moved = np.diff(np.concatenate(steps, axis=1), axis=0)  # [changes, examples]
    parts = tuple(
        EffectOrigin(layer, part, shift_of(values, gold))
        for (layer, part), values in zip(_places(model, edit), moved, strict=True)
    )
    tables = {name: np.concatenate(values) for name, values in effects.items() if values}
    strongest = _strongest(tables, directions)
    names = task.prepared.labels

    def described(name: str, i: int, values: Float[np.ndarray, " examples"]) -> Direction:
        rank, s = sizes[name]
        return Direction(name, rank + i + 1, float(s[rank + i]), shift_of(values, gold))

    return Origins(
        labels=(names[0], names[1]),
        examples=len(positions),
        total=shift_of(moved.sum(axis=0), gold),
        parts=parts,
        removed=sum(pair[1].shape[0] for pair in factors.values()),
        first_order=math.fsum(float(table.mean(axis=0).sum()) for table in tables.values()),
        directions=tuple(
            replace(
                described(name, i, tables[name][:, i]),
                **_responses(
                    model,
                    task,
                    edit.layer,
                    name,
                    factors[name][1][i],
                    batches,
                    streams_of,
                    positions,
                ),
            )
            for name, i in strongest
        ),
    )


def shift_of(values: Float[np.ndarray, " examples"], gold: Int[np.ndarray, " examples"]) -> Shift:
    """Mean, and what is left of it by the right answer."""
    mean, sd = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    half = Z95 * sd / math.sqrt(len(values))
    apart = None
    if 0 < gold.sum() < len(gold):
        apart = float(values[gold == 1].mean() - values[gold == 0].mean())
    return Shift(mean, (mean - half, mean + half), apart, sd)


def _places(model: Model, edit: Edit) -> list[tuple[int, Part]]:
    """What each change of the stream is of, in the order of :class:`Streams`."""
    parts: list[tuple[int, Part]] = [(edit.layer, "direct"), (edit.layer, "mlp")]
    for layer in range(edit.layer + 1, model.config.layers):
        parts.append((layer, "attn"))
        parts.append((layer, "mlp"))
    return parts


def _removed(
    model: Model, edit: Edit
) -> tuple[Factors, dict[str, tuple[int, Float[np.ndarray, " k"]]]]:
    """The removed part of each matrix by its directions, and the rank kept with all values."""
    factors, sizes = {}, {}
    for one in matrix_edits((edit,), model.config):
        matrix = np.asarray(model.engine.matrix(one.layer, one.module), np.float64)
        left, s, right = np.linalg.svd(matrix, full_matrices=False)
        rank = one.rank_of(matrix.shape)
        pair = (left[:, rank:] * s[rank:], right[rank:])
        factors[one.module] = tuple(half.astype(np.float32) for half in pair)
        sizes[one.module] = rank, s
    return factors, sizes


def _strongest(
    tables: Mapping[str, Float[np.ndarray, "examples removed"]], count: int
) -> list[tuple[str, int]]:
    """The directions that move the mean most, of all matrices."""
    ranked = [
        (abs(float(mean)), name, i)
        for name, table in tables.items()
        for i, mean in enumerate(table.mean(axis=0))
    ]
    return [(name, i) for _, name, i in sorted(ranked, reverse=True)[:count]]


def _responses(
    model: Model,
    task: EncodedTask,
    layer: int,
    name: str,
    direction: Float[np.ndarray, " columns"],
    batches: Sequence[Rows],
    streams_of: Sequence[Streams],
    positions: Sequence[int],
) -> dict[str, Any]:
    """To which words and demonstrations a direction responds: products of it with what it reads.

    The first token is left out: models keep large numbers there that say nothing of it.
    """
    by_token: Counter[int] = Counter()
    times: Counter[int] = Counter()
    by_demonstration: Counter[str] = Counter()
    total, remaining = 0.0, iter(positions)
    block = model.decoder.blocks[layer]
    for rows, of_rows in zip(batches, streams_of, strict=True):
        places = places_of(model.decoder, rows)
        read = inputs(block, name, of_rows.before_BTD, of_rows.attended_BTD, places)
        squares = np.square(read @ direction, dtype=np.float64)
        for ids, mask, own in zip(rows.ids_BT, rows.mask_BT, squares, strict=True):
            question = task.encoded.questions[next(remaining)]
            tokens, own = np.asarray(ids)[np.asarray(mask)], own[np.asarray(mask)]
            numbers = demonstration_of_tokens(model.tokenizer, question.demonstrations, tokens)
            for token, number, square in list(zip(tokens, numbers, own, strict=True))[1:]:
                by_token[int(token)] += float(square)  # type: ignore[assignment]
                times[int(token)] += 1
                total += float(square)
                if number != NO_DEMONSTRATION:
                    text = question.demonstrations[number]
                    by_demonstration[text] += float(square)  # type: ignore[assignment]
    if not total:
        return {}
    mean = {token: value / times[token] for token, value in by_token.items()}
    words = sorted(mean, key=lambda token: -mean[token])[:WORDS]
    fields: dict[str, Any] = {"words": tuple(_word(model, token) for token in words)}
    if by_demonstration:
        text = " ".join(by_demonstration.most_common(1)[0][0].split())
        short = text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 3]}..."
        share = math.fsum(by_demonstration.values()) / total
        fields |= {"in_demonstrations": min(1.0, share), "demonstration": short}
    return fields


def _word(model: Model, token: int) -> str:
    return str(model.tokenizer.decode([token])).strip() or repr(model.tokenizer.decode([token]))
