"""Truncation: what falls, what need not, and the counterexamples."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from theory_problems import random_problem

from theory import bounds, implicit, pruning
from theory.implicit import Mlp, Weights
from theory.pruning import NoisyAlgorithm

RATES = (0.0, 0.5, 0.8)


def norms(tokens: np.ndarray, weights: Weights) -> np.ndarray:
    return np.linalg.norm(implicit.updates(tokens, weights).update, axis=(1, 2))


def with_moment_one(*weights: np.ndarray) -> tuple[np.ndarray, Weights]:
    """Demonstrations with S = I, and a stack."""
    tokens = np.vstack([np.eye(2), np.zeros((1, 2))])
    return tokens, Weights(*(np.asarray(w, float) for w in weights))


@given(st.integers(0, 10**6), st.sampled_from(["value", "query"]), st.integers(0, 2))
def test_pruning_value_or_query_lowers_its_own_layers_norm(
    seed: int, matrix: pruning.Matrix, layer: int
) -> None:
    tokens, weights = random_problem(seed)
    path = [norms(tokens, pruning.prune(weights, layer, matrix, rate))[layer] for rate in RATES]
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(path))


def test_pruning_the_key_need_not() -> None:
    tokens, weights = with_moment_one([[[1, -1], [0, 0]]], [[[2, 0], [0, 1]]], [[[1, 0], [1, 0]]])
    pruned = pruning.prune(weights, 0, "key", 0.5)
    np.testing.assert_array_equal(pruned.key[0], np.diag([2.0, 0.0]))
    np.testing.assert_allclose(norms(tokens, weights), [1.0], rtol=1e-15)
    np.testing.assert_allclose(norms(tokens, pruned), [2.0], rtol=1e-15)


def test_a_later_layer_may_rise() -> None:
    identity = [np.eye(2)] * 2
    tokens, weights = with_moment_one([np.diag([1, -0.5]), np.diag([0, 1])], identity, identity)
    pruned = pruning.prune(weights, 0, "value", 0.5)
    assert norms(tokens, weights)[1] == 0.25
    assert norms(tokens, pruned)[1] == 1.0


def test_example_1_is_no_upper_bound() -> None:
    """Ten times the same h, |h|^4 = 5.136, identities of size 6: 513.6 > 308.2."""
    h = np.zeros(6)
    h[0] = 5.136**0.25
    weights = Weights(*(np.eye(6)[None] for _ in range(3)))
    prompts = np.broadcast_to(h, (1, 10, 6))
    states = np.eye(6)[None, None]
    square = norms(np.vstack([prompts[0], h]), weights)[0] ** 2
    printed = pruning.upper_bound(prompts, states, weights, corrected=False)[0, 0]
    assert square == pytest.approx(513.6, abs=1e-9)
    assert printed == pytest.approx(308.16, abs=1e-9)
    assert pruning.upper_bound(prompts, states, weights)[0, 0] == pytest.approx(3081.6, abs=1e-9)


def test_truncation_is_the_best_approximation() -> None:
    matrix = np.random.default_rng(0).normal(size=(5, 3))
    values = np.linalg.svd(matrix, compute_uv=False)
    for rank in (1, 2, 3):
        cut = pruning.truncate(matrix, rank)
        np.testing.assert_allclose(
            np.linalg.norm(matrix - cut), np.linalg.norm(values[rank:]), rtol=1e-12, atol=1e-14
        )
    assert pruning.truncate(matrix, 3) is matrix


def test_ranks_of_the_paper() -> None:
    rates = (0.0, 0.1, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995)
    ranks = [pruning.kept_rank(rate, (4096, 11008)) for rate in rates]
    assert ranks == [4096, 3686, 2048, 1024, 409, 204, 40, 20]
    assert pruning.kept_rank(0.995, (10, 10)) == 1


def report(
    matrix: pruning.Matrix = "value", n: int = 8, d: int = 3, **changes: Any
) -> pruning.PathReport:
    rng = np.random.default_rng(1)
    weights = Weights(*(0.3 * rng.normal(size=(3, 2, d + 1, d + 1))))
    prompts = bounds.regression_prompts(jax.random.key(0), 20, n, d, 0.3)

    def judge(states: np.ndarray) -> bounds.Risks:
        w = np.asarray(bounds.predictors(states))
        return bounds.regression_risks(w, prompts, 0.3)

    arguments = {"rates": RATES, "b": 4, "judge": judge, "layer": 0} | changes
    return pruning.path_report(jax.random.key(1), prompts, weights, matrix=matrix, **arguments)


@pytest.mark.long
def test_path_report() -> None:
    actual = report()
    assert actual.ranks == (4, 2, 1)
    assert actual.norms[0].falls
    assert actual.norms[0].share == 1
    assert all(corrected == 1 for _, corrected in actual.holds)
    assert actual.gap is not None
    assert actual.risk is not None
    assert 0 < actual.risk.values[0] < 1
    assert set(actual.bounds) == {
        f"{kind}, {noise} ridge"
        for kind in ("theorem2", "lemma6 zero", "lemma6 mean")
        for noise in ("relative", "absolute")
    }
    # Where nothing changes between two rates, nothing is said to rise.
    same = report(rates=(0.3, 0.5))
    assert all(path.falls for path in (*same.norms, *same.bounds.values()))


@pytest.mark.long
def test_the_relative_bound_rises_under_pruning() -> None:
    """The opposite of Remark 4: C becomes more singular."""
    actual = report().bounds["lemma6 zero, relative ridge"]
    assert actual.values[-1] > 1.05 * actual.values[0]
    assert not actual.falls
    without = report(n=12, d=2, settings={"none": NoisyAlgorithm("symmetric", None)}).bounds
    for actual in without.values():
        assert np.isfinite(actual.values[0])
        assert actual.values[-1] == np.inf
        assert not actual.falls


@pytest.mark.long
def test_mlp_matrices_can_be_pruned() -> None:
    rng = np.random.default_rng(2)
    mlp = Mlp(rng.normal(size=(2, 6, 4)) / 2, rng.normal(size=(2, 4, 6)) / 2)
    actual = report("inner", mlp=mlp, layer=1)
    assert actual.ranks == (4, 2, 1)
    tokens, weights = random_problem(0, layers=2)
    cut = pruning.prune(mlp, 1, "inner", 0.5)
    np.testing.assert_allclose(
        implicit.updates(tokens, pruning.fold(weights, cut)).state,
        implicit.updates(tokens, weights, mlp=cut).state,
        rtol=0,
        atol=1e-13,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: report(rates=(0.5, 0.1)), "rates must be ascending"),
        (lambda: report(rates=(0.0, 1.0)), "rate must be at least 0 and below 1"),
        (lambda: report(layer=2), "layer must be one of 2 layers"),
        (lambda: report("inner"), "mlp must be given to prune its inner"),
        (lambda: report(b=9), "b must be at least 1 and at most N = 8"),
        (lambda: pruning.truncate(np.eye(3), 4), "rank must be at least 1 and at most 3"),
        (lambda: pruning.truncate(np.full((2, 2), np.nan), 1), "matrix must be finite"),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_pruning_the_query_may_raise_the_gradient() -> None:
    """Lemma 6 reads ||G_2|| = ||dW_2 A_1||: rank 1 of W_Q takes it from 1 to 2, ||dW_2|| down."""
    identity = [np.eye(2)] * 2
    tokens, weights = with_moment_one(
        [[[0, 0], [-2, 0]], [[7, 3], [0, 0]]], identity, [np.eye(2), np.diag([2.0, 1.0])]
    )
    pruned = pruning.prune(weights, 1, "query", 0.5)
    before, after = (implicit.updates(tokens, w) for w in (weights, pruned))
    size = [np.linalg.norm(actual.gradient[1]) for actual in (before, after)]
    np.testing.assert_allclose(size, [1, 2], rtol=1e-12)
    assert norms(tokens, pruned)[1] < norms(tokens, weights)[1]


def test_pruning_the_value_lowers_the_gradient_and_the_query_need_not() -> None:
    rises = dict.fromkeys(("value", "query"), 0)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        tokens = rng.normal(size=(7, 2))
        weights = Weights(*rng.normal(size=(3, 2, 2, 2)))
        for matrix in ("value", "query"):
            pruned = pruning.prune(weights, 1, matrix, 0.5)
            before, after = (
                np.linalg.norm(implicit.updates(tokens, w).gradient[1]) for w in (weights, pruned)
            )
            rises[matrix] += bool(after > before * (1 + 1e-9))
    assert rises["value"] == 0
    assert rises["query"] >= 10


def test_path_report_has_the_gradients_norms() -> None:
    for matrix in ("value", "query"):
        actual = report(matrix, layer=1)
        assert actual.norms[1].share == 1
        assert len(actual.gradient_norms) == 2
        if matrix == "value":
            assert actual.gradient_norms[1].share == 1


def test_magnitude_pruning_can_double_the_update() -> None:
    """Remark 6: W_V = [1, -1/2] on a row, demonstrations along (1, 1): 1/2 becomes 1."""
    value = np.array([[1.0, -0.5], [0, 0]])
    tokens = np.array([[1.0, 1.0], [0, 0]])
    eye = np.eye(2)[None]
    before, after = (
        norms(tokens, Weights(matrix[None], eye, eye))[0]
        for matrix in (value, pruning.magnitude_prune(value, 0.75))
    )
    assert after == pytest.approx(2 * before, rel=1e-12)
    kept = pruning.magnitude_prune(np.array([[3.0, -1.0], [2.0, -4.0]]), 0.5)
    np.testing.assert_array_equal(kept, [[3.0, 0.0], [0.0, -4.0]])


def test_an_ill_conditioned_matrix_hardly_changes_when_truncated() -> None:
    """Case 1 is about solving W x = b; a layer multiplies, and what is cut moves it by s_min."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2))
    for smallest in (1e-1, 1e-6):
        w = u * [1, 1, 1, smallest] @ v.T
        x = rng.normal(size=4)
        moved = np.linalg.norm((w - pruning.truncate(w, 3)) @ x)
        assert moved <= smallest * np.linalg.norm(x) * (1 + 1e-9)
        # The solution, of which the paper speaks, moves by as much as 1 / s_min.
        shifted = np.linalg.solve(w, w @ x + smallest * u[:, 3])
        assert np.linalg.norm(shifted - x) == pytest.approx(1, rel=1e-6)


def test_heads_are_pruned_as_the_one_matrix_that_is_stored() -> None:
    rng = np.random.default_rng(1)
    weights = implicit.multi_head(*rng.normal(size=(3, 1, 2, 3, 6)), rng.normal(size=(1, 2, 6, 3)))
    pruned = pruning.prune(weights, 0, "query", 0.5)
    joint = np.asarray(weights.query[0]).reshape(6, 6)
    np.testing.assert_allclose(
        np.asarray(pruned.query[0]).reshape(6, 6), pruning.truncate(joint, 3), rtol=1e-12
    )
    prompts = np.zeros((2, 4, 6))
    with pytest.raises(ValueError, match="weights must be of one head"):
        pruning.path_report(jax.random.key(0), prompts, weights, 0, "query", (0.0,), 2)
