"""The bounds: from a supersample to a number above the expected gap."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar

from theory.checks import require
from theory.cmi.information import Correction, kl_upper, mutual_information, require_correction
from theory.cmi.supersample import Supersample, draw_masks, pick

_MOST_VALUES = 256
"""More distinct outcomes than this are taken for continuous ones."""


@dataclass(frozen=True)
class InformationBound:
    """An upper bound on the expected gap, as estimated.

    Attributes:
        gap: the bound; ``inf`` where it does not apply. Losses lie in [0, 1]: 1 is trivial.
        information: the estimated information behind it, in nats.
        training_error: on the same supersample.
    """

    gap: float
    information: float
    training_error: float

    @property
    def test_error(self) -> float:
        """The bound on the test error, training error + gap."""
        return self.training_error + self.gap


def f_cmi(sample: Supersample, correction: Correction = "none") -> InformationBound:
    """f-CMI: (1/N) sum_i E_Z sqrt(2 I^Z(F_i; U_i)), F_i the predictions for pair i.

    Harutyunyan et al. (2021). Predictions mean something only beside their examples, so the
    information is within each supersample, and many masks of each are needed.

    Args:
        sample: masks, losses and predictions.
        correction: of the plug-in estimate.
    """
    predictions = sample.predictions
    if predictions is None:
        raise ValueError("sample must be one with predictions, got losses alone")
    return _conditional(sample, _pair_codes("predictions", predictions), correction)


def e_cmi(
    sample: Supersample, correction: Correction = "none", *, pooled: bool = False
) -> InformationBound:
    """e-CMI: as :func:`f_cmi` with the pair of losses (Hellström and Durisi, 2022).

    Args:
        sample: losses and masks; losses with few distinct values.
        correction: of the plug-in estimate.
        pooled: sqrt(2 I(pair; U)) over all pairs, masks and supersamples together. Also valid (the
            mask is independent of which pair it is) and estimable from one mask per supersample,
            while the conditional form needs many: its floor falls with the number of masks only.
    """
    if not pooled:
        return _conditional(sample, _pair_codes("losses", sample.losses), correction)
    return _root(sample, _pair_information(sample, correction))


def ld_mi(sample: Supersample, correction: Correction = "none") -> InformationBound:
    """Loss differences: sqrt(2 I(Delta; U)), Delta = L_1 - L_0 of a pair (Wang and Mao, 2023).

    E (-1)^U Delta is the gap, and |Delta| <= 1. Pooled over pairs, masks and supersamples. For 0-1
    loss a function of measured errors (:func:`theory.cmi.zero_one_ld`), not a prediction of them.
    """
    return _root(sample, _difference_information(sample, correction))


def single_loss(sample: Supersample, correction: Correction = "none") -> InformationBound:
    """One loss of each pair: sqrt(2 I(L+; U)) (Wang and Mao, 2023).

    With eps = +-1 for a member outside and inside the prompt, the gap is 2 E eps (L - 1/2), and
    eps (L - 1/2) is 1/2-sub-Gaussian. Pooled; for 0-1 loss the information is the Jensen-Shannon
    divergence of the two errors (:func:`theory.cmi.zero_one_single`), so not a prediction of them.
    """
    return _root(sample, _single_information(sample, correction))


def binary_kl(sample: Supersample, correction: Correction = "none") -> InformationBound:
    """The largest gap with kl(Lhat, (Lhat + L)/2) <= I(pair; U) (Hellström and Durisi, 2022).

    Pooled; not looser than ``e_cmi(pooled=True)``, by Pinsker's inequality.
    """
    information, train = _pair_information(sample, correction), sample.training_error
    gap = min(2 * (kl_upper(train, information) - train), 1 - train)
    return InformationBound(gap, information, train)


def fast_rate(sample: Supersample, correction: Correction = "none") -> InformationBound:
    """Min over t in (0, log 2) of C(t) Lhat + min(I(pair; U), 2 I(L+; U)) / t over t in (0, log 2).

    Wang and Mao (2023): C(t) = -log(2 - e^t)/t - 1 is the least C with e^t + e^(-t (1 + C)) <= 2,
    which keeps the moment of the shifted coin below 1. Of order I, not its root, where the
    training error is small.
    """
    pair = _pair_information(sample, correction)
    information = min(pair, 2 * _single_information(sample, correction))
    train = sample.training_error

    def gap(t: float) -> float:
        return (-math.log(2 - math.exp(t)) / t - 1) * train + information / t

    limits = (1e-9, math.log(2) * (1 - 1e-12))
    predictions = minimize_scalar(gap, bounds=limits, method="bounded")
    return InformationBound(min(gap(float(predictions.x)), gap(limits[1])), information, train)  # pyright: ignore


def interpolating(sample: Supersample, correction: Correction = "none") -> InformationBound:
    """I(Delta; U) / log 2 where the training error is 0; ``inf``, no bound, elsewhere.

    Wang and Mao (2023). For 0-1 loss this *is* the test error. Queried demonstrations can be
    copied, so that a training error of 0 need not mean that anything was learned.
    """
    information, train = _difference_information(sample, correction), sample.training_error
    return InformationBound(
        information / math.log(2) if train == 0 else math.inf, information, train
    )


def measured_floor(
    bound: Callable[[Supersample], InformationBound],
    sample: Supersample,
    *,
    draws: int = 100,
    seed: int = 0,
) -> float:
    """What a bound comes to, on average, when the masks have nothing to do with the losses.

    The losses stay, the masks are drawn afresh: the level below which an estimate says nothing.

    Args:
        bound: for example :func:`ld_mi`, or a ``functools.partial`` with a correction.
        sample: losses and masks.
        draws: of the masks.
        seed: of the draws.
    """
    require(draws >= 1, "draws", "a whole number from 1 on", draws)
    z, m, n = sample.masks.shape
    masks = draw_masks(seed, draws * z, m, n).reshape(draws, z, m, n)
    return float(np.mean([bound(sample.masked(mask)).gap for mask in masks]))


def standard_error(
    bound: Callable[[Supersample], InformationBound],
    sample: Supersample,
    *,
    draws: int = 200,
    seed: int = 0,
) -> float:
    """Of an estimated bound, by a bootstrap over supersamples; arguments as above.

    Spread only: the upward bias of the plug-in is not in it.
    """
    z = sample.masks.shape[0]
    require(z >= 2, "sample", "of at least 2 supersamples", z)
    require(draws >= 2, "draws", "a whole number from 2 on", draws)
    drawn = np.random.default_rng(seed).integers(0, z, size=(draws, z))
    return float(np.std([bound(sample.take(rows)).gap for rows in drawn], ddof=1))


def hoeffding(error: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """The plain held-out interval: error -+ sqrt(log(2/(1 - level))/(2 n)), cut to [0, 1].

    For n independent losses in [0, 1] of one prompt: what the bounds compete with.
    """
    require(0 <= error <= 1, "error", "in [0, 1]", error)
    require(n >= 1, "n", "a whole number from 1 on", n)
    require(0 < level < 1, "level", "in (0, 1)", level)
    half = math.sqrt(math.log(2 / (1 - level)) / (2 * n))
    return max(0.0, error - half), min(1.0, error + half)


def _root(sample: Supersample, information: float) -> InformationBound:
    return InformationBound(math.sqrt(2 * information), information, sample.training_error)


def _pair_codes(argument: str, pairs: np.ndarray) -> Int[np.ndarray, "Z M N"]:
    values, codes = np.unique(pairs, return_inverse=True)
    codes = codes.reshape(pairs.shape)
    _require_discrete(argument, values.size)
    return codes[..., 0] * values.size + codes[..., 1]


def _require_discrete(argument: str, distinct: int) -> None:
    wanted = f"discrete, with at most {_MOST_VALUES} values (bin them first)"
    require(distinct <= _MOST_VALUES, argument, wanted, f"{distinct} distinct values")


def _conditional(
    sample: Supersample, codes: Int[np.ndarray, "Z M N"], correction: Correction
) -> InformationBound:
    z, m, n = codes.shape
    require(m >= 2, "masks", "at least 2 for each supersample, or use a pooled bound", m)
    _, codes = np.unique(codes, return_inverse=True)
    codes = codes.reshape(z, m, n)
    tables = np.zeros((z, n, int(codes.max()) + 1, 2), int)
    at_z, _, at_i = np.indices(codes.shape)
    np.add.at(tables, (at_z, at_i, codes, sample.masks), 1)
    information = mutual_information(tables, correction)
    gap = float(np.sqrt(2 * information).mean())
    return InformationBound(gap, float(information.mean()), sample.training_error)


def _oriented_information(
    kinds: Int[np.ndarray, " pairs"], ups: Float[np.ndarray, " pairs"], correction: Correction
) -> float:
    """sum_k P(k) (log 2 - h(P(up | k))): information on a fair coin that flips the orientation.

    Exact for the symmetrised pair, whose two orders are equally likely: that loses nothing, the
    gap and the bounds being the same for either order, and halves the number of cells.
    """
    require_correction(correction)
    tables = np.stack([np.bincount(kinds, ups), np.bincount(kinds, 1 - ups)], axis=-1)
    each = tables.sum(axis=1)
    # Against the fair coin: kl of (up, down) from (1/2, 1/2).
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(each[:, None] > 0, 2 * tables / each[:, None], 1.0)
        terms = np.where(tables > 0, tables * np.log(shares), 0.0)
    value = terms.sum() / max(kinds.size, 1)
    if correction == "miller-madow":  # one degree of freedom for each kind seen both ways up
        value -= (tables > 0).all(axis=1).sum() / (2 * kinds.size)
    return max(float(value), 0.0)


def _pair_information(sample: Supersample, correction: Correction) -> float:
    train, test = sample.train.ravel(), sample.test.ravel()
    values, codes = np.unique(np.stack([train, test]), return_inverse=True)
    _require_discrete("losses", values.size)
    low, high = np.sort(codes.reshape(2, -1), axis=0)
    return _of_unequal(low * values.size + high, test - train, correction)


def _difference_information(sample: Supersample, correction: Correction) -> float:
    difference = (sample.test - sample.train).ravel()
    values, codes = np.unique(np.abs(difference).round(12), return_inverse=True)
    _require_discrete("losses", values.size)
    return _of_unequal(codes.reshape(-1), difference, correction)


def _of_unequal(kinds: np.ndarray, difference: np.ndarray, correction: Correction) -> float:
    # Pairs of equal losses say nothing; they count as kinds that are up half of the time.
    unequal = difference != 0
    if not unequal.any():
        return 0.0
    share = float(unequal.mean())
    ups = (difference[unequal] > 0).astype(float)
    _, kinds = np.unique(kinds[unequal], return_inverse=True)
    return share * _oriented_information(kinds.reshape(-1), ups, correction)


def _single_information(sample: Supersample, correction: Correction) -> float:
    train, test = pick(sample.losses, sample.masks)
    values, codes = np.unique(np.stack([train, test]), return_inverse=True)
    _require_discrete("losses", values.size)
    inside, outside = codes.reshape(2, -1)
    table = np.stack([np.bincount(c, minlength=values.size) for c in (inside, outside)], axis=-1)
    return float(mutual_information(table, correction))
