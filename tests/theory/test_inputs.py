"""Whatever is handed in gives the right answer or one clear error, never a wrong number.

The test suite checks types at every call; a user's program does not, so that is off here.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import agreement, bounds, cmi, implicit, noise, pruning, softmax
from theory.implicit import Factors, Mlp, Weights
from theory.softmax import AttentionWeights


@pytest.fixture(autouse=True)
def _unchecked() -> Iterator[None]:
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def problem(n: int = 5, width: int = 3, layers: int = 2) -> tuple[np.ndarray, Weights]:
    """Whole numbers, so that every dtype holds them exactly."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(-2, 3, size=(n + 1, width)).astype(float)
    weights = Weights(*rng.integers(-1, 2, size=(3, layers, width, width)).astype(float))
    return tokens, weights


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": np.asarray,
    "float32": lambda a: a.astype(np.float32),
    "float16": lambda a: a.astype(np.float16),
    "integers": lambda a: a.astype(int),
    "small integers": lambda a: a.astype(np.int8),
    "lists": lambda a: a.tolist(),
    "lists of integers": lambda a: a.astype(int).tolist(),
    "jax": jnp.asarray,
    "jax bfloat16": lambda a: jnp.asarray(a, jnp.bfloat16),
    "jax integers": lambda a: jnp.asarray(a, jnp.int32),
}


@given(st.lists(st.sampled_from(sorted(FORMS)), min_size=4, max_size=4))
def test_trajectories_of_every_mixture_of_forms(forms: list[str]) -> None:
    tokens, weights = problem()
    known = implicit.updates(tokens, weights)
    size = max(float(np.abs(a).max()) for a in known)
    given_tokens = FORMS[forms[0]](tokens)
    given_weights = Weights(
        *(FORMS[form](matrix) for form, matrix in zip(forms[1:], weights, strict=True))
    )
    actual = implicit.updates(given_tokens, given_weights)
    for one, other in zip(actual, known, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * size)
    run = implicit.masked_linear_stack(given_tokens, given_weights)
    np.testing.assert_allclose(run[-1][-1], known.state[-1] @ tokens[-1], rtol=0, atol=1e-4 * size)


@given(st.sampled_from(sorted(FORMS)), st.sampled_from(sorted(FORMS)))
@pytest.mark.long
def test_bounds_of_every_mixture_of_forms(first: str, second: str) -> None:
    rng = np.random.default_rng(1)
    prompts = rng.integers(-3, 4, size=(4, 9, 2)).astype(float)
    matrices = [[[1, 1], [0, 1]], [[1, 0], [1, 2]], [[2, 1], [1, 1]]]
    weights = Weights(*np.array(matrices, float)[:, None])
    known = None
    for form, other in (("float64", "float64"), (first, second)):
        run = noise.noisy_trajectory(
            jax.random.key(0), FORMS[form](prompts), Weights(*map(FORMS[other], weights)), 9
        )
        bound = bounds.lemma6(bounds.measure(run.factors, 4, run.states), subspace="symmetric")
        known = known or bound
        assert bound.value == pytest.approx(known.value, rel=1e-4)
        assert bound.status == "finite"


@pytest.mark.long
@pytest.mark.parametrize("with_states", [True, False])
@pytest.mark.parametrize(
    ("layers", "replicates", "n", "width"),
    [(0, 1, 2, 1), (0, 2, 3, 2), (1, 1, 2, 1), (2, 3, 4, 1), (1, 1, 3, 3), (2, 3, 4, 2)],
)
def test_every_size_down_to_no_layer(
    layers: int, replicates: int, n: int, width: int, with_states: bool
) -> None:
    """L = 0, one prompt, one feature: bounds are numbers at least 0, or inf with a reason."""
    rng = np.random.default_rng(2)
    weights = Weights(*rng.normal(size=(3, layers, width, width)))
    prompts = rng.normal(size=(replicates, n, width))
    run = noise.noisy_trajectory(jax.random.key(0), prompts, weights, 1)
    assert run.states.shape == (replicates, layers + 1, width, width)
    measured = bounds.measure(run.factors, 1, run.states if with_states else None)
    for bound in (
        bounds.theorem2(measured),
        bounds.lemma6(measured),
        bounds.lemma6(measured, ridge=("relative", 0.1)),
    ):
        assert len(bound.terms) == layers
        assert bound.value >= 0
        assert (bound.status == "inf") == math.isinf(bound.value) == bool(bound.note)
        if width == 1 or layers == 0:
            assert math.isfinite(bound.value)  # with D = 1 the hypothesis of Theorem 2 can be met
        else:
            assert bound.status == ("regularised" if "extra" in bound.algorithm else "inf")


def test_no_layer_tells_nothing() -> None:
    tokens, weights = problem(layers=0)
    actual = implicit.updates(tokens, weights)
    assert actual.update.shape == (0, 3, 3)
    np.testing.assert_array_equal(actual.state, [np.eye(3)])
    measured = bounds.measure(implicit.example_factors(tokens, weights), 2)
    bound = bounds.lemma6(measured, subspace="symmetric")
    assert (bound.value, bound.terms, bound.status) == (0.0, (), "finite")
    assert implicit.gd_weights(2, 0.1, 5, layers=0).value.shape == (0, 3, 3)
    assert noise.gradient_dimensions(weights).shape == (0,)


def test_zero_weights_tell_nothing() -> None:
    tokens, weights = problem()
    silent = Weights(*(0 * matrix for matrix in weights))
    measured = bounds.measure(implicit.example_factors(tokens, silent), 2, weights=silent)
    for subspace in ("full", "symmetric", "gradients"):
        for bound in (
            bounds.theorem2(measured, subspace=subspace),
            bounds.lemma6(measured, subspace=subspace),
        ):
            assert (bound.value, bound.status) == (0.0, "finite")


@pytest.mark.long
def test_one_prompt_in_a_path_report() -> None:
    tokens, weights = problem(n=8)
    report = pruning.path_report(
        jax.random.key(0), tokens[None, :-1], weights, 0, "value", (0.0, 0.5), 4
    )
    assert set(report.bounds) == {
        f"{kind}, {ridge} ridge"
        for kind in ("theorem2", "lemma6 zero")
        for ridge in ("relative", "absolute")
    }
    risks = bounds.Risks(np.array([0.5]), np.array([0.25]))
    assert risks.gap == 0.25
    assert math.isnan(risks.gap_error)


def test_masks_and_losses_as_booleans() -> None:
    rng = np.random.default_rng(3)
    wrong = rng.random((20, 3, 4, 2)) < 0.3
    masks = cmi.draw_masks(0, 20, 3, 4)
    plain = cmi.Supersample(wrong.astype(float), masks)
    for losses, chosen in (
        (wrong, masks.astype(bool)),
        (wrong.astype(int), masks),
        (wrong.tolist(), masks.tolist()),
    ):
        other = cmi.Supersample(losses, chosen)
        assert other.gap == plain.gap
        assert cmi.ld_mi(other) == cmi.ld_mi(plain)
    hidden = rng.normal(size=(5, 4))
    attention = AttentionWeights(*rng.normal(size=(4, 1, 2, 4)))
    shown = np.array([1, 0, 1, 1, 0])
    expected = softmax.layer_norms(hidden, attention, None, shown.astype(bool))
    for mask in (shown, shown.astype(float), shown.tolist(), jnp.asarray(shown)):
        norms = softmax.layer_norms(hidden.tolist(), attention, None, mask)
        np.testing.assert_allclose(norms.update, expected.update, rtol=1e-5)


TOKENS, WEIGHTS = problem()
FACTORS = Factors(*np.random.default_rng(0).normal(size=(3, 4, 2, 9, 3)))
MEASURED = functools.cache(lambda: bounds.measure(FACTORS, 4))


def lemma(**options: Any) -> bounds.Bound:
    return bounds.lemma6(MEASURED(), **options)


def run(**options: Any) -> noise.Noisy:
    arguments = {"b": 2, **options}
    return noise.noisy_trajectory(jax.random.key(0), TOKENS[None, :-1], WEIGHTS, **arguments)


RAGGED = [[1.0, 2.0], [3.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise.kappa(5, 2.5), "b must be a whole number of at least 1, got 2.5"),
        (lambda: noise.kappa(5, True), "b must be a whole number"),
        (lambda: noise.kappa(5), "b must be given, or threshold"),
        (lambda: noise.kappa(5, 2, threshold=9), "b must be given, or threshold, and not both"),
        (lambda: noise.kappa(5, threshold=4), "threshold must be at least 5, got 4"),
        (lambda: bounds.measure(FACTORS, 2.5), "b must be a whole number"),
        (lambda: run(b=2.5), "b must be a whole number"),
        (lambda: lemma(ridge=0.1), r"ridge must be None, \(\"absolute\", lam\) or"),
        (lambda: lemma(ridge=("big", 0.1)), "ridge must be None"),
        (lambda: lemma(ridge=("relative", "0.1")), "ridge must be finite and at least 0"),
        (lambda: run(ridge=0.1), "ridge must be None"),
        (lambda: lemma(subspace="diagonal"), "subspace must be a Block, full, symmetric or"),
        (lambda: run(subspace="diagonal"), "subspace must be a Block"),
        (lambda: noise.dimension("diagonal", 3), "subspace must be a Block"),
        (lambda: lemma(center="median"), "center must be zero, mean or state, got 'median'"),
        (lambda: lemma(prior="flat"), "prior must be isotropic or matrix, got 'flat'"),
        (lambda: lemma(expectation="outside"), "expectation must be unconditional or conditional"),
        (lambda: lemma(sub_gaussian=-1.0), "sub_gaussian must be positive"),
        (lambda: bounds.theorem2(MEASURED(), norm="nuclear"), "norm must be frobenius or spectral"),
        (lambda: implicit.updates(TOKENS, WEIGHTS, activation="gelu"), "activation must be linear"),
        (lambda: implicit.updates(RAGGED, WEIGHTS), "tokens must be real numbers, got lists of"),
        (
            lambda: implicit.updates(TOKENS * 1j, WEIGHTS),
            "tokens must be real numbers",
        ),
        (
            lambda: implicit.updates(TOKENS, WEIGHTS._replace(key=[["a"]])),
            "weights.key must be real numbers",
        ),
        (
            lambda: implicit.updates(TOKENS, WEIGHTS._replace(value=np.eye(3))),
            r"weights.value must",
        ),
        (lambda: noise.log_determinant([1.0, 2.0], 1.5), "directions must be a whole number"),
        (lambda: pruning.truncate(np.eye(3), 1.5), "rank must be a whole number"),
        (lambda: pruning.truncate([1.0, 2.0], 1), "matrix must be a matrix"),
        (lambda: pruning.prune(WEIGHTS, 0, "bias", 0.5), "matrix must be one of value, key, query"),
        (lambda: pruning.magnitude_prune(np.eye(3), 1.0), "share must be at least 0 and below 1"),
        (lambda: cmi.Supersample([[0.5]], [[2]]), r"masks must be booleans, or 0 and 1"),
        (lambda: cmi.draw_masks(0, 2, 1.5, 4), "masks must be a whole number"),
        (
            lambda: softmax.head_norms(
                np.ones((1, 2)),
                np.ones((3, 1, 2)),
                np.ones((3, 1, 2)),
                softmax.grams(AttentionWeights(*np.ones((4, 1, 2, 2)))),
                [0, 2, 1],
            ),
            "demonstrations must be booleans, or 0 and 1",
        ),
        (lambda: agreement.coverage([math.nan], [0.1]), "bound must be without NaN"),
        (lambda: bounds.predictors(np.eye(3)), r"states must be \[M, D, D\]"),
        (
            lambda: implicit.updates(TOKENS, WEIGHTS, mlp=Mlp(np.eye(3), np.eye(3))),
            "mlp.inner must",
        ),
    ],
)
def test_each_mistake_is_one_clear_error(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
