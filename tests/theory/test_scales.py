"""Bounds do not depend on the scale of the tokens; near-singular noise; divergence."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import bounds, implicit, noise
from theory.implicit import Factors, Weights


def random_stack(seed: int, width: int, layers: int, scale: float = 0.4) -> Weights:
    rng = np.random.default_rng(seed)
    return Weights(*(scale * rng.normal(size=(3, layers, width, width)) / np.sqrt(width)))


def factors_at(scale: float, weights: Weights, m: int = 20, n: int = 16) -> Factors:
    width = weights.value.shape[-1]
    prompts = scale * np.random.default_rng(9).normal(size=(m, n, width))
    return noise.noisy_trajectory(jax.random.key(0), prompts, weights, n).factors


VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "theorem 2": (bounds.theorem2, {}),
    "theorem 2, spectral": (bounds.theorem2, {"norm": "spectral"}),
    "lemma 6": (bounds.lemma6, {}),
    "lemma 6, conditional": (bounds.lemma6, {"expectation": "conditional"}),
}


@pytest.mark.parametrize("scale", [1e-90, 1e-40, 1e60])
@pytest.mark.parametrize("variant", VARIANTS)
def test_bounds_are_scale_invariant(scale: float, variant: str) -> None:
    """One layer: gradients and noise scale together, so that nothing changes."""
    weights = random_stack(1, 3, 1)
    bound, options = VARIANTS[variant]
    one, other = (
        bound(bounds.measure(factors_at(s, weights), 8), subspace="symmetric", **options)
        for s in (1.0, scale)
    )
    assert one.status == other.status == "finite"
    assert other.value == pytest.approx(one.value, rel=1e-9)
    assert one.value > 0.1


def test_centers_prior_and_ridge_are_scale_invariant() -> None:
    weights = implicit.gd_weights(2, 0.4, 16, layers=1)
    block = noise.regression_block(2)
    small, plain = (bounds.measure(factors_at(scale, weights), 8) for scale in (1e-90, 1.0))
    for options in (
        {"center": "mean"},
        {"center": "state"},
        {"prior": "matrix", "center": "mean"},
        {"ridge": ("relative", 0.1)},
        {"prior": "matrix", "ridge": ("relative", 0.1)},
    ):
        one, other = (bounds.lemma6(m, subspace=block, **options) for m in (plain, small))
        assert other.value == pytest.approx(one.value, rel=1e-9), options
    # Against noise of a fixed size, tokens of 1e-90 tell nothing.
    assert bounds.lemma6(small, subspace=block, ridge=("absolute", 1.0)).value < 1e-12


def test_deep_stacks_of_small_tokens_reach_a_limit() -> None:
    """Every A_t is nearly I: the terms of all layers are those of one layer each."""
    weights = random_stack(3, 3, 3)
    tiny, small = (bounds.measure(factors_at(s, weights), 8) for s in (1e-90, 1e-6))
    for center in ("zero", "mean", "state"):
        subspace = noise.BlockSubspace((0, 1, 2), (0, 1, 2))
        ridge = ("relative", 0.01)
        one, other = (
            bounds.lemma6(m, center=center, subspace=subspace, ridge=ridge) for m in (small, tiny)
        )
        np.testing.assert_allclose(other.terms, one.terms, rtol=1e-6)


def test_float32_at_1e_minus_12() -> None:
    weights = random_stack(1, 3, 1)
    exact = bounds.measure(factors_at(1.0, weights), 8)
    single = Factors(*(jnp.asarray(a, jnp.float32) for a in factors_at(1e-12, weights)))
    actual, known = (
        bounds.lemma6(m, subspace="symmetric") for m in (bounds.measure(single, 8), exact)
    )
    assert actual.value == pytest.approx(known.value, rel=1e-4)


def test_relative_ridge_of_small_tokens_is_drawn() -> None:
    """Its noise is 1e-180 of that at tokens of 1: beside the zeros of the identity, all of it."""
    weights = random_stack(4, 3, 1)
    moved = []
    for scale in (1.0, 1e-90):
        prompts = scale * np.random.default_rng(0).normal(size=(2, 6, 3))
        with_ridge, without = (
            noise.noisy_trajectory(jax.random.key(0), prompts, weights, 3, ridge=ridge)
            for ridge in (("relative", 0.5), None)
        )
        change = with_ridge.states[:, 1] - without.states[:, 1]
        moved.append(change[:, ~np.eye(3, dtype=bool)] / scale**2)
    np.testing.assert_allclose(moved[1], moved[0], rtol=1e-9)


@pytest.mark.long
def test_state_equals_mean_where_the_state_is_constant() -> None:
    """At layer 1 A_0 = I whatever the sample; the center must not divide by rounding noise."""
    rng = np.random.default_rng(0)
    for layers in (1, 2):
        weights = Weights(*rng.normal(size=(3, layers, 2, 2)))
        prompts = rng.normal(size=(100, 12, 2))
        run = noise.noisy_trajectory(jax.random.key(0), prompts, weights, 6)
        for states in (run.states, 0.1 + run.states[:, :1].repeat(layers, axis=1), None):
            measured = bounds.measure(run.factors, 6, states)
            mean, state = (
                bounds.lemma6(measured, center=center, subspace="full", ridge=("relative", 0.01))
                for center in ("mean", "state")
            )
            assert state.terms[0] == pytest.approx(mean.terms[0], rel=1e-12)
            assert measured.slopes[0] == 0


def test_nearly_singular_noise_keeps_its_determinant() -> None:
    """Eigenvalues below eps of the largest are real: 1e-18 of it and less, exactly known."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=(9, 2))
    v[:, 1] *= 1e-9
    r = np.ones((9, 2)) * [1.0, 0.0]
    measured = bounds.measure(Factors(*(a[None, None] for a in (v, r, r))), 4)
    centred = 9 * (v - v.mean(0))
    c = noise.kappa(9, 4) / 9 * centred.T @ centred
    scaled = c * np.outer([1, 1e9], [1, 1e9])
    logdet = np.linalg.slogdet(scaled)[1] - 2 * math.log(1e9)
    actual = noise.log_determinant(measured.spectrum[0, 0], 2)
    assert float(actual) == pytest.approx(logdet, rel=1e-9)
    assert measured.spectrum[0, 0, 1] < 1e-17 * measured.spectrum[0, 0, 0]


def test_no_replicate_of_random_weights_is_called_singular() -> None:
    """D = 4, N = 40: half a percent were, by the eigenvalues of the Gram matrix."""
    rng = np.random.default_rng(0)
    weights = Weights(*rng.normal(size=(3, 1, 4, 4)))
    prompts = rng.normal(size=(600, 40, 4))
    run = noise.noisy_trajectory(jax.random.key(0), prompts, weights, 20)
    measured = bounds.measure(run.factors, 20, run.states, spectral=False)
    assert bounds.lemma6(measured, subspace="symmetric").status == "finite"
    assert (measured.spectrum[..., 10:] == 0).all()


def test_the_note_says_in_how_many_replicates_c_is_singular() -> None:
    factors = Factors(*np.random.default_rng(0).normal(size=(3, 4, 2, 9, 2)))
    assert bounds.lemma6(bounds.measure(factors, 4)).status == "finite"  # no symmetry in these
    v = factors.v.copy()
    v[2, 1, :, 1] = 0  # one replicate of four
    bound = bounds.lemma6(bounds.measure(factors._replace(v=v), 4))
    assert bound.status == "inf"
    assert "layer 2, in 25.0% of the replicates" in bound.note


def test_divergence_is_reported_as_such() -> None:
    weights = random_stack(0, 3, 12, scale=40.0)
    prompts = np.random.default_rng(1).normal(size=(3, 20, 3))
    run = noise.noisy_trajectory(jax.random.key(0), prompts, weights, 10)
    assert not np.isfinite(run.states).all()
    measured = bounds.measure(run.factors, 10, run.states)
    first = measured.diverged
    assert first is not None
    for ridge in (None, ("relative", 0.01)):
        for bound in (
            bounds.theorem2(measured, ridge=ridge),
            bounds.lemma6(measured, ridge=ridge),
            bounds.lemma6(measured, center="state", ridge=ridge),
        ):
            assert bound.value == math.inf
            assert bound.status == "diverged"
            assert f"the trajectory diverged: layer {first + 1}" in bound.note
    with pytest.raises(ValueError, match=r"factors.v must be finite in the first layer"):
        bounds.measure(Factors(*np.full((3, 1, 1, 4, 2), np.nan)), 2)


def test_huge_but_finite_trajectories_have_bounds() -> None:
    weights = random_stack(5, 3, 1)
    huge = bounds.lemma6(bounds.measure(factors_at(1e60, weights), 8), ridge=("relative", 0.01))
    plain = bounds.lemma6(bounds.measure(factors_at(1.0, weights), 8), ridge=("relative", 0.01))
    assert huge.value == pytest.approx(plain.value, rel=1e-9)
