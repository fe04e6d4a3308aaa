"""Estimates behind the bounds: floors, bias, closed forms, and what is refused."""

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest

from theory import cmi
from theory.cmi import InformationBound, Supersample
from theory.cmi.information import require_correction


@pytest.mark.parametrize(("samples", "floor"), [(100, 0.161), (300, 0.091), (1_000, 0.051)])
def test_noise_floor(samples: int, floor: float) -> None:
    """An independent 4 x 2 table; the limit agrees, and Miller and Madow's correction helps."""
    draws = 20_000
    # sqrt(2 I) spreads about .42 of its mean over tables: 5 standard errors are below .0025.
    actual = cmi.noise_floor(samples, draws=draws)
    assert actual == pytest.approx(floor, abs=5 * 0.42 * floor / math.sqrt(draws) + 5e-4)
    assert actual == pytest.approx(cmi.asymptotic_floor(samples), rel=0.03)
    assert cmi.noise_floor(samples, correction="miller-madow") < 0.75 * actual
    assert cmi.noise_floor(samples) == actual


def test_measured_floor() -> None:
    """Random losses stand at the floor; the floor falls with the number of masks."""
    rng = np.random.default_rng(0)
    floors = []
    for m in (100, 400):
        losses = (rng.random((4, m, 3, 2)) < 0.5).astype(float)
        sample = Supersample(losses, cmi.draw_masks(1, 4, m, 3))
        floors.append(cmi.measured_floor(cmi.e_cmi, sample, draws=40))
        assert cmi.e_cmi(sample).gap == pytest.approx(floors[-1], rel=0.3)
        assert floors[-1] == pytest.approx(cmi.noise_floor(m), rel=0.08)
        assert cmi.measured_floor(cmi.ld_mi, sample) < floors[-1] / 3  # pooling: all counts in one
    assert floors[1] == pytest.approx(floors[0] / 2, rel=0.1)


@pytest.mark.parametrize(
    "bound", [cmi.ld_mi, cmi.single_loss, functools.partial(cmi.e_cmi, pooled=True)]
)
def test_miller_madow_removes_the_bias(bound: Callable[..., InformationBound]) -> None:
    """Of the estimated information, averaged over experiments that are all noise but a little."""
    rng = np.random.default_rng(1)
    train, test = 0.3, 0.6
    plain, corrected = [], []
    for seed in range(400):
        masks = cmi.draw_masks(seed, 60, 1, 1)
        inside = np.stack([masks == 0, masks == 1], axis=-1)
        losses = (rng.random(inside.shape) < np.where(inside, train, test)).astype(float)
        sample = Supersample(losses, masks)
        plain.append(bound(sample).information)
        corrected.append(bound(sample, "miller-madow").information)
    exact = {
        cmi.single_loss: cmi.zero_one_single(train, test),
    }.get(bound, cmi.zero_one_ld(test * (1 - train), train * (1 - test)))
    error = np.std(plain) / math.sqrt(len(plain))
    assert np.mean(plain) - exact > 2 * error
    assert abs(np.mean(corrected) - exact) < (np.mean(plain) - exact) / 2 + 2 * error


def test_binary_kl_inverse() -> None:
    for q, p in ((0.0, 0.3), (0.2, 0.2), (0.2, 0.9), (0.5, 0.999999), (1.0, 1.0)):
        assert cmi.kl_upper(q, cmi.kl(q, p)) == pytest.approx(p, abs=1e-9)
    assert cmi.kl_upper(0.2, math.inf) == 1
    assert cmi.kl(0.5, 0.0) == math.inf
    assert cmi.entropy(0.5) == pytest.approx(math.log(2))
    assert cmi.entropy(0.0) == cmi.entropy(1.0) == 0


def test_closed_forms_at_the_ends() -> None:
    assert cmi.zero_one_ld(0.0, 0.0) == cmi.zero_one_ld(0.2, 0.2) == 0
    assert cmi.zero_one_ld(0.3, 0.0) == pytest.approx(0.3 * math.log(2))
    assert cmi.zero_one_single(0.0, 1.0) == pytest.approx(math.log(2))
    assert cmi.zero_one_single(0.4, 0.4) == 0


def test_hoeffding() -> None:
    low, high = cmi.hoeffding(0.5, 200)
    assert high - 0.5 == pytest.approx(math.sqrt(math.log(40) / 400))
    assert low == pytest.approx(1 - high)
    assert cmi.hoeffding(0.01, 10)[0] == 0


def test_pick() -> None:
    members = np.array([[["a", "b"], ["c", "d"]]])
    chosen, others = cmi.pick(members, np.array([[1, 0]]))
    assert chosen.tolist() == [["b", "c"]]
    assert others.tolist() == [["a", "d"]]
    masks = cmi.draw_masks(0, 50, 40, 10)
    assert abs(masks.mean() - 0.5) < 5 * 0.5 / math.sqrt(masks.size)
    np.testing.assert_array_equal(masks, cmi.draw_masks(0, 50, 40, 10))


GOOD = Supersample(np.zeros((1, 2, 1, 2)), np.array([[[0], [1]]]))


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: Supersample(np.zeros((2, 1, 2)), np.zeros((2, 1), int)), "losses"),
        (lambda: Supersample(np.zeros((1, 2, 1, 3)), np.zeros((1, 2, 1), int)), "losses"),
        (lambda: Supersample(np.zeros((0, 2, 1, 2)), np.zeros((0, 2, 1), int)), "losses"),
        (lambda: Supersample(np.full((1, 2, 1, 2), 1.5), np.zeros((1, 2, 1), int)), "losses"),
        (lambda: Supersample(np.full((1, 2, 1, 2), np.nan), np.zeros((1, 2, 1), int)), "losses"),
        (lambda: GOOD.masked(np.zeros((1, 2, 2), int)), "masks"),
        (lambda: GOOD.masked(np.full((1, 2, 1), 2)), "masks"),
        (lambda: Supersample(GOOD.losses, GOOD.masks, np.zeros((1, 2, 1), int)), "predictions"),
        (lambda: cmi.f_cmi(GOOD), "sample"),
        (lambda: cmi.standard_error(cmi.ld_mi, GOOD), "sample"),
        (lambda: cmi.mutual_information(np.array([[1, -1], [1, 1]])), "table"),
        (lambda: require_correction("no"), "correction"),
        (lambda: cmi.mutual_information(np.zeros((2, 2))), "table"),
        (lambda: cmi.mutual_information(np.array([[np.nan, 1.0]])), "table"),
        (lambda: cmi.noise_floor(0), "samples"),
        (lambda: cmi.noise_floor(5, [0.5, 0.6]), "rows"),
        (lambda: cmi.asymptotic_floor(5, rows=1), "rows"),
        (lambda: cmi.entropy(1.1), "p"),
        (lambda: cmi.kl(0.1, -0.1), "p"),
        (lambda: cmi.kl_upper(0.1, -1.0), "budget"),
        (lambda: cmi.zero_one_ld(0.7, 0.7), "p_plus"),
        (lambda: cmi.zero_one_single(0.1, 1.2), "test_error"),
        (lambda: cmi.hoeffding(0.5, 0), "n"),
        (lambda: cmi.hoeffding(0.5, 3, 1.0), "level"),
        (lambda: cmi.draw_masks(0, 1, 0, 3), "masks"),
        (lambda: cmi.measured_floor(cmi.ld_mi, GOOD, draws=0), "draws"),
    ],
)
def test_mistakes(call: Callable[[], object], argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must be"):
        call()
