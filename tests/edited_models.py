"""Plain forward passes that the engine is held against."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from flax import nnx
from float64 import float64

from jaxsvd.model import Model

PADDED = 128
"""Tokens of a plain pass: one length compiles once, and what follows changes nothing before it."""


def logits(model: Model, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
    """Of every position, in float64, by the decoder's plain forward pass."""
    graph, state = nnx.split(model.decoder)
    padded = np.zeros((1, PADDED), np.int32)
    padded[0, : len(tokens)] = tokens
    return _forward(graph)(state, padded)[0, : len(tokens)]


@functools.cache
def _forward(graph: nnx.GraphDef) -> Callable[..., np.ndarray]:
    """The pass of all decoders of one shape, compiled once."""
    return float64(lambda state, ids: nnx.merge(graph, state)(ids)[0])
