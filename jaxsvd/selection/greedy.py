"""Several truncations together, one after the other: each the best that can be added."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxsvd.edits.edit import Edits, matrix_edits
from jaxsvd.models.config import DecoderConfig
from jaxsvd.runtime.errors import UserError

MARGIN, MOST_EDITS = 0.005, 4
"""What an addition has to bring on validation, and how many there may be."""


@dataclass(frozen=True)
class Round:
    """What was tried in one round.

    Attributes:
        tried: edits, each with those of the rounds before.
        scores: their means.
        best: which of them was the best, the first of equals.
    """

    tried: tuple[Edits, ...]
    scores: tuple[float, ...]
    best: int


def greedy(
    score: Callable[[Sequence[Edits]], Float[np.ndarray, " candidates"]],
    candidates: Sequence[Edits],
    config: DecoderConfig,
    *,
    margin: float = MARGIN,
    most: int = MOST_EDITS,
) -> tuple[Edits, list[Round]]:
    """Add the best candidate, and go on while the score improves by more than a margin.

    This composes edits as LASER does (Sharma et al., 2023), in the order of what they bring and
    not of the layers. Candidates that edit a matrix a second time are left out.

    Args:
        score: the mean score of each of some variants.
        candidates: the untouched model ``()``, then the edits to be added.
        config: of the model.
        margin: an addition has to bring more than this.
        most: additions.

    Returns:
        What was chosen, and the rounds.

    Raises:
        UserError: a negative margin, or no additions allowed.
    """
    if margin < 0 or most < 1:
        raise UserError(f"margin = {margin:g} should be at least 0, and at least 1 edit allowed")
    chosen: Edits = ()
    value = -np.inf
    rounds: list[Round] = []
    while len(rounds) < most:
        tried = [(*chosen, *edits) for edits in candidates if _fits(chosen, edits, config)]
        tried = tried if not rounds else [edits for edits in tried if edits != chosen]
        if not tried:
            break
        scores = score(tried)
        if not rounds:
            value = float(scores[0])
        best = int(np.argmax(scores >= scores.max() - 1e-12))
        rounds.append(Round(tuple(tried), tuple(map(float, scores)), best))
        if scores[best] <= value + margin + 1e-12:
            break
        chosen, value = tried[best], float(scores[best])
    return chosen, rounds


def _fits(chosen: Edits, edits: Edits, config: DecoderConfig) -> bool:
    taken = {(edit.layer, edit.module) for edit in matrix_edits(chosen, config)}
    return all((edit.layer, edit.module) not in taken for edit in matrix_edits(edits, config))
