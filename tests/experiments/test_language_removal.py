"""Ways to remove parameters: exact counts, and models without a layer against plain passes."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
from edited_models import batch_logits
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tolerances import assert_close, decoder_sums

from experiments.language.removal import count, layer_size, without_layer
from jaxsvd import svd
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import (
    all_replacements,
    largest_entries,
    parameters_kept,
    smallest_rank,
    variants,
)
from jaxsvd.engine.requests import Request
from jaxsvd.model import Model
from jaxsvd.models.lowrank import LowRank


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_parameters_of_a_truncation(m: int, n: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, min(m, n)))
    assert 0 < parameters_kept(rank, (m, n)) == min(m * n, rank * (m + n))


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.sampled_from([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0]),
    ),
    st.data(),
)
def test_magnitude_pruning_keeps_exactly_the_count(matrix: np.ndarray, data: st.DataObject) -> None:
    """Ties included; what is kept is as it was, and none that went is larger."""
    kept = data.draw(st.integers(0, matrix.size))
    pruned = np.asarray(largest_entries(jnp.asarray(matrix), kept))
    alive = pruned != 0
    assert alive.sum() == kept
    assert (pruned[alive] == matrix[alive]).all()
    if 0 < kept < matrix.size:
        assert np.abs(matrix[alive]).min() >= np.abs(matrix[~alive]).max()


@pytest.mark.parametrize("family", ["gptj", "llama"])
@pytest.mark.parametrize("module", ["mlp", "attn", "all", "k_proj"])
def test_both_methods_keep_as_many(tiny: Callable[..., Model], family: str, module: str) -> None:
    """Numbers stored by the factors (or the product) against non-zero entries."""
    engine = tiny(family).engine
    assert count(engine, 1, module, 0.0).removed == 0
    for rate in (0.5, 0.75, 0.95):
        exact, magnitude = (Edit(1, module, rate, method=m) for m in ("exact", "magnitude"))
        low = all_replacements(engine, [(exact,)])
        sparse = all_replacements(engine, [(magnitude,)])
        assert [edit.module for edit in low] == [edit.module for edit in sparse]
        stored = 0
        for matrix in low.values():
            assert isinstance(matrix, LowRank)
            stored += min(matrix.weight.size, int(matrix.rank) * sum(matrix.weight.shape))
        entries = sum(int((np.asarray(m) != 0).sum()) for m in sparse.values())
        actual = count(engine, 1, module, rate)
        assert actual.kept == stored == entries
        assert actual.kept + actual.removed == sum(engine.matrix(1, e.module).size for e in low)


def test_size_of_a_layer(tiny: Callable[..., Model]) -> None:
    # 4 d^2 + 2 d f of matrices, f + d of biases, 2 d of the norm; d = 32, f = 48.
    assert layer_size(tiny("gptj").engine, 0) == 4 * 32**2 + 2 * 32 * 48 + 48 + 32 + 2 * 32


LABELS = (3, 5, 7, 11)


def requests(prompts: list[list[int]]) -> list[Request]:
    """Prompts read at their last token over four labels."""
    return [Request(prompt, [[label] for label in LABELS], "label tokens") for prompt in prompts]


@pytest.mark.long
@pytest.mark.parametrize("family", ["gptj", "llama"])
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.brief(family=("llama",))
def test_without_a_layer(tiny: Callable[..., Model], family: str, layer: int) -> None:
    """The engine's scores are those of a plain pass that skips the block."""
    model = tiny(family)
    rng = np.random.default_rng(3)
    prefix = rng.integers(0, 97, 6).tolist()
    prompts = [prefix + rng.integers(0, 97, 5).tolist() for _ in range(4)]
    graph, state = nnx.split(model.decoder)
    shortened = nnx.merge(graph, state)
    shortened.blocks = nnx.List([block for i, block in enumerate(shortened.blocks) if i != layer])
    plain, untouched = (
        batch_logits(decoder, np.asarray(prompts))[:, -1, list(LABELS)]
        for decoder in (shortened, model.decoder)
    )
    actual = np.zeros_like(plain)
    for scored in without_layer(model.engine, layer).score(requests(prompts)):
        actual[scored.request] = scored.scores
    assert np.abs(plain - untouched).max() > 0.1  # the layer does something
    assert_close(actual, plain, decoder_sums(model.config, len(prompts[0])))


@pytest.mark.long
def test_magnitudes_are_what_is_scored(tiny: Callable[..., Model]) -> None:
    """Pruned matrices written into the model, and a plain pass."""
    model, layer = tiny("llama"), 1
    rng = np.random.default_rng(4)
    prompts = [rng.integers(0, 97, 9).tolist() for _ in range(3)]
    engine, edit = model.engine, Edit(1, "attn", 0.9, method="magnitude")
    scored = engine.score(requests(prompts), variants(engine, [(), (edit,)]))
    scores = {(s.variant, s.request): s.scores for s in scored}
    graph, state = nnx.split(model.decoder)
    changed = nnx.merge(graph, state)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        linear = getattr(changed.blocks[layer].attn, name)
        matrix = engine.matrix(layer, name)
        rank = svd.rank_at(0.9, matrix.shape)
        linear.weight = nnx.Param(largest_entries(matrix, parameters_kept(rank, matrix.shape)))
    for variant, decoder in ((0, model.decoder), (1, changed)):
        plain = batch_logits(decoder, np.asarray(prompts))[:, -1, list(LABELS)]
        actual = np.array([scores[variant, q] for q in range(3)])
        assert_close(actual, plain, decoder_sums(model.config, len(prompts[0])))
    assert smallest_rank(engine, edit) is None
