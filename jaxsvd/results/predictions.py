"""Every prediction of a run, as arrays: which examples a truncation turned."""

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxsvd.results.read import read_lines
from jaxsvd.results.statistics import Accuracy
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress

_UNSCORED = -1


class Draw(NamedTuple):
    """A set of questions with their demonstrations."""

    split: str
    shots: int | None
    seed: int | None


class Variant(NamedTuple):
    """A model as it was scored on a draw; module and layer are None where nothing was cut."""

    draw: Draw
    module: str | None
    layer: int | None
    rate: float


@dataclass(frozen=True)
class Comparison:
    """A variant against the untouched model, on the examples that both answered.

    Attributes:
        index: rows in the source split.
        gold, before, after: candidates: the right one, and those preferred.
    """

    index: Int[np.ndarray, " examples"]
    gold: Int[np.ndarray, " examples"]
    before: Int[np.ndarray, " examples"]
    after: Int[np.ndarray, " examples"]

    @property
    def gained(self) -> Bool[np.ndarray, " examples"]:
        """Wrong before, right after."""
        return (self.before != self.gold) & (self.after == self.gold)

    @property
    def lost(self) -> Bool[np.ndarray, " examples"]:
        """Right before, wrong after."""
        return (self.before == self.gold) & (self.after != self.gold)

    @property
    def total(self) -> int:
        """How many examples."""
        return len(self.index)

    @property
    def accuracy(self) -> Accuracy:
        """Of the variant."""
        return Accuracy.of(self.after == self.gold)


@dataclass
class _Questions:
    position: dict[int, int] = field(default_factory=dict)  # by index
    gold: array = field(default_factory=lambda: array("i"))


@dataclass
class Outcomes:
    """The predictions of a run: four bytes each, however many there are."""

    _questions: dict[Draw, _Questions] = field(default_factory=dict)
    _answers: dict[Variant, array] = field(default_factory=dict)

    def add(self, record: dict[str, Any]) -> None:
        """Take in a line of predictions.jsonl; a later line of the same example replaces it.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: it is not such a line.
        """
        draw = Draw(str(record["split"]), record.get("shots"), record.get("seed"))
        rate = float(record["rate"])
        variant = Variant(draw, record.get("module"), record.get("layer"), rate)
        index, gold, prediction = record["index"], record["gold"], record["prediction"]
        if gold < 0 or prediction < 0:
            raise ValueError("candidates count from 0")
        questions = self._questions.setdefault(draw, _Questions())
        position = questions.position.setdefault(index, len(questions.position))
        if position == len(questions.gold):
            questions.gold.append(gold)
        answers = self._answers.setdefault(variant, array("i"))
        if position >= len(answers):
            answers.extend([_UNSCORED] * (position + 1 - len(answers)))
        answers[position] = prediction

    def truncated(self) -> list[Variant]:
        """The variants with a rate above 0, in the order they were scored."""
        return [variant for variant in self._answers if variant.rate > 0]

    def compare(self, variant: Variant) -> Comparison | None:
        """A variant beside rate 0 of the same draw; None where either was not scored."""
        base = variant._replace(rate=0.0)
        if base not in self._answers:
            # Rate 0 is the untouched model, whichever layer it was scored for.
            others = (v for v in self._answers if v.draw == variant.draw and v.rate == 0)
            base = next(others, variant)
        if base.rate > 0 or variant not in self._answers:
            return None
        questions = self._questions[variant.draw]
        size = min(len(self._answers[base]), len(self._answers[variant]))
        before, after, gold = (
            np.array(a[:size], np.int32)
            for a in (self._answers[base], self._answers[variant], questions.gold)
        )
        index = np.fromiter(questions.position, np.int64, len(questions.position))[:size]
        both = (before != _UNSCORED) & (after != _UNSCORED)
        return Comparison(index[both], gold[both], before[both], after[both])


def read_outcomes(path: Path, progress: Progress) -> Outcomes:
    """All of predictions.jsonl.

    Raises:
        UserError: a line that is no prediction.
    """
    outcomes = Outcomes()
    for number, record in read_lines(path, "predictions", progress):
        try:
            outcomes.add(record)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UserError(f"{path}, line {number}: damaged: not a prediction") from None
    return outcomes
