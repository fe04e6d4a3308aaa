"""The implicit update of softmax blocks with any MLP, by layer and through a stack."""

import numpy as np
import pytest

from theory import blocks
from theory.blocks import BlockFunctions

D, F, T, LAYERS = 6, 10, 5, 3


def softmax_attention(rng: np.random.Generator):
    """Softmax attention with a residual over the context and the token itself."""
    query, key, value, output = rng.normal(size=(4, D, D)) / np.sqrt(D)

    def attend(stream: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        seen = stream[None] if context is None else np.vstack([context, stream])
        scores = (seen @ key.T) @ (query @ stream) / np.sqrt(D)
        weights = np.exp(scores - scores.max())
        return stream + output @ (weights / weights.sum() @ (seen @ value.T))

    return attend


def norm(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean() + 1e-6)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def gated_block(rng: np.random.Generator) -> BlockFunctions:
    gate, up, down = (rng.normal(size=s) / np.sqrt(D) for s in ((F, D), (F, D), (D, F)))
    return BlockFunctions(
        softmax_attention(rng), norm, (gate, up), lambda inner: down @ (silu(inner[0]) * inner[1])
    )


def plain_block(rng: np.random.Generator) -> BlockFunctions:
    first, last = rng.normal(size=(F, D)) / np.sqrt(D), rng.normal(size=(D, F)) / np.sqrt(D)
    return BlockFunctions(
        softmax_attention(rng), norm, (first,), lambda inner: last @ np.tanh(inner[0])
    )


def with_context(block: BlockFunctions, stream: np.ndarray, context: np.ndarray) -> np.ndarray:
    after = block.attend(stream, context)
    read = block.read(after)
    return after + block.finish(tuple(weight @ read for weight in block.weights))


@pytest.mark.parametrize("make", [gated_block, plain_block])
def test_one_block_without_its_context_answers_as_with_it(make) -> None:
    rng = np.random.default_rng(0)
    block, stream, context = make(rng), rng.normal(size=D), rng.normal(size=(T, D))
    streams = block.attend(stream, context), block.attend(stream, None)
    readings = [block.read(one) for one in streams]
    change = blocks.block_update(block.weights, *readings, *streams)
    inner = tuple(
        (weight + update) @ readings[1]
        for weight, update in zip(block.weights, change.matrices, strict=True)
    )
    answer = streams[1] + change.bias + block.finish(inner)
    np.testing.assert_allclose(answer, with_context(block, stream, context), rtol=1e-12)
    for weight, update in zip(block.weights, change.matrices, strict=True):
        assert np.linalg.matrix_rank(update) == 1
        expected = np.outer(weight @ (readings[0] - readings[1]), readings[1])
        np.testing.assert_allclose(update, expected / (readings[1] @ readings[1]), rtol=1e-12)
        # Of all matrices that do this, the smallest: any other has a part that x does not see.
        other = update + np.outer(
            rng.normal(size=F), np.linalg.qr(readings[1][:, None], "complete")[0][:, 1]
        )
        np.testing.assert_allclose(other @ readings[1], update @ readings[1], rtol=0, atol=1e-12)
        assert np.linalg.norm(other) > np.linalg.norm(update)


def test_a_stack_without_its_context_answers_as_with_it() -> None:
    rng = np.random.default_rng(1)
    stack = [gated_block(rng), plain_block(rng), gated_block(rng)]
    stream, contexts = rng.normal(size=D), rng.normal(size=(LAYERS, T, D))
    answer, changes = blocks.without_context(stack, stream, contexts)
    known = stream
    for block, context in zip(stack, contexts, strict=True):
        known = with_context(block, known, context)
    np.testing.assert_allclose(answer, known, rtol=1e-11)
    assert [len(change.matrices) for change in changes] == [2, 1, 2]


def test_a_shared_update_of_one_token_is_its_own() -> None:
    rng = np.random.default_rng(2)
    weight, contextual, plain = rng.normal(size=(F, D)), *rng.normal(size=(2, D))
    shared = blocks.shared_update(weight, contextual[None], plain[None])
    np.testing.assert_allclose(
        shared.update, blocks.token_update(weight, contextual, plain), rtol=1e-11, atol=1e-13
    )
    assert shared.unexplained < 1e-25
    assert shared.effective_rank == pytest.approx(1)


def test_a_shared_update_finds_a_context_that_is_one_map() -> None:
    """A(C, x) = (I + U) A(x) for all x: dW = W U, nothing missed, however many tokens."""
    rng = np.random.default_rng(3)
    weight, plain = rng.normal(size=(F, D)), rng.normal(size=(40, D))
    u = np.outer(rng.normal(size=D), rng.normal(size=D))
    shared = blocks.shared_update(weight, plain + plain @ u.T, plain)
    np.testing.assert_allclose(shared.update, weight @ u, rtol=0, atol=1e-11)
    assert shared.unexplained < 1e-25
    assert shared.effective_rank == pytest.approx(1, abs=1e-6)
    unrelated = blocks.shared_update(weight, plain + rng.normal(size=plain.shape), plain)
    assert 0.5 < unrelated.unexplained < 1
    # Few tokens are always fitted; on others the one map still holds, and the unrelated does not.
    for moved, low, high in ((plain @ u.T, 0, 1e-20), (rng.normal(size=plain.shape), 1, 1e9)):
        fitted = blocks.shared_update(weight, (plain + moved)[:6], plain[:6])
        assert fitted.unexplained < 1e-20
        missed = blocks.unexplained(fitted.update, weight, (plain + moved)[6:], plain[6:])
        assert low <= missed <= high


def test_effective_rank() -> None:
    assert blocks.effective_rank(np.eye(4)) == pytest.approx(4)
    assert blocks.effective_rank(np.diag([1.0, 1.0, 0, 0])) == pytest.approx(2)
    assert blocks.effective_rank(np.zeros((3, 2))) == 0
    assert 1 < blocks.effective_rank(np.diag([1.0, 0.1])) < 2


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="plain must be other than zero"):
        blocks.token_update(np.eye(3), np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match=r"plain must be \[D\]"):
        blocks.token_update(np.eye(3), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match=r"contextual must be of shape \(3,\)"):
        blocks.token_update(np.eye(3), np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="contexts must be 0"):
        blocks.without_context([], np.ones(3), [np.ones((2, 3))])
