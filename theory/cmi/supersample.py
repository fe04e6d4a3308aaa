"""Supersamples: pairs of examples, masks, and the losses of all members under each mask."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from theory.checks import Real, as_mask, real, require, require_finite, require_whole


def draw_masks(seed: int, supersamples: int, masks: int, n: int) -> Int[np.ndarray, "Z M N"]:
    """Fair, independent coins: which member of each pair is a demonstration.

    Args:
        seed: decides them.
        supersamples: Z, sets of N pairs.
        masks: M, for each of them. One is enough for the pooled bounds; the conditional ones need
            many (see :func:`theory.cmi.e_cmi`).
        n: pairs.
    """
    for name, size in (("supersamples", supersamples), ("masks", masks), ("n", n)):
        require_whole(name, size, 1)
    return np.random.default_rng(seed).integers(0, 2, size=(supersamples, masks, n))


def pick(
    members: Shaped[np.ndarray, "*batch N 2"], mask: Real
) -> tuple[Shaped[np.ndarray, "*batch N"], Shaped[np.ndarray, "*batch N"]]:
    """The members that a mask makes demonstrations, and the others.

    Also splits losses into those on demonstrations (training) and the others (test).
    """
    mask = _as_mask("mask", mask)
    chosen = np.take_along_axis(members, mask[..., None], axis=-1)[..., 0]
    others = np.take_along_axis(members, 1 - mask[..., None], axis=-1)[..., 0]
    return chosen, others


@dataclass(frozen=True)
class Supersample:
    """Losses in [0, 1] of all members of Z supersamples under M masks each.

    Attributes:
        losses: of member j of pair i, ``[Z, M, N, 2]``; booleans for wrong and right are 1 and 0.
        masks: U, ``[Z, M, N]``, numbers 0 and 1 or booleans: member U_i of pair i was a
            demonstration.
        predictions: labels given to all members, ``[Z, M, N, 2]``; f-CMI alone needs them.
    """

    losses: Any
    masks: Any
    predictions: Any = None

    def __post_init__(self) -> None:
        """Bring to arrays, and check."""
        losses = np.asarray(real(losses=self.losses)[0], np.float64)
        object.__setattr__(self, "losses", losses)
        object.__setattr__(self, "masks", _as_mask("masks", self.masks))
        if self.predictions is not None:
            object.__setattr__(self, "predictions", np.asarray(self.predictions))
        require(self.losses.ndim == 4, "losses", "of shape [Z, M, N, 2]", self.losses.shape)
        require(self.losses.shape[-1] == 2, "losses", "of shape [Z, M, N, 2]", self.losses.shape)
        wanted = self.losses.shape[:-1]
        require(self.masks.shape == wanted, "masks", f"of shape {wanted}", self.masks.shape)
        require(self.losses.size > 0, "losses", "not empty", self.losses.shape)
        require_finite("losses", self.losses)
        inside = bool(((self.losses >= 0) & (self.losses <= 1)).all())
        require(inside, "losses", "in [0, 1]", (self.losses.min(), self.losses.max()))
        if self.predictions is not None:
            shape = self.predictions.shape
            require(shape == self.losses.shape, "predictions", "of the losses' shape", shape)

    def masked(self, masks: Int[np.ndarray, "..."]) -> "Supersample":
        """The same answers beside other masks."""
        return replace(self, masks=masks)

    def take(self, rows: Int[np.ndarray, " rows"]) -> "Supersample":
        """Some of the Z supersamples, or some of them more than once."""
        chosen = None if self.predictions is None else self.predictions[rows]
        return Supersample(self.losses[rows], self.masks[rows], chosen)

    @property
    def train(self) -> Float[np.ndarray, "Z M N"]:
        """Losses on the demonstrations."""
        return pick(self.losses, self.masks)[0]

    @property
    def test(self) -> Float[np.ndarray, "Z M N"]:
        """Losses on the members outside the prompt."""
        return pick(self.losses, self.masks)[1]

    @property
    def training_error(self) -> float:
        """Mean loss on the demonstrations."""
        return float(self.train.mean())

    @property
    def test_error(self) -> float:
        """Mean loss outside the prompt."""
        return float(self.test.mean())

    @property
    def gap(self) -> float:
        """Test error less training error, what the bounds are about."""
        return float((self.test - self.train).mean())

    @property
    def gap_error(self) -> float:
        """Its standard error, supersamples being the independent units; NaN for only one."""
        each = (self.test - self.train).mean(axis=(1, 2))
        return float(each.std(ddof=1) / math.sqrt(each.size)) if each.size > 1 else math.nan


def _as_mask(argument: str, mask: Any) -> Int[np.ndarray, "..."]:
    """Numbers 0 and 1, from them or from booleans."""
    return np.asarray(as_mask(argument, mask)).astype(int)
