"""Kernel norms against explicit features, and what is and is not a property of the function."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import softmax
from theory.softmax import AttentionWeights, Rotary

TOKENS, HEADS, GROUPS, WIDTH, MODEL = 7, 4, 2, 4, 10


def random_layer(seed: int = 0) -> tuple[np.ndarray, AttentionWeights]:
    rng = np.random.default_rng(seed)
    sizes = (HEADS, GROUPS, GROUPS, HEADS)
    weights = [rng.normal(size=(n, WIDTH, MODEL)) / math.sqrt(MODEL) for n in sizes]
    return rng.normal(size=(TOKENS, MODEL)), AttentionWeights(*weights)


def features(x: np.ndarray, degree: int = 30) -> np.ndarray:
    """Phi with <phi(x), phi(y)> = exp(<x, y>), its tensor powers written out, for x in R^1."""
    powers = np.arange(degree)
    factorials = np.array([math.factorial(p) for p in powers], float)
    return x**powers / np.sqrt(factorials)


def test_update_with_explicit_features() -> None:
    """Heads one feature wide: dW as a matrix, its norm, and the output that it gives."""
    rng = np.random.default_rng(1)
    model, tokens = 5, 6
    attention = AttentionWeights(*(rng.normal(size=(1, 1, model)) for _ in range(4)))
    hidden = rng.normal(size=(tokens, model))
    query, key, value = (hidden @ a[0].T for a in attention[:3])
    phi_keys = np.stack([features(k) for k in key])
    normaliser = np.exp(key @ query[-1]).sum()
    update = (value[:-1] @ attention.output[0]).T @ phi_keys[:-1] / normaliser
    actual = softmax.layer_norms(hidden, attention)
    np.testing.assert_allclose(actual.update, [np.log(np.linalg.norm(update))], rtol=1e-11)
    # The paper's A.2: the demonstrations' share of softmax attention over N + 1 keys.
    shares = np.exp(key @ query[-1]) / normaliser
    np.testing.assert_allclose(
        update @ features(query[-1]),
        (shares[:-1] @ value[:-1]) @ attention.output[0],
        rtol=1e-11,
    )


def test_rank_of_the_update_is_that_of_the_demonstrations() -> None:
    """The paper's A.2: rank <= rank(H_s), since W_V H_s stands on the left of any features."""
    rng = np.random.default_rng(11)
    directions = rng.normal(size=(2, 5))
    hidden = rng.normal(size=(7, 2)) @ directions
    value, key = rng.normal(size=(2, 5, 5)) / 3
    phi = np.stack([features(k) for k in hidden @ key[:1].T])
    assert np.linalg.matrix_rank(phi, rtol=1e-10) > 2
    assert np.linalg.matrix_rank((hidden @ value.T).T @ phi, rtol=1e-10) == 2


def output_of_test_token(
    query_input: jax.Array, hidden: jax.Array, attention: AttentionWeights, rotary: Rotary | None
) -> jax.Array:
    """Each head's output [H, D], keys held: an independent softmax attention."""
    places = jnp.arange(hidden.shape[0])

    def turn(x: jax.Array, position: jax.Array) -> jax.Array:
        if rotary is None:
            return x
        angle = position * jnp.asarray(rotary.frequencies)
        half = len(rotary.frequencies)
        if rotary.pairs == "halves":
            pairs = [(i, i + half) for i in range(half)]
        else:
            pairs = [(2 * i, 2 * i + 1) for i in range(half)]
        for n, (i, j) in enumerate(pairs):
            c, s = jnp.cos(angle[n]), jnp.sin(angle[n])
            x = x.at[jnp.array([i, j])].set(jnp.stack([x[i] * c - x[j] * s, x[j] * c + x[i] * s]))
        return x

    heads = []
    for h in range(HEADS):
        g = h // (HEADS // GROUPS)
        q = turn(attention.query[h] @ query_input, places[-1])
        k = jnp.stack([turn(attention.key[g] @ x, p) for x, p in zip(hidden, places, strict=True)])
        a = jax.nn.softmax(k @ q / math.sqrt(WIDTH))
        heads.append((a @ (hidden @ attention.value[g].T)) @ attention.output[h])
    return jnp.stack(heads)


@pytest.mark.long
@pytest.mark.parametrize(
    "rotary",
    [
        None,
        Rotary(np.array([1.0, 0.3]), "halves"),
        Rotary(np.array([0.7]), "interleaved"),
    ],
)
def test_jacobian_against_automatic_differentiation(rotary: Rotary | None) -> None:
    hidden, attention = random_layer()
    with jax.enable_x64(True):
        weights = jax.tree.map(jnp.asarray, attention)
        tokens = jnp.asarray(hidden)

        def output(x: jax.Array) -> jax.Array:
            return output_of_test_token(x, tokens, weights, rotary)

        jacobian = np.asarray(jax.jit(jax.jacobian(output))(tokens[-1]))
    expected = np.log(np.linalg.norm(jacobian, axis=(1, 2)))
    actual = softmax.layer_norms(hidden, attention, rotary)
    np.testing.assert_allclose(actual.jacobian, expected, rtol=1e-11, atol=1e-12)
    # The layer's, whose heads' Jacobians add as matrices.
    whole = np.log(np.linalg.norm(jacobian.sum(0)))
    np.testing.assert_allclose(actual.layer, whole, rtol=1e-11, atol=1e-12)
    assert abs(float(softmax.total(actual.jacobian)) - whole) > 1e-3


def test_two_identical_heads_have_twice_the_jacobian() -> None:
    hidden, attention = random_layer(7)
    one = AttentionWeights(
        attention.query[:1], attention.key[:1], attention.value[:1], attention.output[:1]
    )
    two = AttentionWeights(*(np.repeat(matrix, 2, axis=0) for matrix in one[:4]))
    single, double = (softmax.layer_norms(hidden, a) for a in (one, two))
    assert float(double.layer) == pytest.approx(float(single.layer) + math.log(2), rel=1e-12)
    assert float(single.layer) == pytest.approx(float(single.jacobian[0]), rel=1e-12)
    # Of the update, whose heads have features of their own, squares add.
    added = float(softmax.total(double.update))
    assert added == pytest.approx(float(single.update[0]) + math.log(2) / 2, rel=1e-12)


def test_biases_are_those_of_a_constant_feature() -> None:
    hidden, attention = random_layer(8)
    rng = np.random.default_rng(9)
    biases = [rng.normal(size=(n, WIDTH)) for n in (HEADS, GROUPS, GROUPS)]
    rotary = Rotary(np.array([1.0, 0.3]), "halves")
    actual = softmax.layer_norms(hidden, AttentionWeights(*attention[:4], *biases), rotary)
    wide = np.concatenate([hidden, np.ones((TOKENS, 1))], axis=1)
    columns = [*biases, np.zeros((HEADS, WIDTH))]
    extended = AttentionWeights(
        *(
            np.concatenate([matrix, column[..., None]], axis=2)
            for matrix, column in zip(attention[:4], columns, strict=True)
        )
    )
    known = softmax.layer_norms(wide, extended, rotary)
    np.testing.assert_allclose(actual.update, known.update, rtol=1e-11)
    # The constant feature is no input, so that the Jacobian's query matrix is without its column.
    without = softmax.grams(extended)._replace(query=softmax.grams(attention).query)
    known = softmax.layer_norms(wide, extended, rotary, weights=without)
    np.testing.assert_allclose(actual.jacobian, known.jacobian, rtol=1e-11)
    np.testing.assert_allclose(actual.layer, known.layer, rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-60, 1e60, 1e100])
def test_values_of_any_scale(scale: float) -> None:
    hidden, attention = random_layer(10)
    for name in ("value", "output"):
        scaled = attention._replace(**{name: scale * getattr(attention, name)})
        for one, other in zip(
            softmax.layer_norms(hidden, attention), softmax.layer_norms(hidden, scaled), strict=True
        ):
            np.testing.assert_allclose(other, one + math.log(scale), rtol=1e-11, atol=1e-11)
    larger = softmax.layer_norms(hidden * scale, attention)
    assert not any(np.isnan(norm).any() for norm in larger)


def test_scores_out_of_range_are_an_error() -> None:
    hidden, attention = random_layer(10)
    with pytest.raises(
        ValueError, match="query and keys must be of a size whose scores are finite"
    ):
        softmax.layer_norms(hidden * 1e160, attention)


def test_update_norm_head_by_head() -> None:
    hidden, attention = random_layer(2)
    demonstrations = np.array([True, False, True, True, False, True, False])
    actual = softmax.layer_norms(hidden, attention, None, demonstrations)
    for h in range(HEADS):
        g = h // 2
        k, v = hidden @ attention.key[g].T, hidden @ attention.value[g].T
        q = attention.query[h] @ hidden[-1]
        moved = (v @ attention.output[h])[demonstrations]
        kernel = np.exp(k @ k.T / 2)[np.ix_(demonstrations, demonstrations)]
        square = ((moved @ moved.T) * kernel).sum()
        expected = math.log(square) / 2 - math.log(np.exp(k @ q / 2).sum())
        assert actual.update[h] == pytest.approx(expected, rel=1e-12)
    whole = math.log(np.exp(2 * actual.update).sum()) / 2
    assert float(softmax.total(actual.update)) == pytest.approx(whole, rel=1e-12)


def test_shared_keys_are_repeated_keys() -> None:
    hidden, attention = random_layer(3)
    repeated = attention._replace(
        key=np.repeat(attention.key, 2, axis=0), value=np.repeat(attention.value, 2, axis=0)
    )
    for grouped, plain in zip(
        softmax.layer_norms(hidden, attention), softmax.layer_norms(hidden, repeated), strict=True
    ):
        np.testing.assert_allclose(grouped, plain, rtol=1e-13)


def test_causal_mask_hides_later_tokens() -> None:
    hidden, attention = random_layer(4)
    rotary = Rotary(np.array([1.0, 0.1]), "halves")
    inside = softmax.layer_norms(hidden, attention, rotary, position=4)
    alone = softmax.layer_norms(hidden[:5], attention, rotary)
    for a, b in zip(inside, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_shifting_all_keys_changes_the_norm_by_1e8_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    query, keys, values = rng.normal(size=(1, 8)), *rng.normal(size=(2, 9, 1, 8))
    built = softmax.grams(AttentionWeights(*rng.normal(size=(4, 1, 8, 6))))
    shift = np.full(8, 8.0)
    before = softmax.head_norms(query, keys, values, built)
    after = softmax.head_norms(query, keys + shift, values, built)
    assert abs(after.update[0] - before.update[0]) > math.log(1e8)
    np.testing.assert_allclose(after.jacobian, before.jacobian, rtol=0, atol=1e-12)


def test_exponents_of_trained_models_do_not_overflow() -> None:
    rng = np.random.default_rng(6)
    keys = rng.normal(size=(5, 1, 4))
    keys *= np.sqrt(146 * 2 / (keys**2).sum(-1).max())
    built = softmax.grams(AttentionWeights(*rng.normal(size=(4, 1, 4, 6))))
    arrays = (rng.normal(size=(1, 4)), keys, rng.normal(size=(5, 1, 4)))
    exact = softmax.head_norms(*arrays, built)
    single = softmax.head_norms(
        *(jnp.asarray(a, jnp.float32) for a in arrays),
        jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), built),
    )
    assert single.update.dtype == jnp.float32
    assert exact.update[0] > 60
    for a, b in zip(single, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h, a: softmax.layer_norms(h[:, :4], a), r"hidden must be \[T, 10\]"),
        (lambda h, a: softmax.layer_norms(h * np.nan, a), "query must be finite"),
        (lambda h, a: softmax.layer_norms(h, a, position=7), "position must be one of the tokens"),
        (
            lambda h, a: softmax.layer_norms(h, a, position=0),
            "demonstrations must be some of the visible tokens",
        ),
        (
            lambda h, a: softmax.grams(a._replace(key=np.ones((3, 4, 10)))),
            "attention.key must be of a number that divides H = 4",
        ),
        (
            lambda h, a: softmax.grams(a._replace(output=np.ones((4, 4, 9)))),
            r"attention.output must be of shape \(4, 4, 10\)",
        ),
        (
            lambda h, a: softmax.in_query_frame(
                np.ones((2, 1, 4)), np.arange(2), Rotary(np.ones(3), "halves")
            ),
            "frequencies must be at most half the features",
        ),
    ],
)
def test_bad_input(call: Callable[[np.ndarray, AttentionWeights], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(*random_layer())
