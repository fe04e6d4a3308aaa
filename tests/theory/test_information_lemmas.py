"""Lemmas 2 to 5 of the paper, which it takes from others, on Gaussian channels in closed form."""

import math

import numpy as np
import pytest

from theory import reference


def information(signal: np.ndarray, noise: np.ndarray) -> float:
    """I(S; A S + noise) for S ~ N(0, 1), in nats."""
    whole = np.outer(signal, signal) + noise
    return 0.5 * (np.linalg.slogdet(whole)[1] - np.linalg.slogdet(noise)[1])


def test_lemma_2_xu_and_raginsky() -> None:
    """One Gaussian sample and a noisy mean of it: the gap is below sqrt(2 R^2 I / N).

    Loss <a, w> h with a fixed sign is Gaussian given w: of standard deviation |w| sigma. With w
    clipped to a sign, R = sigma: w = sign(h + noise), gap = E[sign(h + xi) h].
    """
    sigma, spread = 1.0, 2.0
    h = np.linspace(-10, 10, 20_001)
    density = np.exp(-(h**2) / 2) / math.sqrt(2 * math.pi)
    up = np.array([0.5 * (1 + math.erf(x / spread / math.sqrt(2))) for x in h])
    gap = np.trapezoid((2 * up - 1) * h * density, h)  # loss -w h on the sample, 0 in population
    entropy = -(up * np.log(np.maximum(up, 1e-300)) + (1 - up) * np.log(np.maximum(1 - up, 1e-300)))
    shared = math.log(2) - np.trapezoid(entropy * density, h)
    assert 0 < gap <= math.sqrt(2 * sigma**2 * shared)
    # And infinite information, as of the sample mean itself, bounds nothing.
    assert reference.gaussian_mean_information(1) == math.inf


@pytest.mark.parametrize("gains", [(1.0, 1.0), (1.0, -0.5), (0.3, 2.0)])
def test_lemma_3_the_end_tells_no_more_than_the_steps(gains: tuple[float, float]) -> None:
    """W_1 = a S + xi_1, W_2 = W_1 + b S + xi_2: I(W_2; S) <= I(W_1; S) + I(step 2; S | W_1)."""
    a, b = gains
    end = information(np.array([a + b]), np.array([[2.0]]))
    first = 0.5 * math.log(1 + a**2)
    second = 0.5 * math.log(1 + b**2 / (1 + a**2))  # var(S | W_1) = 1 / (1 + a^2)
    assert end <= first + second + 1e-12


def test_lemmas_4_and_5_every_prior_gives_a_bound() -> None:
    """I(X; Y) = min over P of E KL(Y given X || P), at P = the law of Y."""
    signal, noise = 1.5, 0.7
    known = 0.5 * math.log(1 + signal**2 / noise)

    def divergence(variance: float, mean: float) -> float:
        return 0.5 * (math.log(variance / noise) - 1 + (noise + signal**2 + mean**2) / variance)

    best = noise + signal**2
    assert divergence(best, 0.0) == pytest.approx(known, rel=1e-12)
    for variance in (0.5 * best, 2 * best):
        for mean in (0.0, 0.4):
            assert divergence(variance, mean) > known
