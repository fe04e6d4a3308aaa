"""Properties of the decoder that need no reference: causality, caches, padding, rotation."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx
from float64 import float64
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import DOUBLE, UNIT, assert_close, decoder_sums, rounding

from jaxsvd.checkpoints.load import fill, layout_of
from jaxsvd.models import read_config
from jaxsvd.models.attention import KeyValues, Places, Prefix, visible
from jaxsvd.models.config import RotaryConfig
from jaxsvd.models.decoder import Decoder
from jaxsvd.models.layers import Linear
from jaxsvd.models.rotary import rotate, rotation

from .random_models import (
    JSON_OF,
    Uniform,
    Weights,
    padded_batch,
    weights,
)
from .tiny_families import Json, every_family


def build(config: Json, tensors: Weights) -> Decoder:
    """The decoder with these weights, without files."""
    decoder_config, family = read_config(config, "config.json")
    layout = layout_of(decoder_config, family)
    arrays = {
        path: jnp.asarray(share.of(tensors[name]))
        for path, (_, name, share) in layout.entries.items()
    }
    return fill(decoder_config, arrays, jnp.float32)


@pytest.fixture(scope="module", params=every_family(brief=("gptj", "gpt2", "gemma3_text")))
def family(request: pytest.FixtureRequest) -> str:
    """Each family."""
    return request.param


@pytest.fixture(scope="module")
def decoder(family: str) -> Decoder:
    """A tiny decoder; untied, so that the embedding is read at the tokens alone."""
    config = JSON_OF[family](tie_word_embeddings=False)
    return build(config, weights(config))


@functools.partial(jax.jit, static_argnums=0)
def _run(graph: nnx.GraphDef, state: nnx.State, *args: Any) -> tuple[jax.Array, list[KeyValues]]:
    return nnx.merge(graph, state)(*args)


def run(
    decoder: Decoder,
    ids: np.ndarray,
    mask: np.ndarray | None = None,
    prefix: list[Prefix] | None = None,
) -> tuple[np.ndarray, list[KeyValues]]:
    """The decoder, compiled; the mask is always an array, to compile once for a shape."""
    mask = np.ones(ids.shape, bool) if mask is None else mask
    logits, states = _run(*nnx.split(decoder), jnp.asarray(ids), jnp.asarray(mask), prefix)
    return np.asarray(logits), states


@functools.cache
def _exact(graph: nnx.GraphDef) -> Callable[..., Any]:
    return float64(lambda state, *args: nnx.merge(graph, state)(*args))


def exact(
    decoder: Decoder,
    ids: np.ndarray,
    mask: np.ndarray | None = None,
    prefix: list[Prefix] | None = None,
) -> tuple[np.ndarray, list[KeyValues]]:
    """:func:`run` in float64: two ways to one number agree there to the last digits."""
    graph, state = nnx.split(decoder)
    return _exact(graph)(state, ids, np.ones(ids.shape, bool) if mask is None else mask, prefix)


def as_prefix(states: list[KeyValues], exists: np.ndarray) -> list[Prefix]:
    """The states of the only row of a batch as a prefix of every row of another."""
    return [Prefix(jax.tree.map(lambda x: np.asarray(x)[0], layer), exists) for layer in states]


def tokens(rows: int, length: int) -> np.ndarray:
    """Token ids of the tiny vocabulary."""
    return Uniform(3).integers((rows, length), 61)


# --- causality ----------------------------------------------------------------------------------


def gradients(decoder: Decoder, mask_T: np.ndarray) -> np.ndarray:
    """How much the logits at each position change with the embedding of each token."""
    graph, state = nnx.split(decoder)
    ids = jnp.arange(len(mask_T))[None]  # no token twice: a row of the embedding is a position

    def sizes(state: nnx.State) -> jax.Array:
        return (nnx.merge(graph, state)(ids, jnp.asarray(mask_T)[None])[0][0] ** 2).sum(-1)

    jacobian_TVD = jax.jit(jax.jacrev(sizes))(state)["embedding"]["tokens"][...]
    return np.abs(np.asarray(jacobian_TVD)[:, : len(mask_T)]).max(-1)


def test_logits_depend_on_all_tokens_up_to_theirs_and_on_no_later_one(decoder: Decoder) -> None:
    size_TT = gradients(decoder, np.ones(7, bool))
    assert (size_TT[np.triu_indices(7, 1)] == 0).all()
    assert (size_TT[np.tril_indices(7)] > 1e-3).all()


def test_logits_depend_on_no_padding(decoder: Decoder) -> None:
    mask = np.asarray([False, False, True, True, False, True, False])
    size_TT = gradients(decoder, mask)[mask]
    assert (size_TT[:, ~mask] == 0).all()
    assert (size_TT[:, mask][np.tril_indices(3)] > 1e-3).all()


@settings(derandomize=True)
@given(data=st.data(), window=st.sampled_from([None, 1, 2, 3, 20]))
def test_who_sees_whom(data: st.DataObject, window: int | None) -> None:
    """Against the rule in words, token by token."""
    n = 12
    columns = [data.draw(st.lists(st.integers(0, k), min_size=n, max_size=n)) for k in (9, 2, 2)]
    positions, segments, branches = (jnp.asarray([column]) for column in columns)
    config, _ = read_config(JSON_OF["gpt2"](), "")
    places = Places.of(config, positions, segments, branches)
    actual = np.asarray(visible(places, places, window))[0]
    for query, key in itertools.product(range(n), repeat=2):
        (q, q_segment, q_branch), (k, k_segment, k_branch) = (
            tuple(column[i] for column in columns) for i in (query, key)
        )
        sees = q_segment == k_segment and k_branch in (0, q_branch) and k <= q
        sees = sees and (window is None or q - k < window)
        assert actual[query, key] == sees


@pytest.mark.brief(window=(2,))
@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_window_reaches_as_far_as_it_says(window: int) -> None:
    """One layer: a logit depends on ``window`` tokens, its own included, and on no other."""
    config = JSON_OF["mistral"](sliding_window=window, num_hidden_layers=1)
    size_TT = gradients(build(config, weights(config)), np.ones(7, bool))
    distance = np.subtract.outer(np.arange(7), np.arange(7))
    assert ((size_TT > 0) == ((distance >= 0) & (distance < window))).all()


# --- a cached prefix ----------------------------------------------------------------------------


def test_prefill_with_a_cache_is_the_full_forward(decoder: Decoder) -> None:
    """At every split point; cache and rows are padded to one size, which changes nothing."""
    for split in range(1, 12):
        ids = tokens(3, 12)
        ids[:, :split] = ids[0, :split]
        full, _ = exact(decoder, ids)
        exists = np.arange(12) < split
        first, states = exact(decoder, tokens(1, 12), exists[None])
        rows = np.pad(ids[:, split:], ((0, 0), (0, split)))
        mask = np.broadcast_to(np.arange(12) < 12 - split, rows.shape)
        rest, _ = exact(decoder, rows, mask, as_prefix(states, exists))
        assert_close(first[0, :split], full[0, :split], decoder_sums(decoder.config, 12), DOUBLE)
        assert_close(
            rest[:, : 12 - split], full[:, split:], decoder_sums(decoder.config, 12), DOUBLE
        )


def test_a_prefix_in_two_pieces(decoder: Decoder) -> None:
    """States computed upon a prefix extend it."""
    ids = tokens(1, 12)
    full, _ = exact(decoder, ids)
    _, states = exact(decoder, ids[:, :4])
    _, more = exact(decoder, ids[:, 4:8], prefix=as_prefix(states, np.ones(4, bool)))
    longer = [
        jax.tree.map(lambda *pieces: np.concatenate(pieces, axis=1), *pair)
        for pair in zip(states, more, strict=True)
    ]
    rest, _ = exact(decoder, ids[:, 8:], prefix=as_prefix(longer, np.ones(8, bool)))
    assert_close(rest, full[:, 8:], decoder_sums(decoder.config, 12), DOUBLE)


def test_a_prefix_before_left_padded_rows(decoder: Decoder) -> None:
    ids = tokens(3, 12)
    mask = np.arange(12) >= np.asarray([[0], [3], [8]])
    mask[:, 11] = False
    exists = np.arange(12) < 4
    _, states = exact(decoder, tokens(1, 12), exists[None])
    rest, _ = exact(decoder, ids, mask, as_prefix(states, exists))
    for row, start in ((1, 3), (2, 8)):
        whole = np.concatenate([tokens(1, 12)[0, :4], ids[row, start:11]])
        alone, _ = exact(decoder, np.stack([np.pad(whole, (0, 12 - len(whole)))] * 3))
        sums = decoder_sums(decoder.config, 12)
        assert_close(rest[row, start:11], alone[0, 4 : len(whole)], sums, DOUBLE)


# --- padding ------------------------------------------------------------------------------------


def test_padding_on_any_side_changes_nothing(family: str, decoder: Decoder) -> None:
    """Each row gives what its tokens give at the start of a row without padding."""
    ids, mask = padded_batch(JSON_OF[family]())
    padded, states = run(decoder, ids, mask)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((padded, states)))
    other = np.where(mask, ids, (ids + 7) % 61)
    again, _ = run(decoder, other, mask)
    assert (padded[mask] == again[mask]).all()
    # Causality makes what follows a row's tokens irrelevant here.
    starts = [np.concatenate([row[real], row[~real]]) for row, real in zip(ids, mask, strict=True)]
    plain, _ = exact(decoder, np.stack(starts))
    padded, _ = exact(decoder, ids, mask)
    for row, real in enumerate(mask):
        sums = decoder_sums(decoder.config, ids.shape[1])
        assert_close(padded[row, real], plain[row, : real.sum()], sums, DOUBLE)


@pytest.mark.long
def test_rows_do_not_see_each_other(decoder: Decoder) -> None:
    ids = tokens(3, 12)
    before, _ = run(decoder, ids)
    ids[1] = 0
    after, _ = run(decoder, ids)
    assert (before[[0, 2]] == after[[0, 2]]).all()
    assert (before[1] != after[1]).any()


def test_a_row_of_padding_only_is_finite(decoder: Decoder) -> None:
    mask = np.arange(3)[:, None] != np.ones(12)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(run(decoder, tokens(3, 12), mask)))


# --- grouped queries ----------------------------------------------------------------------------


@pytest.mark.parametrize("states", [2])
def test_grouped_queries_are_repeated_heads(states: int) -> None:
    """Four query heads over K states equal four states, each repeated 4 / K times in a row."""
    config = JSON_OF["llama"](num_key_value_heads=states, attention_bias=True)
    grouped = weights(config)
    repeated = dict(grouped)
    for name, value in grouped.items():
        if ".k_proj." in name or ".v_proj." in name:
            heads = value.reshape(states, 8, *value.shape[1:])
            repeated[name] = np.repeat(heads, 4 // states, axis=0).reshape(32, *value.shape[1:])
    ids = tokens(3, 12)
    decoder = build(config, grouped)
    ours, _ = exact(decoder, ids)
    theirs, _ = exact(build(config | {"num_key_value_heads": 4}, repeated), ids)
    assert_close(ours, theirs, decoder_sums(decoder.config, 12), DOUBLE)


# --- rotation -----------------------------------------------------------------------------------

pairs = pytest.mark.parametrize("pairs", ["interleaved", "halves"])


def turned(config: RotaryConfig, x: np.ndarray, position: int) -> np.ndarray:
    """One head at one position."""
    turn = rotation(config, jnp.asarray([[position]]))
    return np.asarray(rotate(config, jnp.asarray(x, jnp.float32)[None, None, None], turn))[0, 0, 0]


@pairs
@settings(derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    position=st.integers(0, 4000),
    distance=st.integers(0, 500),
    passed=st.sampled_from([0, 2, 3]),
)
def test_rotation_keeps_norms_and_sees_distances_only(
    pairs: str, seed: int, position: int, distance: int, passed: int
) -> None:
    config = RotaryConfig(pairs, (1.0, 0.3, 0.01))
    q, k = Uniform(seed).floats((2, 6 + passed))
    at_q, at_k = turned(config, q, position + distance), turned(config, k, position)
    # Cosine and sine are rounded, then two products added.
    size = float(np.linalg.norm(q))
    assert np.linalg.norm(at_q) == pytest.approx(size, abs=rounding([1, 2], size))
    np.testing.assert_array_equal(at_q[6:], q[6:].astype(np.float32))
    # The inner product depends on the distance of the two positions alone.
    base = turned(config, q, distance).astype(float) @ turned(config, k, 0)
    # An angle is rounded by a share of itself: at position 4,000 by 2e-4 radians.
    size *= float(np.linalg.norm(k))
    angles = UNIT * size * (2 * position + 2 * distance)
    assert at_q @ at_k == pytest.approx(base, abs=angles + rounding([1, 2, len(q)], size))


@pairs
def test_each_pair_is_a_complex_number(pairs: str) -> None:
    """Written again in complex numbers, with the pairs laid out by hand."""
    config = RotaryConfig(pairs, (1.0, 0.25), scale=1.5)
    x = np.asarray([1.0, 2.0, 3.0, 4.0, 5.0])
    first, second = ([0, 2], [1, 3]) if pairs == "interleaved" else ([0, 1], [2, 3])
    z = (x[first] + 1j * x[second]) * 1.5 * np.exp(1j * 7 * np.asarray([1.0, 0.25]))
    expected = x.copy()
    expected[first], expected[second] = z.real, z.imag
    assert_close(turned(config, x, 7), expected, [1, 2])


def test_logits_count_relative_positions_only(decoder: Decoder) -> None:
    """The blocks by hand, with all positions shifted."""
    if decoder.config.position_offset is not None:
        return  # learned positions are absolute
    ids = tokens(3, 12)
    graph, state = nnx.split(decoder)

    @float64
    def shifted(state: nnx.State, start: jax.Array) -> jax.Array:
        model = nnx.merge(graph, state)
        positions = jnp.broadcast_to(start + jnp.arange(12), (3, 12))
        places = Places.of(model.config, positions)
        x = model.embedding(jnp.asarray(ids), positions)
        for block in model.blocks:
            x, _ = block(x, places)
        return model.logits(x)

    plain, _ = exact(decoder, ids)
    for start in (0, 500):
        actual = shifted(state, np.asarray(start))
        # An angle loses a share of itself, as a sum of so many squares would.
        sums = [*decoder_sums(decoder.config, 12), (start + 12) ** 2]
        assert_close(actual, plain, sums, DOUBLE)


# --- annotations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "mask"),
    [
        (jnp.zeros(5, jnp.int32), None),
        (jnp.zeros((1, 5), jnp.float32), None),
        (jnp.zeros((1, 5), jnp.int32), jnp.ones((1, 4), bool)),
        (jnp.zeros((1, 5), jnp.int32), jnp.ones((2, 5), bool)),
        (jnp.zeros((1, 5), jnp.int32), jnp.ones((1, 5), jnp.int32)),
    ],
    ids=["rank", "float ids", "mask length", "mask rows", "integer mask"],
)
def test_shapes_are_checked(decoder: Decoder, ids: jax.Array, mask: jax.Array | None) -> None:
    """Under pytest, jaxtyping and beartype refuse what does not fit the annotations."""
    with pytest.raises(jaxtyping.TypeCheckError):
        decoder(ids, mask)


def test_a_linear_map_of_the_wrong_width_is_refused() -> None:
    linear = Linear(3, 2, bias=False, dtype=jnp.float32, rngs=nnx.Rngs(0))
    with pytest.raises((TypeError, ValueError)):
        linear(jnp.zeros((1, 4)))


# --- configs ------------------------------------------------------------------------------------


def test_configs_are_frozen_and_hashable(decoder: Decoder) -> None:
    hash(decoder.config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        decoder.config.layers = 3
