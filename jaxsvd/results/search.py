"""What a search leaves: the layer and why, accuracy by clipping rate, and the test."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from jaxsvd.results.explanation import Explanation
from jaxsvd.results.fields import COUNT, NUMBER, RATE, TEXT, WHOLE, Fields
from jaxsvd.results.header import TaskHeader, read_model, read_notices, read_task
from jaxsvd.results.label_counts import LabelCounts
from jaxsvd.results.points import Point
from jaxsvd.results.records import Measured, without_none
from jaxsvd.results.statistics import Accuracy, PairedDifference


@dataclass(frozen=True)
class LayerChoice:
    """How the layer was chosen.

    Attributes:
        layer: counted from 0.
        top: the layers with the largest condition numbers, from the largest on; empty where
            the layer was given.
        numbers: condition number by layer and matrix; a layer's own is the largest of its
            matrices'.
    """

    layer: int
    top: tuple[int, ...] = ()
    numbers: tuple[dict[str, float], ...] = ()

    @property
    def rule(self) -> str:
        """In words."""
        if not self.numbers:
            return "given"
        return f"deepest of the {len(self.top)} layers with the largest condition number"

    def to_json(self) -> dict[str, object]:
        """The ``layer_choice`` object."""
        if not self.numbers:
            return {"rule": self.rule, "layer": self.layer}
        return {
            "rule": self.rule,
            "layer": self.layer,
            "top": list(self.top),
            "condition_numbers": [
                {"layer": i, "condition_number": max(by_name.values()), "matrices": by_name}
                for i, by_name in enumerate(self.numbers)
            ],
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "LayerChoice":
        """As written; the numbers of the layers are in the layers' order."""
        numbers: tuple[dict[str, float], ...] = ()
        if fields.has("condition_numbers"):
            rows = fields.objects("condition_numbers", empty=True)
            numbers = tuple(row.named("matrices", NUMBER) for row in rows)
        return cls(
            layer=fields.read("layer", WHOLE),
            top=fields.several("top", WHOLE, empty=True) if fields.has("top") else (),
            numbers=numbers,
        )


@dataclass(frozen=True)
class RateScore:
    """Validation accuracy at a clipping rate; ``rank`` is None where nothing is cut."""

    rate: float
    rank: int | None
    accuracy: Accuracy

    def to_json(self) -> dict[str, object]:
        """One of ``validation``."""
        return {"rate": self.rate, "rank": self.rank} | self.accuracy.to_json()

    @classmethod
    def from_json(cls, fields: Fields) -> "RateScore":
        """As written."""
        return cls(
            rate=fields.read("rate", RATE),
            rank=None if fields.raw("rank") is None else fields.read("rank", WHOLE),
            accuracy=Accuracy.from_json(fields),
        )


@dataclass(frozen=True)
class Tested:
    """The test set under the untouched and the truncated model.

    Attributes:
        base: nothing truncated.
        pruned: at the best rate.
        paired: the two compared, example by example.
    """

    base: Accuracy
    pruned: Accuracy
    paired: PairedDifference

    def to_json(self) -> dict[str, object]:
        """The ``test`` object."""
        return {"base": self.base.to_json(), "pruned": self.pruned.to_json()} | (
            self.paired.to_json()
        )

    @classmethod
    def from_json(cls, fields: Fields) -> "Tested":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        return cls(
            base=Accuracy.from_json(fields.nested("base")),
            pruned=Accuracy.from_json(fields.nested("pruned")),
            paired=PairedDifference.from_json(fields),
        )


@dataclass(frozen=True, kw_only=True)
class SearchResult(TaskHeader):
    """What a search measured.

    Attributes:
        layer, module: what was truncated.
        choice: how the layer was chosen.
        method: of the SVD; None where the record does not say.
        validation: by rate, ascending.
        best_rate: the best on the validation set, the smallest among equals.
        base, pruned: on the test set, nothing truncated and at the best rate.
        paired: the two compared, example by example.
        label_counts: how often each label is said on the test set; None in runs of 0.1.0.
        explanation: whether a gain is one of the label prior; None where nothing was truncated,
            where it cannot be computed, and in runs of 0.1.0.
        out: the run directory, if one was written.
    """

    command: ClassVar = "search"

    layer: int
    module: str
    choice: LayerChoice
    method: str | None = None
    validation: tuple[RateScore, ...]
    best_rate: float
    base: Accuracy
    pruned: Accuracy
    paired: PairedDifference
    label_counts: LabelCounts | None = None
    explanation: Explanation | None = None
    out: Path | None = field(default=None, compare=False)

    @property
    def points(self) -> list[Point]:
        """Those of its curves: validation by rate, then the test set."""
        shots, seed = self.task.draw

        def point(split: str, rate: float, rank: int | None, accuracy: Accuracy) -> Point:
            return Point(split, self.module, self.layer, rate, rank, shots, seed, accuracy)

        ranks = {score.rate: score.rank for score in self.validation}
        tested = {0.0: self.base} | ({self.best_rate: self.pruned} if self.best_rate > 0 else {})
        return [
            *(point("validation", s.rate, s.rank, s.accuracy) for s in self.validation),
            *(point("test", rate, ranks.get(rate), found) for rate, found in tested.items()),
        ]

    def to_json(self) -> dict[str, object]:
        """The object of result.json."""
        counts = {} if self.label_counts is None else self.label_counts.to_json()
        explanation = None if self.explanation is None else self.explanation.to_json()
        measured = self.measured
        return (
            {"command": self.command, "model": self.model.to_json(), "task": self.task.to_json()}
            | without_none(svd=self.method, started=measured.started)
            | {"notices": list(self.notices)}
            | counts
            | without_none(explanation=explanation)
            | {
                "layer": self.layer,
                "module": self.module,
                "layer_choice": self.choice.to_json(),
                "validation": [score.to_json() for score in self.validation],
                "best_rate": self.best_rate,
                "test": Tested(self.base, self.pruned, self.paired).to_json(),
            }
            | without_none(seconds=measured.seconds)
            | measured.surroundings_json()
        )

    @classmethod
    def from_json(cls, fields: Fields, out: Path | None = None) -> "SearchResult":
        """As written, by this version or an earlier one.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        model, task = read_model(fields), read_task(fields)
        layer = fields.read("layer", WHOLE)
        choice = LayerChoice(layer)
        if fields.has("layer_choice"):
            choice = LayerChoice.from_json(fields.nested("layer_choice"))
        validation = tuple(map(RateScore.from_json, fields.objects("validation")))
        best_rate = fields.read("best_rate", RATE)
        tested = Tested.from_json(fields.nested("test"))
        explanation = fields.nested("explanation") if fields.has("explanation") else None
        return cls(
            model=model,
            task=task,
            notices=read_notices(fields),
            measured=Measured.from_json(fields),
            layer=layer,
            module=fields.read("module", TEXT),
            choice=choice,
            method=fields.maybe("svd", TEXT),
            validation=validation,
            best_rate=best_rate,
            base=tested.base,
            pruned=tested.pruned,
            paired=tested.paired,
            label_counts=LabelCounts.from_json(fields) if fields.has("label_counts") else None,
            explanation=explanation and Explanation.from_json(explanation),
            out=out,
        )


@dataclass(frozen=True)
class TestedDraw:
    """One of the ``searches`` of the algorithm1 experiment.

    Attributes:
        task, module, seed, layer: what was truncated, on which draw.
        best_rate: chosen on validation.
        tested: on the test set.
    """

    task: str
    module: str
    seed: int
    layer: int
    best_rate: float
    tested: Tested

    @classmethod
    def from_json(cls, fields: Fields) -> "TestedDraw":
        """As written."""
        return cls(
            task=fields.read("task", TEXT),
            module=fields.read("module", TEXT),
            seed=fields.read("seed", COUNT),
            layer=fields.read("layer", WHOLE),
            best_rate=fields.read("best_rate", RATE),
            tested=Tested.from_json(fields.nested("test")),
        )
