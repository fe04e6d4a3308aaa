"""Theorem 2 and Lemma 6: infinite as printed, true as corrected."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from theory_problems import covariance

from theory import bounds, implicit, noise
from theory.bounds.conditional import log_scales
from theory.bounds.low_rank import measure_low_rank
from theory.implicit import Factors, Weights


def replicates(
    m: int = 100, n: int = 12, d: int = 2, layers: int = 2, b: int = 6
) -> tuple[noise.Noisy, bounds.SquaredNorms, noise.BlockSubspace]:
    """Noisy gradient descent on regression, in the block where its gradients live."""
    prompts = bounds.regression_prompts(jax.random.key(0), m, n, d, 0.3)
    weights = implicit.gd_weights(d, 0.4, n, layers=layers)
    block = noise.regression_block(d)
    run = noise.noisy_trajectory(jax.random.key(1), prompts, weights, b, subspace=block)
    return run, bounds.measure(run.factors, b, run.states), block


def random_measured(m: int = 3, n: int = 5, width: int = 4, layers: int = 2) -> bounds.SquaredNorms:
    factors = Factors(*np.random.default_rng(0).normal(size=(3, m, layers, n, width)))
    return bounds.measure(factors, 2)


@pytest.mark.long
def test_as_printed_theorem_2_is_infinite() -> None:
    _, measured, _ = replicates()
    for measurement in (measured, random_measured()):
        for norm in ("frobenius", "spectral"):
            bound = bounds.theorem2(measurement, norm=norm)
            assert bound.value == math.inf
            assert bound.status == "inf"
            assert "singular" in bound.note
        assert bounds.lemma6(measurement).status == "inf"


@pytest.mark.long
def test_no_noise_no_bound() -> None:
    run, _, block = replicates()
    deterministic = bounds.measure(run.factors, 12, run.states)
    assert bounds.lemma6(deterministic, subspace=block).status == "inf"
    assert bounds.lemma6(deterministic, subspace=block, prior="matrix").status == "inf"


def test_lemma_6_entry_by_entry() -> None:
    """Every variant against covariances written out in the block's coordinates."""
    run, measured, block = replicates()
    m, layers, n, width = run.factors.v.shape
    inside = np.zeros((width, width), bool)
    inside[np.ix_(block.rows, block.columns)] = True
    totals = dict.fromkeys([(c, p) for c in ("zero", "mean", "state") for p in "im"], 0.0)
    for t in range(layers):
        each = [Factors(*(a[k, t] for a in run.factors)) for k in range(m)]
        g = np.stack([(f.v.T @ f.r)[inside] for f in each])
        c = np.stack([covariance(f, 6)[np.ix_(inside.ravel(), inside.ravel())] for f in each])
        logdet = np.linalg.slogdet(c)[1].mean()
        states = run.states[:, t][:, inside]
        apart = states - states.mean(0)
        slope = (apart * (g - g.mean(0))).sum() / (apart**2).sum() if t else 0.0
        off = g - g.mean(0)
        undone = math.sqrt(m / (m - 1))
        centred = {"zero": g, "mean": undone * off, "state": undone * (off - slope * apart)}
        for name, deviation in centred.items():
            q = np.einsum("mi,mj->ij", deviation, deviation) / m + c.mean(0)
            totals[name, "i"] += 2 * math.log(np.trace(q) / 2) - logdet
            totals[name, "m"] += np.linalg.slogdet(q)[1] - logdet
    for (center, prior), total in totals.items():
        actual = bounds.lemma6(
            measured,
            center=center,
            prior="isotropic" if prior == "i" else "matrix",
            subspace=block,
        )
        assert actual.status == "finite"
        assert actual.value == pytest.approx(math.sqrt(0.25 / n * total), rel=1e-11)
        assert sum(actual.terms) == pytest.approx(total, rel=1e-11)


def test_variants_are_ordered() -> None:
    _, measured, block = replicates()
    frobenius = bounds.theorem2(measured, subspace=block).value
    spectral = bounds.theorem2(measured, norm="spectral", subspace=block).value
    isotropic = [
        bounds.lemma6(measured, center=c, subspace=block).value for c in ("zero", "mean", "state")
    ]
    matrix = [
        bounds.lemma6(measured, center=c, prior="matrix", subspace=block).value
        for c in ("zero", "mean", "state")
    ]
    assert frobenius > spectral > isotropic[0] > isotropic[1] > isotropic[2] > matrix[2]
    assert all(i > m for i, m in zip(isotropic, matrix, strict=True))


def test_expectation_belongs_inside_the_logarithm() -> None:
    """G = 5 at probability .01, else 0, noise N(0, 1): printed < true information < proven."""
    gradient = np.repeat([5.0, 0.0], [1, 99])
    proven = bounds.isotropic_term(gradient**2, np.ones(100), np.zeros(100), 1).mean() / 2
    printed = np.log(gradient**2 + 1).mean() / 2
    w = np.linspace(-12, 17, 200_001)
    normal = [np.exp(-((w - mean) ** 2) / 2) / math.sqrt(2 * math.pi) for mean in (5, 0)]
    mixture = 0.01 * normal[0] + 0.99 * normal[1]
    conditional = math.log(2 * math.pi * math.e) / 2
    information = np.trapezoid(-mixture * np.log(mixture), w) - conditional
    assert printed == pytest.approx(0.0163, abs=5e-5)
    assert information == pytest.approx(0.0534, abs=5e-5)
    assert proven == pytest.approx(0.1116, abs=5e-5)


def test_lemma_6_does_not_see_the_size_of_the_last_layer() -> None:
    """Shrinking the last W_V by 100 leaves its term unchanged: the noise shrinks with it."""
    run, measured, block = replicates()
    v = run.factors.v.copy()
    v[:, -1] /= 100
    shrunk = bounds.measure(run.factors._replace(v=v), 6, run.states)
    for arguments in ({}, {"ridge": ("relative", 0.01)}):
        before = bounds.lemma6(measured, subspace=block, **arguments)
        after = bounds.lemma6(shrunk, subspace=block, **arguments)
        np.testing.assert_allclose(after.terms, before.terms, rtol=1e-11)
    # With the noise held fixed (an absolute ridge above it), smaller is smaller.
    fixed = [bounds.lemma6(m, subspace=block, ridge=("absolute", 0.1)) for m in (measured, shrunk)]
    assert fixed[1].terms[-1] < 0.01 * fixed[0].terms[-1]


def test_a_ridge_makes_it_finite_and_is_named() -> None:
    bound = bounds.theorem2(random_measured(), ridge=("relative", 0.01))
    assert bound.status == "regularised"
    assert math.isfinite(bound.value)
    assert "extra noise of variance 0.01 tr C_t" in bound.algorithm
    assert "deterministic" not in bound.algorithm


@pytest.mark.long
def test_symmetric_subspace_of_arbitrary_weights() -> None:
    """D (D + 1) / 2 = 6 directions at D = 3: finite from N - 1 = 6 on, and only there."""
    rng = np.random.default_rng(0)
    weights = Weights(*(0.3 * rng.normal(size=(3, 2, 3, 3))))
    for n, status in ((6, "inf"), (7, "finite")):
        prompts = rng.normal(size=(8, n, 3))
        run = noise.noisy_trajectory(jax.random.key(0), prompts, weights, n // 2)
        measured = bounds.measure(run.factors, n // 2, run.states)
        assert bounds.lemma6(measured, subspace="symmetric").status == status
        assert bounds.lemma6(measured).status == "inf"


def test_low_rank_route_measures_the_same() -> None:
    # In the last layer 2 (L - 1) N = 72: both ways of finding the largest eigenvalue.
    factors = Factors(*(0.2 * np.random.default_rng(1).normal(size=(3, 2, 4, 12, 40))))
    low_rank = measure_low_rank(factors, spectral=True)
    states = np.stack([np.eye(40)] * 2)[:, None]
    for t in range(3):
        gradient = np.einsum("mia,mib->mab", factors.v[:, t], factors.r[:, t])
        states = np.concatenate([states, (states[:, -1] + gradient)[:, None]], axis=1)
    dense = bounds.measure(factors, 1, states)
    assert dense.spectral is not None
    for name in ("update", "frobenius", "spectral", "gradient", "from_mean", "from_state"):
        np.testing.assert_allclose(low_rank[name], getattr(dense, name), rtol=1e-10)
    np.testing.assert_allclose(low_rank["slope"], dense.slopes, rtol=1e-9, atol=1e-12)


def single_precision(leaf: np.ndarray | int) -> jax.Array | int:
    return leaf if isinstance(leaf, int) else jnp.asarray(leaf, jnp.float32)


def test_float32_bounds() -> None:
    run, exact, block = replicates()
    single = bounds.measure(*jax.tree.map(single_precision, (run.factors, 6, run.states)))
    for center in ("zero", "mean", "state"):
        for prior in ("isotropic", "matrix"):
            arguments = {"center": center, "prior": prior, "subspace": block}
            actual, known = (bounds.lemma6(m, **arguments) for m in (single, exact))
            assert actual.status == "finite"
            assert actual.value == pytest.approx(known.value, rel=1e-5)
    assert bounds.lemma6(single).status == "inf"


def gaussian_mean(m: int = 10) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(m, 2))


def flat_risks(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.full(len(w), 0.5), np.full(len(w), 0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: bounds.lemma6(m, ridge=("absolute", -1.0)), "ridge must be finite and at least"),
        (lambda m: bounds.lemma6(m, loss_range=0.0), "loss_range must be positive"),
        (
            lambda m: bounds.lemma6(m, subspace=noise.BlockSubspace((0,), (0, 1))),
            "subspace must be one that holds every per-example gradient",
        ),
        (
            lambda m: bounds.lemma6(m, subspace="symmetric", center="mean"),
            "center must be zero in the symmetric subspace",
        ),
        (lambda m: bounds.lemma6(m, prior="matrix"), "prior must be isotropic where no block"),
        (
            lambda m: bounds.lemma6(
                m, prior="matrix", subspace=noise.BlockSubspace((0, 1, 2, 3), (0, 1, 2, 3))
            ),
            "replicates must be more than the directions",
        ),
        (lambda m: bounds.measure(m.factors, 6), "b must be at least 1 and at most N = 5"),
        (
            lambda m: bounds.measure(m.factors, 2, np.ones((3, 2, 4, 5))),
            r"states must be of shape \(3, 2, 4, 4\)",
        ),
        (
            lambda m: bounds.lemma6(
                bounds.measure(Factors(*(a[0] for a in m.factors)), 2), center="mean"
            ),
            "center must be zero with one replicate",
        ),
        (
            lambda m: bounds.theorem2(
                bounds.measure(m.factors, 2, spectral=False), norm="spectral"
            ),
            "norm must be frobenius where no spectral norm",
        ),
        (
            lambda m: bounds.terminal_noise(gaussian_mean(1), flat_risks, 5),
            "predictors must be at least 2 samples",
        ),
        (
            lambda m: bounds.terminal_noise(gaussian_mean(), flat_risks, 5, sigmas=(0.0,)),
            "sigmas must be positive",
        ),
        (
            lambda m: bounds.terminal_noise(gaussian_mean(), lambda w: (w[:, 0] * 9, w[:, 1]), 5),
            r"risks \(population\) must be within an interval of length 1",
        ),
        (
            lambda m: bounds.regression_risks(np.ones((2, 3)), np.ones((2, 5, 3)), 0.1),
            r"w must be of shape \(2, 2\)",
        ),
        (
            lambda m: bounds.regression_prompts(jax.random.key(0), 2, 5, 2, -0.1),
            "noise must be at least 0",
        ),
    ],
)
def test_bad_input(call: Callable[[bounds.SquaredNorms], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(random_measured())


def test_conditional_expectation_is_tighter_and_the_first_display_of_lemma_6() -> None:
    """Given the past, with two pasts: E over them of the logarithm of what each expects."""
    rng = np.random.default_rng(0)
    m, directions = 4000, 3
    past = np.repeat([1.0, 4.0], m // 2)
    total = past**2 * rng.gamma(2.0, size=m)
    logdet = np.zeros(m)
    scales = log_scales(np.log(total), np.log(past))
    shares = directions * (scales - math.log(directions) + np.exp(np.log(total) - scales) - 1)
    conditional = shares.mean() - logdet.mean()
    means = [total[past == p].mean() for p in (1.0, 4.0)]
    known = directions * np.mean([math.log(mean / directions) for mean in means])
    assert conditional == pytest.approx(known, rel=1e-6)
    unconditional = bounds.isotropic_term(total, np.zeros(m), logdet, directions).mean()
    printed = directions * np.log(total / directions).mean()
    assert printed < conditional < unconditional
    np.testing.assert_allclose(log_scales(np.log(total), np.ones(m)), math.log(total.mean()))


def test_conditional_bounds_of_a_trajectory() -> None:
    _, measured, block = replicates()
    for bound in (bounds.lemma6, bounds.theorem2):
        loose = bound(measured, subspace=block)
        tight = bound(measured, subspace=block, expectation="conditional")
        assert tight.value <= loose.value
        assert tight.terms[0] == pytest.approx(loose.terms[0], rel=1e-12)  # W_0 = 0 is one past
        assert tight.terms[1] < loose.terms[1]
    with pytest.raises(ValueError, match="expectation must be unconditional with a matrix prior"):
        bounds.lemma6(measured, subspace=block, prior="matrix", expectation="conditional")


def test_the_papers_reading_of_b_and_n() -> None:
    """B shots of a threshold N: kappa is that of the roles exchanged, and b divides the bound."""
    run, measured, block = replicates(b=12)
    own = bounds.measure(run.factors, threshold=30)
    np.testing.assert_allclose(
        own.spectrum,
        bounds.measure(run.factors, 6).spectrum * noise.kappa(30, 12) / noise.kappa(12, 6),
        rtol=1e-12,
    )
    bound = bounds.lemma6(own, subspace=block)
    assert bound.status == "finite"
    assert "N = 30" in bound.algorithm
    assert bound.value == pytest.approx(math.sqrt(0.25 / 12 * sum(bound.terms)), rel=1e-12)
    # At the threshold there is no noise, and no bound.
    assert bounds.lemma6(bounds.measure(run.factors, threshold=12), subspace=block).status == "inf"
    assert measured.variance == 0


def test_a_sub_gaussian_constant_in_the_place_of_a_range() -> None:
    _, measured, block = replicates()
    plain = bounds.lemma6(measured, subspace=block)
    assert bounds.lemma6(measured, subspace=block, sub_gaussian=0.5).value == plain.value
    assert bounds.theorem2(measured, subspace=block, sub_gaussian=1.0).value == pytest.approx(
        2 * bounds.theorem2(measured, subspace=block).value, rel=1e-12
    )


def test_with_one_feature_the_hypothesis_of_theorem_2_can_be_met() -> None:
    factors = Factors(*np.random.default_rng(0).normal(size=(3, 5, 2, 6, 1)))
    bound = bounds.theorem2(bounds.measure(factors, 3))
    assert bound.status == "finite"
    assert bound.value > 0


def test_bounds_of_several_heads_are_those_of_their_sum() -> None:
    """The per-example gradients are sums over heads; entry by entry in the subspace they span."""
    rng = np.random.default_rng(2)
    arrays = 0.3 * rng.normal(size=(3, 1, 2, 2, 3))
    weights = implicit.multi_head(*arrays, rng.normal(size=(1, 2, 3, 2)))
    prompts = rng.normal(size=(6, 12, 3))
    run = noise.noisy_trajectory(jax.random.key(0), prompts, weights, 6)
    measured = bounds.measure(run.factors, 6, run.states, weights=weights)
    g = 12 * np.einsum("mnha,mnhb->mnab", run.factors.v[:, 0], run.factors.r[:, 0])
    g = g.reshape(6, 12, 9)
    np.testing.assert_allclose(measured.gradient[0], (g.mean(1) ** 2).sum(-1), rtol=1e-11)
    for m in range(6):
        c = noise.kappa(12, 6) * np.cov(g[m].T, bias=True)
        wanted = np.linalg.eigvalsh(c)[::-1]
        np.testing.assert_allclose(measured.spectrum[0, m, :9], wanted, atol=1e-12 * wanted[0])
    (directions,) = noise.gradient_dimensions(weights)
    bound = bounds.lemma6(measured, subspace="gradients")
    assert bound.status == "finite"
    logdets = np.log(measured.spectrum[0, :, :directions]).sum(-1)
    total = (measured.gradient[0] + measured.trace[0]).mean()
    term = directions * math.log(total / directions) - logdets.mean()
    assert bound.terms[0] == pytest.approx(term, rel=1e-10)
