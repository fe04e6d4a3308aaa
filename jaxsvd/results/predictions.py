"""Every prediction of a run: as lines of predictions.jsonl, and as arrays of what changed."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxsvd.results.fields import COUNT, NUMBER, SHARE, TEXT, WHOLE, Fields, JsonObject
from jaxsvd.results.lines import read_lines
from jaxsvd.results.statistics import Accuracy
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress

_UNSCORED = -1


class QuestionSet(NamedTuple):
    """The questions of a split with their demonstrations, as one draw made them."""

    split: str
    shots: int | None
    seed: int | None


class Variant(NamedTuple):
    """A model as it was scored on a set of questions.

    ``module`` and ``layer`` are None where nothing was cut. Of several edits at once all three
    are None and ``edits`` tells them as they are written, ``26:mlp:0.95+25:attn:0.9``.
    """

    questions: QuestionSet
    module: str | None
    layer: int | None
    rate: float | None
    edits: str | None = None

    @property
    def untouched(self) -> bool:
        """Whether this is the model as it is: rate 0, whichever layer it was scored for."""
        return self.rate == 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """A line of predictions.jsonl: one question under one variant of the model.

    Attributes:
        split, shots, seed: which draw.
        module, layer, rate, edits: which variant, see :class:`Variant`; the rate of a layer that
            is left out is 1.
        index: row in the source split.
        gold, prediction: candidates: the right one, and the one preferred.
        scores: of the candidates, in label order: logits of label tokens, or log-probabilities.
    """

    split: str
    module: str | None
    layer: int | None
    rate: float | None
    shots: int | None
    seed: int | None
    index: int
    gold: int
    prediction: int
    scores: tuple[float, ...]
    edits: str | None = None

    @property
    def right(self) -> bool:
        """Whether the preferred candidate is the right one."""
        return self.prediction == self.gold

    @property
    def variant(self) -> Variant:
        """The model that answered, and on which set of questions."""
        questions = QuestionSet(self.split, self.shots, self.seed)
        return Variant(questions, self.module, self.layer, self.rate, self.edits)

    def to_json(self) -> dict[str, object]:
        """The line."""
        edits = {} if self.edits is None else {"edits": self.edits}
        return {
            "split": self.split,
            "module": self.module,
            "layer": self.layer,
            "rate": self.rate,
            **edits,
            "shots": self.shots,
            "seed": self.seed,
            "index": self.index,
            "gold": self.gold,
            "prediction": self.prediction,
            "scores": list(self.scores),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Prediction":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        scores = fields.several("scores", NUMBER)
        gold, prediction = fields.read("gold", COUNT), fields.read("prediction", COUNT)
        if max(gold, prediction) >= len(scores):
            raise fields.damaged(f"candidate {max(gold, prediction)} of {len(scores)}")
        return cls(
            split=fields.read("split", TEXT),
            module=fields.maybe("module", TEXT),
            layer=fields.maybe("layer", WHOLE),
            rate=fields.maybe("rate", SHARE),
            edits=fields.maybe("edits", TEXT),
            shots=fields.maybe("shots", COUNT),
            seed=fields.maybe("seed", COUNT),
            index=fields.read("index", COUNT),
            gold=gold,
            prediction=prediction,
            scores=scores,
        )


@dataclass(frozen=True)
class PairedAnswers:
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

    _questions: dict[QuestionSet, _Questions] = field(default_factory=dict)
    _answers: dict[Variant, array] = field(default_factory=dict)

    def add(self, line: Prediction) -> None:
        """Take in a prediction; a later one of the same example replaces it."""
        variant = line.variant
        questions = self._questions.setdefault(variant.questions, _Questions())
        position = questions.position.setdefault(line.index, len(questions.position))
        if position == len(questions.gold):
            questions.gold.append(line.gold)
        answers = self._answers.setdefault(variant, array("i"))
        if position >= len(answers):
            answers.extend([_UNSCORED] * (position + 1 - len(answers)))
        answers[position] = line.prediction

    def truncated(self) -> list[Variant]:
        """The variants that are not the untouched model, in the order they were scored."""
        return [variant for variant in self._answers if not variant.untouched]

    def compare(self, variant: Variant) -> PairedAnswers | None:
        """A variant beside rate 0 of the same draw; None where either was not scored."""
        base = variant._replace(rate=0.0, edits=None)
        if base not in self._answers:
            # Rate 0 is the untouched model, whichever layer it was scored for.
            others = (v for v in self._answers if v.questions == variant.questions and v.untouched)
            base = next(others, variant)
        if not base.untouched or variant not in self._answers:
            return None
        questions = self._questions[variant.questions]
        size = min(len(self._answers[base]), len(self._answers[variant]))
        before, after, gold = (
            np.array(a[:size], np.int32)
            for a in (self._answers[base], self._answers[variant], questions.gold)
        )
        index = np.fromiter(questions.position, np.int64, len(questions.position))[:size]
        both = (before != _UNSCORED) & (after != _UNSCORED)
        return PairedAnswers(index[both], gold[both], before[both], after[both])


def read_predictions(path: Path, progress: Progress) -> Iterator[Prediction]:
    """The lines of predictions.jsonl, read as they are asked for.

    Raises:
        UserError: a line that is no prediction.
    """
    for number, line in read_lines(path, "predictions", progress):
        try:
            yield Prediction.from_json(Fields(line))
        except UserError as error:
            raise UserError(f"{path}, line {number}: damaged: not a prediction ({error})") from None


def read_outcomes(path: Path, progress: Progress) -> Outcomes:
    """All of predictions.jsonl.

    Raises:
        UserError: a line that is no prediction.
    """
    outcomes = Outcomes()
    for line in read_predictions(path, progress):
        outcomes.add(line)
    return outcomes


def complete(line: JsonObject) -> Prediction | None:
    """A line that an earlier start of a run left; None of what is no prediction of ours."""
    try:
        prediction = Prediction.from_json(Fields(line))
    except UserError:
        return None
    return prediction if prediction.to_json().keys() == line.keys() else None
