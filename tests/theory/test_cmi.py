"""Bounds from predictions: valid by enumeration, closed forms, floors, caveats."""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import cmi, reference
from theory.cmi import InformationBound, Supersample

POOLED: dict[str, Callable[[Supersample], InformationBound]] = {
    "e_cmi pooled": functools.partial(cmi.e_cmi, pooled=True),
    "ld_mi": cmi.ld_mi,
    "single_loss": cmi.single_loss,
    "binary_kl": cmi.binary_kl,
    "fast_rate": cmi.fast_rate,
}
BOUNDS = POOLED | {"e_cmi": cmi.e_cmi}


def enumerate_learner(
    learn: Callable[[Sequence[tuple[int, int]], int], int],
    domain: Sequence[tuple[int, int]],
    n: int = 2,
) -> Supersample:
    """Every supersample of equally likely examples (x, y) with every mask, 0-1 loss.

    The distribution itself: plug-in information over it is exact, and so is the gap.
    """
    masks = list(itertools.product((0, 1), repeat=n))
    losses, predictions = [], []
    for members in itertools.product(domain, repeat=2 * n):
        pairs = [members[2 * i : 2 * i + 2] for i in range(n)]
        answers = [
            [
                [learn([pair[u] for pair, u in zip(pairs, mask, strict=True)], x) for x, _ in pair]
                for pair in pairs
            ]
            for mask in masks
        ]
        labels = [[y for _, y in pair] for pair in pairs]
        predictions.append(answers)
        losses.append(np.asarray(answers) != np.asarray(labels)[None])
    return Supersample(
        np.asarray(losses, float),
        np.broadcast_to(np.asarray(masks), (len(losses), len(masks), n)).copy(),
        np.asarray(predictions),
    )


def memorise(demonstrations: Sequence[tuple[int, int]], x: int) -> int:
    """The label seen with x; otherwise 0. Interpolates where labels are a function of x."""
    return next((y for seen, y in demonstrations if seen == x), 0)


def majority(demonstrations: Sequence[tuple[int, int]], x: int) -> int:
    del x
    return int(sum(y for _, y in demonstrations) > len(demonstrations) / 2)


def constant(demonstrations: Sequence[tuple[int, int]], x: int) -> int:
    del demonstrations, x
    return 1


NOISY = ((0, 0), (0, 1), (1, 1), (2, 1))
CLEAN = ((0, 0), (1, 1), (2, 1), (3, 1))
LEARNERS = {
    "memorise, clean": (memorise, CLEAN),
    "memorise, noisy": (memorise, NOISY),
    "majority": (majority, NOISY),
    "constant": (constant, NOISY),
}


@functools.cache
def enumerated(name: str) -> Supersample:
    return enumerate_learner(*LEARNERS[name])


def information(pairs: Sequence[tuple[object, object]]) -> float:
    """Mutual information of equally likely pairs, from the definition."""
    joint, rows, columns = (
        Counter(pairs),
        Counter(a for a, _ in pairs),
        Counter(b for _, b in pairs),
    )
    n = len(pairs)
    return sum(
        count / n * math.log(count * n / (rows[a] * columns[b])) for (a, b), count in joint.items()
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_valid_for_enumerable_learners(name: str) -> None:
    """Every bound is above the exact gap."""
    sample = enumerated(name)
    train = np.where(sample.masks == 0, sample.losses[..., 0], sample.losses[..., 1])
    test = np.where(sample.masks == 0, sample.losses[..., 1], sample.losses[..., 0])
    assert sample.gap == pytest.approx(test.mean() - train.mean(), abs=1e-15)
    for bound in (*BOUNDS.values(), cmi.f_cmi, cmi.interpolating):
        actual = bound(sample)
        assert actual.gap >= abs(sample.gap) - 1e-12, bound
        assert actual.test_error == actual.training_error + actual.gap
    if name == "constant":
        assert cmi.f_cmi(sample).gap == cmi.ld_mi(sample).gap == 0


@pytest.mark.parametrize("name", LEARNERS)
def test_information_by_its_definition(name: str) -> None:
    """Each estimate against a direct count of what it is named after."""
    sample = enumerated(name)
    flat = sample.losses.reshape(-1, 2).tolist()
    masks = sample.masks.ravel().tolist()
    # The pair in either order, with the mask to match: what pooled bounds are about.
    both = [((a, b), u) for (a, b), u in zip(flat, masks, strict=True)]
    both += [((b, a), 1 - u) for (a, b), u in both]
    assert cmi.e_cmi(sample, pooled=True).information == pytest.approx(information(both), abs=1e-12)
    differences = [(b - a, u) for (a, b), u in both]
    assert cmi.ld_mi(sample).information == pytest.approx(information(differences), abs=1e-12)
    single = [(a, u) for (a, _), u in both]
    assert cmi.single_loss(sample).information == pytest.approx(information(single), abs=1e-12)
    each = {"losses": [], "predictions": []}
    assert sample.predictions is not None
    for z, i in np.ndindex(sample.losses.shape[0], sample.losses.shape[2]):
        for what, values in (("losses", sample.losses), ("predictions", sample.predictions)):
            pairs = [tuple(pair) for pair in values[z, :, i].tolist()]
            actual = information(list(zip(pairs, sample.masks[z, :, i].tolist(), strict=True)))
            each[what].append(math.sqrt(max(2 * actual, 0)))
    assert cmi.e_cmi(sample).gap == pytest.approx(np.mean(each["losses"]), abs=1e-12)
    assert cmi.f_cmi(sample).gap == pytest.approx(np.mean(each["predictions"]), abs=1e-12)


@pytest.mark.parametrize("name", LEARNERS)
def test_order_of_the_bounds(name: str) -> None:
    """Data processing: predictions say at least as much as losses, pairs as differences."""
    sample = enumerated(name)
    assert cmi.f_cmi(sample).gap >= cmi.e_cmi(sample).gap - 1e-12
    pair = cmi.e_cmi(sample, pooled=True)
    assert pair.gap >= cmi.ld_mi(sample).gap - 1e-12
    assert pair.gap >= cmi.single_loss(sample).gap - 1e-12
    assert pair.gap >= cmi.binary_kl(sample).gap - 1e-12


@pytest.mark.parametrize("name", LEARNERS)
def test_zero_one_closed_forms(name: str) -> None:
    sample = enumerated(name)
    difference = sample.test - sample.train
    plus, minus = float((difference == 1).mean()), float((difference == -1).mean())
    assert cmi.ld_mi(sample).information == pytest.approx(cmi.zero_one_ld(plus, minus), abs=1e-14)
    single = cmi.zero_one_single(sample.training_error, sample.test_error)
    assert cmi.single_loss(sample).information == pytest.approx(single, abs=1e-14)


def test_interpolation_is_exact_for_zero_one_loss() -> None:
    sample = enumerated("memorise, clean")
    assert sample.training_error == 0 < sample.test_error
    assert cmi.interpolating(sample).test_error == pytest.approx(sample.test_error, abs=1e-14)
    assert cmi.fast_rate(sample).gap >= sample.gap - 1e-12
    assert cmi.interpolating(enumerated("majority")).gap == math.inf


@st.composite
def supersamples(draw: st.DrawFn) -> Supersample:
    """Any dependence of losses on fair masks, enumerated in full."""
    z, n = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    masks = np.array(list(itertools.product((0, 1), repeat=n)))
    size = z * len(masks) * n * 2
    values = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    losses = draw(st.lists(values, min_size=size, max_size=size))
    return Supersample(
        np.array(losses).reshape(z, len(masks), n, 2),
        np.broadcast_to(masks, (z, *masks.shape)).copy(),
    )


@given(supersamples())
def test_valid_for_any_losses(sample: Supersample) -> None:
    """Not only for 0-1 losses, nor only for learners that treat pairs alike."""
    for name, bound in BOUNDS.items():
        actual = bound(sample)
        assert actual.gap >= sample.gap - 1e-9, name
        assert actual.information >= 0
    if sample.training_error == 0:
        assert cmi.interpolating(sample).gap >= sample.gap - 1e-9


def test_revealing_predictions() -> None:
    """Losses that give the mask away: information log 2, the bound at its largest."""
    masks = np.array([[[0], [1]]])
    sample = Supersample(
        np.eye(2)[[1, 0]].reshape(1, 2, 1, 2), masks, np.eye(2, dtype=int)[None, :, None]
    )
    assert sample.gap == 1
    for bound in (cmi.f_cmi, cmi.e_cmi, cmi.ld_mi, cmi.single_loss):
        assert bound(sample).gap == pytest.approx(reference.revealing_f_cmi(), abs=1e-14)
    assert cmi.interpolating(sample).gap == pytest.approx(1, abs=1e-14)
    assert cmi.binary_kl(sample).gap == pytest.approx(1, abs=1e-6)


def test_one_mask_each_is_enough_for_the_pooled() -> None:
    """200 supersamples with one mask: near the enumerated values; conditional ones refuse."""
    whole = enumerated("memorise, noisy")
    rng = np.random.default_rng(2)
    z = rng.integers(0, whole.masks.shape[0], 200)
    m = rng.integers(0, whole.masks.shape[1], 200)
    part = Supersample(whole.losses[z, m][:, None], whole.masks[z, m][:, None])
    for bound in POOLED.values():
        error = cmi.standard_error(bound, part)
        assert 0 < error < 0.1
        assert abs(bound(part).gap - bound(whole).gap) < 5 * error
    assert part.gap == pytest.approx(whole.gap, abs=5 * part.gap_error)
    with pytest.raises(ValueError, match="masks must be at least 2"):
        cmi.e_cmi(part)


def test_continuous_losses_are_refused() -> None:
    """Every value would be its own outcome, and the information log 2 whatever the learner."""
    losses = np.random.default_rng(0).random((1, 400, 1, 2))
    sample = Supersample(losses, cmi.draw_masks(0, 1, 400, 1))
    for bound in BOUNDS.values():
        with pytest.raises(ValueError, match="losses must be discrete"):
            bound(sample)
