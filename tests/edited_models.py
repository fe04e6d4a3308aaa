"""Edited models made by hand, and the scores that a plain forward pass gives requests."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from flax import nnx
from float64 import float64
from tolerances import decoder_sums

from jaxsvd import svd
from jaxsvd.edits.edit import Edits, matrix_edits
from jaxsvd.engine.requests import Request
from jaxsvd.model import Model
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Decoder
from jaxsvd.models.matrices import part

PADDED = 128
"""Tokens of a plain pass: one length compiles once, and what follows changes nothing before it."""


def by_hand(model: Model, edits: Edits) -> Model:
    """A copy of a model with its matrices truncated, one by one (:mod:`jaxsvd.svd`)."""
    decoder = nnx.clone(model.decoder)
    for edit in matrix_edits(edits, model.config):
        assert edit.method == "exact"
        weight = getattr(getattr(decoder.blocks[edit.layer], part(edit.module)), edit.module).weight
        value = weight.get_value()
        rank = edit.rank_of(value.shape)
        weight.set_value(svd.reconstruct(svd.factor(value), rank).astype(value.dtype))
    return dataclasses.replace(model, decoder=decoder)


def logits(model: Model, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
    """Of every position, in float64, by the decoder's plain forward pass."""
    padded = np.zeros((1, PADDED), np.int32)
    padded[0, : len(tokens)] = tokens
    return batch_logits(model.decoder, padded)[0, : len(tokens)]


def batch_logits(decoder: Decoder, ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Of a batch with padding, ``[B, T, V]``, in float64."""
    graph, state = nnx.split(decoder)
    return _forward(graph)(state, ids, np.ones(ids.shape, bool) if mask is None else mask)


@functools.cache
def _forward(graph: nnx.GraphDef) -> Callable[..., np.ndarray]:
    """The pass of all decoders of one shape, compiled once."""
    return float64(lambda state, ids, mask: nnx.merge(graph, state)(ids, mask)[0])


def edited_sums(config: DecoderConfig, edits: Edits, tokens: int) -> list[int]:
    """Terms of the sums behind a logit of an edited model, those of its truncations included."""
    sums = decoder_sums(config, tokens)
    return sums + [config.width] * 3 * len(matrix_edits(edits, config))


def plain_scores(model: Model, requests: Sequence[Request]) -> list[np.ndarray]:
    """The scores of requests, each continuation in a pass of its own."""
    return [
        np.array([_score(model, request, tokens) for tokens in request.continuations])
        for request in requests
    ]


def _score(model: Model, request: Request, continuation: Sequence[int]) -> float:
    context = np.asarray(request.context).tolist()
    actual = logits(model, [*context, *continuation])
    if request.kind == "mean raw logit":
        return actual.mean()
    read = actual[len(context) - 1 : -1]
    chosen = read[np.arange(len(continuation)), list(continuation)]
    if request.kind == "label tokens":
        return chosen[0]
    chosen = chosen - np.logaddexp.reduce(read, axis=-1)
    return chosen.sum() if request.kind == "sequence log-likelihood" else chosen.mean()
