"""Edits as values: written, applied to a model, and scored together by the engine."""

from collections.abc import Callable
from typing import get_args

import jax
import numpy as np
import pytest
from edited_models import by_hand, edited_sums, plain_scores
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

import jaxsvd
from jaxsvd import svd
from jaxsvd.devices.compilation import compile_count, compiled_since
from jaxsvd.edits.edit import Edit, Edits, Method, format_edits, matrix_edits, parse_edits
from jaxsvd.edits.replacement import all_replacements, smallest_rank, variants
from jaxsvd.engine.input_statistics import input_statistics
from jaxsvd.engine.packing import Shape
from jaxsvd.engine.requests import Request, grouped
from jaxsvd.model import Model
from jaxsvd.models.matrices import MODULES
from jaxsvd.runtime.errors import UserError
from jaxsvd.score import edit_records

SEVERAL = ("0:mlp:0.5+2:attn:0.9", "1:attn:0.9+2:mlp:0.5", "1:fc_in:0.5+1:k_proj:r3", "0:all:0.5")
"""Two layers with shared attention below or not; two matrices of a layer; everything of one."""


def requests(count: int = 6, length: int = 9) -> list[Request]:
    rng = np.random.default_rng(count)
    shared = rng.integers(0, 97, 12).tolist()
    contexts = [shared + rng.integers(0, 97, 1 + i % length).tolist() for i in range(count)]
    return [Request(context, [[3], [17], [41]], "label tokens") for context in contexts]


# --- values ------------------------------------------------------------------------------------

edits = st.builds(
    Edit,
    st.integers(-99, 99),
    st.sampled_from(MODULES),
    st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from(svd.RATES)),
)
ranked = st.builds(Edit, st.integers(-9, 9), st.sampled_from(MODULES), rank=st.integers(1, 4096))


@given(st.lists(st.one_of(edits, ranked), min_size=1, max_size=4).map(tuple))
def test_written_and_read_again(several: Edits) -> None:
    assert parse_edits(format_edits(several)) == several


def test_the_written_form() -> None:
    text = "26:mlp:0.95+-1:attn:0.9"
    assert parse_edits(text) == (Edit(26, "mlp", 0.95), Edit(-1, "attn", 0.9))
    assert format_edits(parse_edits(text)) == text
    assert str(Edit(3, "fc_in", rank=40)) == "3:fc_in:r40"
    assert str(Edit(0, "mlp", 0.0)) == "0:mlp:0"
    assert jaxsvd.Edit is Edit


@pytest.mark.parametrize(
    "text", ["", "26", "26:mlp", "x:mlp:0.5", "1:mlp:y", "1:mlp:rx", "1:a:2:exact:3"]
)
def test_what_is_no_edit(text: str) -> None:
    with pytest.raises(UserError, match=r"should be LAYER:MODULE:RATE, like 26:mlp:0\.95"):
        parse_edits(text)


def test_impossible_edits(tiny: Callable[..., Model]) -> None:
    model = tiny("gptj")
    for text, said in {
        "0:mlp:1": "clipping rate 1.0 should be",
        "0:mlp:r0": "rank 0 should be at least 1",
        "3:mlp:0.5": "no layer 3",
        "0:fc_up:0.5": "gptj has no module 'fc_up'",
        "0:q_proj:r33": "only 32 singular values",
        "1:mlp:0.5+-2:fc_in:0.9": "fc_in of layer 1 is edited twice",
    }.items():
        with pytest.raises(UserError, match=said):
            model.edited(text)
    with pytest.raises(UserError, match="a clipping rate or a rank, and not both"):
        Edit(0, "mlp")
    with pytest.raises(UserError, match="a clipping rate or a rank, and not both"):
        Edit(0, "mlp", 0.5, rank=3)


def test_a_seed_counts_only_where_numbers_are_drawn() -> None:
    assert Edit(0, "mlp", 0.5, seed=3) == Edit(0, "mlp", 0.5)
    one, other = (Edit(0, "mlp", 0.5, method="randomized", seed=seed) for seed in (3, 4))
    assert one != other


# --- models ------------------------------------------------------------------------------------


def test_an_edited_model_is_a_model(tiny: Callable[..., Model]) -> None:
    """With its history; edited again, and sharing what is not touched."""
    model = tiny("llama")
    once = model.edited("2:mlp:0.5+-3:attn:0.9")
    twice = once.edited([Edit(1, "fc_up", rank=4), Edit(1, "q_proj", 0.0)])
    assert once.edits == (Edit(2, "mlp", 0.5), Edit(0, "attn", 0.9))
    assert twice.edits == (*once.edits, Edit(1, "fc_up", rank=4), Edit(1, "q_proj", 0.0))
    assert twice.source == "tiny, edited 2:mlp:0.5+0:attn:0.9, edited 1:fc_up:r4"
    assert [dict(record.ranks) for record in edit_records(twice)] == [
        dict.fromkeys(("fc_in", "fc_up", "fc_out"), 16),
        {"q_proj": 3, "k_proj": 1, "v_proj": 1, "out_proj": 3},
        {"fc_up": 4},
        {},
    ]
    assert len(twice.factors) == 8
    ids = np.random.default_rng(0).integers(0, 97, (2, 9))
    for mine, edits in ((once, once.edits), (twice, twice.edits)):
        wanted = np.asarray(by_hand(model, edits).logits(ids))
        np.testing.assert_array_equal(np.asarray(mine.logits(ids)), wanted)
    old, new = (dict(nnx.to_flat_state(nnx.state(m.decoder))) for m in (model, twice))
    changed = {path[:1] + path[1:] for path in old if old[path][...] is not new[path][...]}
    assert {".".join(map(str, path)) for path in changed} == twice.factors.keys()


def test_a_matrix_edited_again_is_of_the_edited_model(tiny: Callable[..., Model]) -> None:
    """Factors are the last truncation's; a method without factors takes them away."""
    model = tiny("gptj").edited("1:mlp:0.5")
    again = model.edited("1:fc_in:0.9")
    assert again.factors["blocks.1.mlp.fc_in.weight"].left.shape[1] == 3
    assert again.factors["blocks.1.mlp.fc_out.weight"].left.shape[1] == 16
    thinned = model.edited(Edit(1, "mlp", 0.9, method="magnitude"))
    assert thinned.factors == {}
    assert edit_records(thinned)[1].to_json() == {
        "layer": 1,
        "module": "mlp",
        "rate": 0.9,
        "ranks": {},
        "method": "magnitude",
    }


# --- the engine --------------------------------------------------------------------------------


@pytest.mark.brief(family=("llama",))
@pytest.mark.parametrize("family", ["gptj", "llama"])
def test_several_edits_of_several_layers(tiny: Callable[..., Model], family: str) -> None:
    """All in one call, beside single ones and the untouched model, each against a plain pass."""
    model, requested = tiny(family), requests()
    edited = [(), *map(parse_edits, SEVERAL), (Edit(0, "mlp", 0.9),), (Edit(2, "mlp", 0.0),)]
    scored = model.engine.score(requested, variants(model.engine, edited))
    actual = {(s.variant, s.request): s.scores for s in scored}
    assert len(actual) == len(edited) * len(requested)
    untouched = np.array(plain_scores(model, requested))
    for v, edits in enumerate(edited):
        ours = np.array([actual[v, r] for r in range(len(requested))])
        wanted = np.array(plain_scores(by_hand(model, edits), requested))
        assert_close(ours, wanted, edited_sums(model.config, edits, 21))
        changed = bool(matrix_edits(edits, model.config))
        assert (np.abs(wanted - untouched).max() > 1e-2) == changed


@pytest.mark.long
def test_the_engine_and_an_edited_model_agree(tiny: Callable[..., Model]) -> None:
    """Every method, random numbers included: what is scored is what is written."""
    model, requested = tiny("gptj"), requests()
    places = [(0, "attn"), (2, "fc_out")]
    read = matrix_edits(tuple(Edit(*place, 0.6) for place in places), model.config)
    rows = [[1, 5, 9, 3], [2, 4, 6, 8, 7]]
    statistics = input_statistics(
        model.decoder, rows, [(edit.layer, edit.module) for edit in read], source="here"
    )
    for method in get_args(Method):
        rate = None if method == "dropped" else 0.6
        edits = tuple(Edit(*place, rate, method=method, seed=5) for place in places)
        [*ours] = model.engine.score(
            requested, variants(model.engine, [edits], statistics=statistics)
        )
        plain = plain_scores(model.edited(edits, statistics=statistics), requested)
        actual = np.array([s.scores for s in sorted(ours, key=lambda s: s.request)])
        assert_close(actual, np.array(plain), edited_sums(model.config, edits, 21))


@pytest.mark.long
def test_matrices_made_beforehand_are_the_same(tiny: Callable[..., Model]) -> None:
    engine, requested = tiny("gptj").engine, requests()
    edited = [parse_edits(text) for text in SEVERAL]
    built = all_replacements(engine, edited)
    one, other = (
        {(s.variant, s.request): s.scores for s in engine.score(requested, what)}
        for what in (variants(engine, edited), variants(engine, edited, matrices=built))
    )
    assert one.keys() == other.keys()
    for key, scores in one.items():
        np.testing.assert_array_equal(scores, other[key])


def test_ranks(tiny: Callable[..., Model]) -> None:
    engine = tiny("llama").engine
    assert smallest_rank(engine, Edit(-1, "attn", 0.5)) == 8  # keys and values have 16 rows
    assert smallest_rank(engine, Edit(0, "mlp", rank=5)) == 5
    assert smallest_rank(engine, Edit(0, "mlp", 0.0)) is None


@pytest.mark.long
def test_nothing_compiles_again(tiny: Callable[..., Model]) -> None:
    """Other rates, layers, seeds and numbers of requests, of several edits at once."""
    model, shape = tiny("gptj", n_layer=5), Shape(2, 48, 8)
    engine = model.engine

    def score(several: list[str], count: int, seed: int = 0) -> None:
        edited = [parse_edits(text) for text in several]
        # The rank of a randomized truncation is a shape: another one compiles the factoring.
        randomized = Edit(seed % 5, "fc_in", 0.5, method="randomized", seed=seed)
        what = variants(engine, [*edited, (randomized,)])
        list(engine.score_groups(grouped(requests(count)), what, shape=shape))

    start = compile_count()
    score(["0:mlp:0.5+2:mlp:0.5+4:mlp:0.5", "0:attn:0.9+2:attn:0.9+4:attn:0.9"], 5)
    score(["0:attn:0.5+1:mlp:0.5+4:mlp:0.5", "1:mlp:0.9+4:attn:0.9"], 5, seed=4)
    score(["0:all:0.2"], 5)  # ranks so large that matrices of every shape are multiplied out
    before = compile_count()
    assert before > start
    score(["1:mlp:0.5+2:fc_in:0.5+4:mlp:0.5", "0:q_proj:0.3+3:k_proj:0.7+4:all:0.8"], 12, seed=3)
    score(["2:attn:0.5+3:mlp:0.2", "0:mlp:0.75+1:mlp:0.2+2:attn:0.9+4:mlp:0.5"], 7, seed=9)
    assert compiled_since(before) == []


@pytest.mark.long
def test_the_attention_of_the_lowest_layer_is_shared(
    tiny: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An MLP edited there: the layer itself is not computed again, those above it are."""
    from jaxsvd.engine import kernels

    engine, calls = tiny("gptj").engine, []
    for name in ("layer", "last_layer", "feed"):
        kernel = getattr(kernels, name)

        def counted(*arguments: object, kernel=kernel, name=name) -> object:
            calls.append(name)
            return kernel(*arguments)

        monkeypatch.setattr(kernels, name, counted)
    groups = grouped(requests())
    shape = Shape(8, 64, 16)
    list(engine.score_groups(groups, variants(engine, [()]), shape=shape))
    base = calls.copy()
    assert base == ["layer", "layer", "last_layer"]
    calls.clear()
    edited = [parse_edits(f"1:mlp:{rate}+2:attn:0.5") for rate in (0.5, 0.9)]
    list(engine.score_groups(groups, variants(engine, edited), shape=shape))
    # Up to layer 1 once; then for each its MLP, of prefix and batch, and the last layer.
    assert sorted(calls) == sorted(["layer", "layer", *["feed", "feed", "last_layer"] * 2])


def test_weights_stay_as_they_are(tiny: Callable[..., Model]) -> None:
    model = tiny("llama")
    before = jax.tree.map(np.asarray, model.engine.blocks)
    list(model.engine.score(requests(), variants(model.engine, [parse_edits(SEVERAL[0])])))
    model.edited(SEVERAL[0])
    for one, other in zip(
        jax.tree.leaves(before), jax.tree.leaves(model.engine.blocks), strict=True
    ):
        np.testing.assert_array_equal(one, other)
