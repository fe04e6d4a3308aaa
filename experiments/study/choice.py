"""The rate that validation chooses: the best mean accuracy over draws, the smallest of equals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from experiments.study import design
from experiments.study.scores import Scores
from jaxsvd.edits.edit import Edit, format_edits


class EditCell(NamedTuple):
    """A layer, a module and a clipping rate."""

    layer: int
    module: str
    rate: float

    @property
    def edit(self) -> str:
        """As it is written; the empty text is the untouched model."""
        return format_edits((Edit(self.layer, self.module, self.rate),)) if self.rate else ""


def correct(scores: Scores, edit: str) -> Bool[np.ndarray, " examples"]:
    """Which answers are right; of equal scores the first counts, and NaN never wins."""
    values = scores.of(edit)
    return np.where(np.isnan(values), -np.inf, values).argmax(axis=1) == scores.gold


def choose(draws: Sequence[Scores], layer: int, module: str) -> EditCell:
    """The best cell of a layer and module.

    Args:
        draws: validation scores of each draw, every rate among them.
        layer: counted from 0.
        module: ``"mlp"`` or ``"attn"``.
    """
    cells = [EditCell(layer, module, rate) for rate in sorted(design.RATES)]
    means = [np.mean([correct(draw, cell.edit).mean() for draw in draws]) for cell in cells]
    return cells[int(np.argmax(means))]
