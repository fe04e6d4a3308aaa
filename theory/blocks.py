"""The implicit update of a real block: context as a change of the MLP's first weights.

Dherin et al. (2025). Let A(C, x) be what attention makes of a token x with a context C, and A(x)
without, W the first matrix of the MLP that reads it. With

    dA = A(C, x) - A(x),   dW = (W dA) A(x)^T / |A(x)|^2,

(W + dW) A(x) = W A(C, x), whatever the attention and whatever follows W: exact for softmax, any
activation, gated MLPs (each first matrix has its dW) and norms (A is what W reads, after the norm).
Where a residual stream goes around the MLP, its change s(C, x) - s(x) is added as a bias. Applied
in every layer in turn, the model without context answers as the model with it.

This is what the linear theory lacks (the paper's limitation (i)). Two things it is not: dW is of
rank 1 and belongs to one token x, so that it is no weight that the model has learned for all
queries; and it is one of many matrices with that property, the smallest (Frobenius). How far one
matrix serves several queries is measured by :func:`shared_update`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from theory.checks import Real, real, require, require_finite


class BlockUpdate(NamedTuple):
    """A block's change that stands for the context, for one token.

    Attributes:
        matrices: dW of each first matrix of the MLP, ``[F, D]``, of rank 1.
        bias: of the residual stream, ``[D]``.
    """

    matrices: tuple[Float[np.ndarray, "F D"], ...]
    bias: Float[np.ndarray, " D"]


class Shared(NamedTuple):
    """One matrix for several tokens.

    Attributes:
        update: dW of least norm among those that fit best, ``[F, D]``.
        unexplained: share of sum_x |W dA(x)|^2 that it misses, in [0, 1].
        effective_rank: of the update, see :func:`effective_rank`.
    """

    update: Float[np.ndarray, "F D"]
    unexplained: float
    effective_rank: float


def token_update(weight: Real, contextual: Real, plain: Real) -> Float[np.ndarray, "F D"]:
    """DW = (W dA) A(x)^T / |A(x)|^2.

    Args:
        weight: W, ``[F, D]``.
        contextual: A(C, x), what W reads with the context, ``[D]``.
        plain: A(x), what it reads without, ``[D]``.

    Raises:
        ValueError: shapes that disagree, values that are not finite real numbers, or a plain
            reading of zero, from which no update can do anything.
    """
    weight, contextual, plain = _arrays(weight, contextual, plain, 1)
    size = float((plain**2).sum())
    require(size > 0, "plain", "other than zero", "zero")
    return np.outer(weight @ (contextual - plain), plain) / size


def block_update(
    weights: Sequence[Real],
    contextual: Real,
    plain: Real,
    contextual_stream: Real,
    plain_stream: Real,
) -> BlockUpdate:
    """All of a block's changes for one token.

    Then MLP_{W + dW}(A(x)) + s(x) + bias = MLP_W(A(C, x)) + s(C, x).

    Args:
        weights: the first matrices of the MLP (two of a gated one), each ``[F, D]``.
        contextual: what they read with the context, ``[D]``.
        plain: what they read without, ``[D]``.
        contextual_stream: s(C, x), to which the MLP's output is added, ``[D]``.
        plain_stream: s(x), ``[D]``.

    Raises:
        ValueError: as in :func:`token_update`.
    """
    matrices = tuple(token_update(weight, contextual, plain) for weight in weights)
    streams = real(contextual_stream=contextual_stream, plain_stream=plain_stream)
    after, before = (np.asarray(a, np.float64) for a in streams)
    require(after.shape == before.shape, "plain_stream", f"of shape {after.shape}", before.shape)
    return BlockUpdate(matrices, after - before)


def shared_update(weight: Real, contextual: Real, plain: Real) -> Shared:
    """One dW for several tokens: least squares of dW A(x) against W dA(x), of least norm.

    For one token it is :func:`token_update` and misses nothing. For more tokens than D something is
    missed unless the context acts as one linear map: that share says how far "the context is a
    change of weights" is true of the layer.

    Args:
        weight: W, ``[F, D]``.
        contextual: A(C, x) of every token, ``[Q, D]``.
        plain: A(x), ``[Q, D]``.

    Raises:
        ValueError: shapes that disagree, or values that are not finite real numbers.
    """
    weight, contextual, plain = _arrays(weight, contextual, plain, 2)
    target = (contextual - plain) @ weight.T
    update = np.linalg.lstsq(plain, target, rcond=None)[0].T
    return Shared(update, _missed(target, plain @ update.T), effective_rank(update))


def unexplained(update: Real, weight: Real, contextual: Real, plain: Real) -> float:
    """Share of sum_x |W dA(x)|^2 that dW A(x) misses, for tokens it was not fitted to.

    0 where the context is the same change of weights for all; 1 is as good as no update, and more
    is worse. With no more tokens than features :func:`shared_update` fits anything: this does not.

    Args:
        update: dW, ``[F, D]``.
        weight: W, ``[F, D]``.
        contextual: A(C, x) of every token, ``[Q, D]``.
        plain: A(x), ``[Q, D]``.

    Raises:
        ValueError: shapes that disagree, or values that are not finite real numbers.
    """
    weight, contextual, plain = _arrays(weight, contextual, plain, 2)
    update = np.asarray(real(update=update)[0], np.float64)
    require(update.shape == weight.shape, "update", f"of shape {weight.shape}", update.shape)
    return _missed((contextual - plain) @ weight.T, plain @ update.T)


def _missed(target: Float[np.ndarray, "Q F"], reached: Float[np.ndarray, "Q F"]) -> float:
    whole = float((target**2).sum())
    return float(((target - reached) ** 2).sum()) / whole if whole > 0 else 0.0


def effective_rank(matrix: Real) -> float:
    """The exponential of the entropy of the singular values' shares (Roy and Vetterli, 2007).

    Between 1 and the rank: r for r equal singular values; 0 for a zero matrix.
    """
    (matrix,) = real(matrix=matrix)
    require_finite("matrix", matrix)
    values = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    if values[0] == 0:
        return 0.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


class BlockFunctions(NamedTuple):
    """A block as callables, for :func:`without_context`.

    Attributes:
        attend: from the last token's stream and the context's streams (None for no context) to the
            stream after attention, ``[D]``.
        read: from that stream to what the MLP's first matrices read, ``[D]``.
        weights: the first matrices, each ``[F, D]``.
        finish: from what those matrices give, in their order, to the MLP's output, ``[D]``.
    """

    attend: Callable[
        [Float[np.ndarray, " D"], Float[np.ndarray, "T D"] | None], Float[np.ndarray, " D"]
    ]
    read: Callable[[Float[np.ndarray, " D"]], Float[np.ndarray, " D"]]
    weights: tuple[Float[np.ndarray, "F D"], ...]
    finish: Callable[[tuple[Float[np.ndarray, " F"], ...]], Float[np.ndarray, " D"]]


def without_context(
    blocks: Sequence[BlockFunctions], token: Real, contexts: Sequence[Real] | Real
) -> tuple[Float[np.ndarray, " D"], tuple[BlockUpdate, ...]]:
    """Run a stack without its context, each block changed so that nothing is missed.

    Args:
        blocks: from the first to the last.
        token: the last token's stream before the first block, ``[D]``.
        contexts: the context's streams before each block, ``[T, D]``.

    Returns:
        The last token's stream after the last block, equal to that with the context, and the
        changes.

    Raises:
        ValueError: as in :func:`block_update`, or not one context for each block.
    """
    require(len(contexts) == len(blocks), "contexts", f"{len(blocks)}", len(contexts))
    (stream,) = real(token=token)
    stream = np.asarray(stream, np.float64)
    changes = []
    for block, context in zip(blocks, contexts, strict=True):
        (context,) = real(context=context)
        with_context, alone = block.attend(stream, np.asarray(context)), block.attend(stream, None)
        readings = block.read(with_context), block.read(alone)
        change = block_update(block.weights, *readings, with_context, alone)
        updated = zip(block.weights, change.matrices, strict=True)
        inner = tuple((weight + update) @ readings[1] for weight, update in updated)
        stream = alone + change.bias + block.finish(inner)
        changes.append(change)
    return stream, tuple(changes)


def _arrays(
    weight: Real, contextual: Real, plain: Real, axes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    given = real(weight=weight, contextual=contextual, plain=plain)
    weight, contextual, plain = (np.asarray(a, np.float64) for a in given)
    require(weight.ndim == 2, "weight", "[F, D]", weight.shape)
    shape = plain.shape
    fits = len(shape) == axes and shape[-1] == weight.shape[1]
    require(fits, "plain", "[D]" if axes == 1 else "[Q, D]", shape)
    require(contextual.shape == shape, "contextual", f"of shape {shape}", contextual.shape)
    for name, a in (("weight", weight), ("contextual", contextual), ("plain", plain)):
        require_finite(name, a)
    return weight, contextual, plain
