"""The subspace of the gradients: its dimension by brute force, and bounds in it."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import bounds, implicit, noise, pruning
from theory.implicit import Weights
from theory.pruning import NoisyAlgorithm


def rotation(rng: np.random.Generator, width: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(width, width)))[0]


def of_rank(rng: np.random.Generator, width: int, rank: int) -> np.ndarray:
    """Singular values between 1 and 2, so that brute force can count what is not zero."""
    values = np.where(np.arange(width) < rank, rng.uniform(1, 2, width), 0)
    return rotation(rng, width) * values @ rotation(rng, width)


def brute_force_dimension(left: list[np.ndarray], right: list[np.ndarray]) -> int:
    """Rank of X -> sum_h P_h X Q_h on a basis of the symmetric matrices."""
    width = len(left[0])
    images = []
    for a, b in itertools.combinations_with_replacement(range(width), 2):
        x = np.zeros((width, width))
        x[a, b] = x[b, a] = 1
        images.append(sum(p @ x @ q for p, q in zip(left, right, strict=True)).ravel())
    return int(np.linalg.matrix_rank(np.array(images), rtol=1e-9))


@given(st.integers(0, 10**6), st.integers(2, 5), st.data())
def test_dimension_of_the_gradients(seed: int, width: int, data: st.DataObject) -> None:
    """It is p q - m (m - 1) / 2, with the state A in it, over ranks and shared directions."""
    rng = np.random.default_rng(seed)
    ranks = [data.draw(st.integers(0, width)) for _ in range(3)]
    value, key, query = (of_rank(rng, width, rank) for rank in ranks)
    if data.draw(st.booleans()) and ranks[0]:  # columns of W_K^T W_Q inside the rows of W_V
        key = rotation(rng, width) @ value
    weights = Weights(value[None], key[None], query[None])
    state = of_rank(rng, width, width)
    left, right = value @ state, state.T @ key.T @ query @ state
    assert noise.gradient_dimensions(weights)[0] == brute_force_dimension([left], [right])


def test_dimension_of_named_cases() -> None:
    eye, zero = np.eye(4)[None], np.zeros((1, 4, 4))
    first, last = np.diag([1.0, 1, 0, 0])[None], np.diag([0.0, 0, 1, 1])[None]
    cases = (
        (Weights(eye, eye, eye), 10),  # D (D + 1) / 2
        (Weights(first, eye, first), 3),  # p = q = m = 2
        (Weights(first, eye, last), 4),  # nothing shared
        (Weights(zero, eye, eye), 0),
        (implicit.gd_weights(3, 0.1, 5), 3),
    )
    for weights, directions in cases:
        assert noise.gradient_dimensions(weights).tolist() == [directions]


def test_dimension_with_heads_is_that_of_the_sum() -> None:
    rng = np.random.default_rng(0)
    value, key, query = ([of_rank(rng, 4, 1) for _ in range(2)] for _ in range(3))
    weights = Weights(*(np.array(matrices)[None] for matrices in (value, key, query)))
    right = [k.T @ q for k, q in zip(key, query, strict=True)]
    assert noise.gradient_dimensions(weights)[0] == brute_force_dimension(value, right) == 2
    same = Weights(*(np.repeat(matrix[:, :1], 2, axis=1) for matrix in weights))
    assert noise.gradient_dimensions(same)[0] == 1


def small_stack(seed: int, width: int = 3, layers: int = 2) -> Weights:
    rng = np.random.default_rng(seed)
    matrices = rng.normal(size=(3, layers, width, width)) / np.sqrt(width)
    matrices[0] /= 10
    return Weights(*matrices)


@pytest.mark.long
def test_bound_is_finite_from_as_many_shots_as_directions() -> None:
    weights = pruning.prune(small_stack(0), 0, "value", 0.6)  # rank 1: p q - 0 = 3
    dimensions = noise.gradient_dimensions(weights)
    assert dimensions.tolist() == [3, 6]
    for n, status in ((6, "inf"), (7, "finite")):
        prompts = np.random.default_rng(1).normal(size=(8, n, 3))
        run = noise.noisy_trajectory(jax.random.key(0), prompts, weights, n // 2)
        measured = bounds.measure(run.factors, n // 2, run.states, weights=weights)
        bound = bounds.lemma6(measured, subspace="gradients")
        assert bound.status == status
        assert "d_t directions" in bound.algorithm
        # At fewer shots the truncated layer has a finite term already.
        assert np.isfinite(bound.terms[0])


def test_gradient_subspace_holds_all_gradients_and_the_term_is_entry_by_entry() -> None:
    weights = pruning.prune(small_stack(2), 1, "query", 0.4)
    prompts = np.random.default_rng(3).normal(size=(30, 9, 3))
    run = noise.noisy_trajectory(jax.random.key(1), prompts, weights, 4)
    measured = bounds.measure(run.factors, 4, run.states, weights=weights)
    bound = bounds.lemma6(measured, subspace="gradients")
    for t, directions in enumerate(noise.gradient_dimensions(weights)):
        totals, logdets = [], []
        for m in range(30):
            state = run.states[m, t]
            right = state.T @ weights.key[t].T @ weights.query[t] @ state
            images = [
                (weights.value[t] @ state @ (x + x.T) @ right).ravel()
                for x in np.eye(9).reshape(9, 3, 3)
            ]
            basis = np.linalg.svd(np.array(images))[2][:directions]
            v, r = run.factors.v[m, t], run.factors.r[m, t]
            g = 9 * np.einsum("ia,ib->iab", v, r).reshape(9, -1)
            inside = g @ basis.T
            np.testing.assert_allclose(inside @ basis, g, rtol=0, atol=1e-12 * np.abs(g).max())
            c = noise.kappa(9, 4) * np.cov(inside.T, bias=True)
            totals.append((inside.mean(0) ** 2).sum() + np.trace(c))
            logdets.append(np.linalg.slogdet(c)[1])
        term = directions * np.log(np.mean(totals) / directions) - np.mean(logdets)
        assert bound.terms[t] == pytest.approx(term, rel=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("matrix", ["value", "key", "query"])
def test_remark_4_in_the_subspace_of_the_gradients(matrix: pruning.Matrix) -> None:
    """Small random weights, no ridge: the bound falls at every rate, where a fixed one rises."""
    prompts = bounds.regression_prompts(jax.random.key(0), 40, 20, 3, 0.3)
    for layer, seed in ((0, 4), (1, 5)):
        weights = small_stack(seed, width=4)
        report = pruning.path_report(
            jax.random.key(1),
            prompts,
            weights,
            layer,
            matrix,
            (0.0, 0.25, 0.5, 0.75),
            10,
            settings={name: NoisyAlgorithm(name, None) for name in ("gradients", "symmetric")},
        )
        for kind in ("theorem2", "lemma6 zero"):
            assert report.bounds[f"{kind}, gradients"].falls
            assert np.isfinite(report.bounds[f"{kind}, gradients"].values).all()
            assert report.bounds[f"{kind}, symmetric"].values[-1] == np.inf


def test_it_needs_the_weights_and_a_zero_center() -> None:
    weights = small_stack(0)
    prompts = np.random.default_rng(0).normal(size=(4, 8, 3))
    run = noise.noisy_trajectory(jax.random.key(0), prompts, weights, 4)
    with pytest.raises(ValueError, match="measured must be measured with the weights"):
        bounds.lemma6(bounds.measure(run.factors, 4), subspace="gradients")
    measured = bounds.measure(run.factors, 4, weights=weights)
    with pytest.raises(ValueError, match="center must be zero in the gradients subspace"):
        bounds.lemma6(measured, subspace="gradients", center="mean")
    with pytest.raises(ValueError, match="subspace must be fixed with a ridge"):
        noise.noisy_trajectory(
            jax.random.key(0), prompts, weights, 4, subspace="gradients", ridge=("absolute", 0.1)
        )
    with pytest.raises(ValueError, match="weights must be 2 layers"):
        bounds.measure(run.factors, 4, weights=small_stack(0, layers=3))
    with pytest.raises(ValueError, match="subspace must be one that needs no weights"):
        noise.dimension("gradients", 3)
