"""Theorem 1 against direct simulation, and where it stops."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from theory_problems import random_problem

from theory import implicit
from theory.implicit import Mlp, Weights

shapes = st.sampled_from([(1, 1, 1), (2, 5, 3), (8, 3, 4), (6, 6, 2)])  # each compiles anew
sizes = st.tuples(st.integers(0, 10**6), shapes).map(lambda drawn: (drawn[0], *drawn[1]))


@pytest.mark.long
@given(sizes)
def test_theorem_1_every_token_follows_the_same_map(size: tuple[int, int, int, int]) -> None:
    tokens, weights = random_problem(*size)
    run = implicit.masked_linear_stack(tokens, weights)
    actual = implicit.updates(tokens, weights)
    assert run.dtype == np.float64
    np.testing.assert_allclose(
        run, tokens @ np.swapaxes(actual.state, 1, 2), rtol=1e-12, atol=1e-12
    )
    before = actual.state[:-1]
    np.testing.assert_allclose(actual.gradient, actual.update @ before, rtol=1e-12, atol=1e-12)
    identity = np.eye(tokens.shape[1])
    np.testing.assert_allclose(
        actual.state[1:], (identity + actual.update) @ before, rtol=1e-12, atol=1e-12
    )


def test_theorem_1_in_float32() -> None:
    tokens, weights = random_problem(0, n=10, width=8)
    tokens, weights = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (tokens, weights))
    run = implicit.masked_linear_stack(tokens, weights)
    actual = implicit.updates(tokens, weights)
    assert run.dtype == actual.state.dtype == jnp.float32
    scale = float(jnp.abs(run).max())
    np.testing.assert_allclose(run[:, -1], actual.state @ tokens[-1], rtol=0, atol=1e-5 * scale)


@given(sizes)
def test_the_trajectory_depends_on_the_moment_only(size: tuple[int, int, int, int]) -> None:
    tokens, weights = random_problem(*size)
    demonstrations = tokens[:-1]
    states = implicit.moment_recursion(demonstrations.T @ demonstrations, weights)
    np.testing.assert_allclose(
        states, implicit.updates(tokens, weights).state, rtol=1e-12, atol=1e-12
    )
    rng = np.random.default_rng(size[0])
    rotation = np.linalg.qr(rng.normal(size=(len(demonstrations), len(demonstrations))))[0]
    turned = np.concatenate([rotation @ demonstrations, tokens[-1:]])
    np.testing.assert_allclose(
        implicit.updates(turned, weights).state, states, rtol=1e-12, atol=1e-12
    )


def test_factors_add_up_to_the_updates() -> None:
    tokens, weights = random_problem(1)
    factors = implicit.example_factors(tokens, weights)
    actual = implicit.updates(tokens, weights)
    for right, whole in ((factors.q, actual.update), (factors.r, actual.gradient)):
        np.testing.assert_allclose(
            np.einsum("lia,lib->lab", factors.v, right), whole, rtol=0, atol=1e-13
        )
    # v_i = W_V A h_i and r_i = A^T W_Q^T W_K A h_i.
    a, h = actual.state[1], tokens[0]
    np.testing.assert_allclose(factors.v[1, 0], weights.value[1] @ a @ h, rtol=0, atol=1e-13)
    r = a.T @ weights.query[1].T @ weights.key[1] @ a @ h
    np.testing.assert_allclose(factors.r[1, 0], r, rtol=0, atol=1e-13)


def test_pruning_a_layer_leaves_earlier_gradients_alone() -> None:
    tokens, weights = random_problem(2, layers=4)
    value = np.array(weights.value)
    value[2, 1:] = 0
    before = implicit.updates(tokens, weights).gradient
    after = implicit.updates(tokens, weights._replace(value=value)).gradient
    np.testing.assert_array_equal(after[:2], before[:2])
    assert np.abs(after[2:] - before[2:]).max(axis=(1, 2)).min() > 1e-3


@pytest.mark.parametrize(("n", "rank", "expected"), [(2, 6, 2), (9, 3, 3), (9, 6, 6)])
def test_rank_of_an_update(n: int, rank: int, expected: int) -> None:
    tokens, weights = random_problem(3, n=n, width=6)
    left, right = np.random.default_rng(0).normal(size=(2, 3, 6, rank))
    weights = weights._replace(key=0.02 * left @ np.swapaxes(right, 1, 2))
    ranks = np.linalg.matrix_rank(implicit.updates(tokens, weights).update, rtol=1e-10)
    assert list(ranks) == [expected] * 3


def test_causal_mask_keeps_the_test_token_and_loses_the_demonstrations() -> None:
    tokens, weights = random_problem(4)
    run = implicit.masked_linear_stack(tokens, weights, causal=True)
    actual = implicit.updates(tokens, weights, causal=True)
    np.testing.assert_allclose(run[:, -1], actual.state @ tokens[-1], rtol=0, atol=1e-12)
    followed = tokens[:-1] @ actual.state[-1].T
    assert np.abs(run[-1, :-1] - followed).max() > 1e-2
    # No token is moved by a later one.
    changed = np.array(tokens)
    changed[3] += 1
    other = implicit.masked_linear_stack(changed, weights, causal=True)
    np.testing.assert_array_equal(other[:, :3], run[:, :3])


@pytest.mark.parametrize(("d", "n", "eta", "layers"), [(3, 7, 0.3, 5), (1, 2, 1.2, 3)])
def test_von_oswalds_layers_are_gradient_descent(d: int, n: int, eta: float, layers: int) -> None:
    rng = np.random.default_rng(5)
    x, y, query = rng.normal(size=(n, d)), rng.normal(size=n), rng.normal(size=d)
    tokens = np.vstack([np.column_stack([x, y]), np.append(query, 0)])
    weights = implicit.gd_weights(d, eta, n, layers=layers)
    run = implicit.masked_linear_stack(tokens, weights)
    actual = implicit.updates(tokens, weights)
    np.testing.assert_allclose(actual.gradient, actual.update, rtol=0, atol=1e-14)
    w = np.zeros(d)
    for t in range(layers):
        gradient = x.T @ (x @ w - y) / n
        np.testing.assert_allclose(actual.update[t, d, :d], eta * gradient, rtol=0, atol=1e-14)
        w = w - eta * gradient
        np.testing.assert_allclose(actual.state[t + 1, d, :d], -w, rtol=0, atol=1e-14)
        np.testing.assert_allclose(-run[t + 1, -1, d], w @ query, rtol=0, atol=1e-14)
        np.testing.assert_allclose(run[t + 1, :-1, d], y - x @ w, rtol=0, atol=1e-14)


def mlp_problem() -> tuple[np.ndarray, Weights, Mlp]:
    tokens, weights = random_problem(6)
    rng = np.random.default_rng(7)
    inner, outer = rng.normal(size=(3, 9, 4)) / 2, rng.normal(size=(3, 4, 9)) / 3
    return tokens, weights, Mlp(inner, outer)


def test_mlp_without_activation_multiplies_the_update() -> None:
    tokens, weights, mlp = mlp_problem()
    run = implicit.masked_linear_stack(tokens, weights, mlp=mlp)
    actual = implicit.updates(tokens, weights, mlp=mlp)
    np.testing.assert_allclose(run, tokens @ np.swapaxes(actual.state, 1, 2), rtol=0, atol=1e-12)
    plain = implicit.updates(tokens, weights).update[0]
    np.testing.assert_allclose(
        actual.update[0], mlp.outer[0] @ mlp.inner[0] @ plain, rtol=0, atol=1e-13
    )


def test_mlp_with_activation_is_exact_for_its_own_query_only() -> None:
    tokens, weights, mlp = mlp_problem()
    run = implicit.masked_linear_stack(tokens, weights, mlp=mlp, activation="relu")
    actual = implicit.updates(tokens, weights, mlp=mlp, activation="relu")
    np.testing.assert_allclose(run[:, -1], actual.state @ tokens[-1], rtol=0, atol=1e-12)
    other = np.array(tokens)
    other[-1] *= -1
    run = implicit.masked_linear_stack(other, weights, mlp=mlp, activation="relu")
    assert np.abs(run[-1, -1] - actual.state[-1] @ other[-1]).max() > 1e-2


def problem_with(**changes: object) -> Callable[[], object]:
    tokens, weights = random_problem(0)
    tokens = changes.pop("tokens", tokens)
    weights = weights._replace(**changes)  # type: ignore[arg-type]
    return lambda: implicit.updates(tokens, weights)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (problem_with(tokens=np.ones(4)), "tokens must be a matrix"),
        (problem_with(tokens=np.ones((1, 4))), "tokens must be at least 2 tokens"),
        (problem_with(tokens=np.full((3, 4), np.nan)), "tokens must be finite"),
        (problem_with(key=np.ones((3, 4, 5))), r"weights.key must be of shape \(3, 4, 4\)"),
        (problem_with(query=np.full((3, 4, 4), np.inf)), "weights.query must be finite"),
        (
            lambda: implicit.moment_recursion(np.ones((4, 3)), random_problem(0)[1]),
            "moment must be a square matrix",
        ),
        (lambda: implicit.gd_weights(0, 0.1, 4), "d must be at least 1"),
        (lambda: implicit.gd_weights(2, float("nan"), 4), "eta must be finite"),
        (
            lambda: implicit.updates(
                *random_problem(0), mlp=Mlp(np.ones((3, 5, 4)), np.ones((3, 4, 6)))
            ),
            "mlp.outer must be of shape",
        ),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def head_problem(heads: int = 3, each: int = 2) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Tokens, and W_V, W_K, W_Q and W_O of two layers by head, as a transformer stores them."""
    rng = np.random.default_rng(8)
    shape = (2, heads, each, 4)
    value, key, query = 0.4 * rng.normal(size=(3, *shape))
    return rng.normal(size=(6, 4)), (value, key, query, rng.normal(size=(2, heads, 4, each)) / 2)


def test_theorem_1_with_several_heads() -> None:
    """Against attention written out head by head."""
    tokens, (value, key, query, output) = head_problem()
    weights = implicit.multi_head(value, key, query, output)
    run = implicit.masked_linear_stack(tokens, weights)
    known = tokens
    for t in range(2):
        added = np.zeros_like(known)
        for h in range(3):
            v, k, q = (known @ matrix[t, h].T for matrix in (value, key, query))
            added += (q @ k[:-1].T) @ v[:-1] @ output[t, h].T
        known = known + added
        np.testing.assert_allclose(run[t + 1], known, rtol=0, atol=1e-12)
    actual = implicit.updates(tokens, weights)
    np.testing.assert_allclose(run[-1], tokens @ actual.state[-1].T, rtol=0, atol=1e-12)
    factors = implicit.example_factors(tokens, weights)
    assert factors.v.shape == (2, 5, 3, 4)
    for right, whole in ((factors.q, actual.update), (factors.r, actual.gradient)):
        np.testing.assert_allclose(
            np.einsum("lnha,lnhb->lab", factors.v, right), whole, rtol=0, atol=1e-13
        )
    demonstrations = tokens[:-1]
    states = implicit.moment_recursion(demonstrations.T @ demonstrations, weights)
    np.testing.assert_allclose(states, actual.state, rtol=0, atol=1e-12)


def test_one_head_is_a_stack_without_heads() -> None:
    tokens, weights = random_problem(10)
    one = Weights(*(matrix[:, None] for matrix in weights))
    for actual, known in zip(
        implicit.updates(tokens, one), implicit.updates(tokens, weights), strict=True
    ):
        np.testing.assert_array_equal(actual, known)
    assert implicit.example_factors(tokens, one).v.shape == (3, 6, 1, 4)


@pytest.mark.long
def test_rectangular_matrices_of_a_3() -> None:
    """W_V, W_K and W_Q of 3 x D, brought back to D by the MLP, with and without activation."""
    rng = np.random.default_rng(9)
    tokens = rng.normal(size=(6, 4))
    weights = Weights(*(0.5 * rng.normal(size=(3, 2, 3, 4))))
    mlp = Mlp(rng.normal(size=(2, 5, 3)) / 2, rng.normal(size=(2, 4, 5)) / 2)
    for activation in ("linear", "relu"):
        run = implicit.masked_linear_stack(tokens, weights, mlp=mlp, activation=activation)
        actual = implicit.updates(tokens, weights, mlp=mlp, activation=activation)
        np.testing.assert_allclose(run[:, -1], actual.state @ tokens[-1], rtol=0, atol=1e-12)
    h = tokens[:-1]
    moment = weights.value[0] @ h.T @ h @ weights.key[0].T @ weights.query[0]
    np.testing.assert_allclose(
        implicit.updates(tokens, weights, mlp=mlp).update[0],
        mlp.outer[0] @ mlp.inner[0] @ moment,
        rtol=0,
        atol=1e-12,
    )
    # Keys and queries may be narrow on their own.
    narrow = weights._replace(value=0.3 * rng.normal(size=(2, 4, 4)))
    run = implicit.masked_linear_stack(tokens, narrow)
    np.testing.assert_allclose(
        run[-1], tokens @ implicit.updates(tokens, narrow).state[-1].T, rtol=0, atol=1e-12
    )
    with pytest.raises(ValueError, match=r"weights.value must be of shape \(2, 4, 4\)"):
        implicit.updates(tokens, weights)


def test_the_order_of_demonstrations_changes_nothing_under_m() -> None:
    """Remark 1 says that order matters; by Theorem 1 it does not, but under a causal mask."""
    tokens, weights = random_problem(11, n=10, layers=3, scale=1.0)
    rng = np.random.default_rng(0)
    permuted = np.concatenate([rng.permutation(tokens[:-1]), tokens[-1:]])
    for causal in (False, True):
        before, after = (
            implicit.updates(one, weights, causal=causal).state[-1] for one in (tokens, permuted)
        )
        change = np.abs(before - after).max()
        scale = np.abs(before).max()
        assert change > 1e-2 * scale if causal else change < 1e-13 * scale


def test_an_update_depends_on_the_past_and_the_sample_only() -> None:
    """Remark 2: G_t from W_{t-1}, H_s and the layer's weights, however W_{t-1} came about."""
    tokens, weights = random_problem(12)
    actual = implicit.updates(tokens, weights)
    h = tokens[:-1]
    for t in range(3):
        a = actual.state[t]
        gradient = weights.value[t] @ a @ h.T @ h @ a.T @ weights.key[t].T @ weights.query[t] @ a
        np.testing.assert_allclose(actual.gradient[t], gradient, rtol=0, atol=1e-12)


def test_without_one_over_n_the_step_grows_with_n() -> None:
    """The paper's dW is a sum: of twice the demonstrations it is twice as large."""
    tokens, weights = random_problem(13)
    twice = np.concatenate([tokens[:-1], tokens])
    one, two = (implicit.updates(t, weights).update[0] for t in (tokens, twice))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-12)
