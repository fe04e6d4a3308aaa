"""What a search leaves: the layer and why, accuracy by clipping rate, and the test."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from jaxsvd.results.candidates import Candidates
from jaxsvd.results.explanation import Explanation
from jaxsvd.results.fields import NUMBER, RATE, TEXT, WHOLE, Fields
from jaxsvd.results.header import TaskHeader, read_model, read_notices, read_task
from jaxsvd.results.label_counts import LabelCounts
from jaxsvd.results.points import Point, frame_of
from jaxsvd.results.records import EditRecord, Measured, read_edits, without_none
from jaxsvd.results.search_draw import RateScore, SearchDraw, Tested
from jaxsvd.results.selection_bias import CorrectedMaximum
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
        reason: in words, where it was chosen in another way.
    """

    layer: int
    top: tuple[int, ...] = ()
    numbers: tuple[dict[str, float], ...] = ()
    reason: str = ""

    @property
    def rule(self) -> str:
        """In words."""
        if not self.numbers:
            return self.reason or "given"
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
        rule = fields.maybe("rule", TEXT) or ""
        return cls(
            layer=fields.read("layer", WHOLE),
            top=fields.several("top", WHOLE, empty=True) if fields.has("top") else (),
            numbers=numbers,
            reason="" if numbers or rule == "given" else rule,
        )


@dataclass(frozen=True, kw_only=True)
class SearchResult(TaskHeader):
    """What a search measured.

    Attributes:
        layer, module: what was truncated.
        choice: how the layer was chosen.
        method: of the SVD; None where the record does not say.
        validation: by rate, ascending; of several draws their means.
        best_rate: the best on the validation set, the smallest among equals.
        base, pruned: on the test set, nothing truncated and at the best rate.
        paired: the two compared, example by example.
        candidates: how the truncation was chosen among many; None of Algorithm 1.
        edits: what is tested; empty where nothing is truncated, and in runs of 0.1.0.
        score: what the rate was chosen by, see :data:`jaxsvd.results.selection_score.Score`.
        selection: that score on validation, with and without the optimism of having chosen it;
            None in runs of 0.1.0.
        draws: what each seed has; empty where one draw was asked for as such.
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
    candidates: Candidates | None = None
    edits: tuple[EditRecord, ...] = ()
    score: str = "accuracy"
    selection: CorrectedMaximum | None = None
    draws: tuple[SearchDraw, ...] = ()
    label_counts: LabelCounts | None = None
    explanation: Explanation | None = None
    out: Path | None = field(default=None, compare=False)

    @property
    def several(self) -> bool:
        """Whether there are several draws: intervals are then over draws and examples."""
        return len(self.draws) > 1

    @property
    def composed(self) -> bool:
        """Whether what is tested is several edits, or one by rank: no clipping rate of a module."""
        return self.candidates is not None and (
            len(self.edits) > 1 or any(edit.rate is None for edit in self.edits)
        )

    @property
    def points(self) -> list[Point]:
        """Those of its curves, for each draw: validation by rate, then the test set."""
        shots, seed = self.task.draw
        if not self.several:
            tested = Tested(self.base, self.pruned, self.paired)
            return self._points(shots, seed, self.validation, tested)
        return [
            point
            for draw in self.draws
            for point in self._points(shots, draw.seed, draw.validation, draw.chosen)
        ]

    def to_frame(self) -> Any:
        """Its points as a pandas ``DataFrame``, a row each.

        Raises:
            UserError: pandas is not installed.
        """
        return frame_of(self.points)

    def _points(
        self,
        shots: int | None,
        seed: int | None,
        validation: tuple[RateScore, ...],
        tested: Tested,
    ) -> list[Point]:
        def point(split: str, rate: float, rank: int | None, accuracy: Accuracy) -> Point:
            return Point(split, self.module, self.layer, rate, rank, shots, seed, accuracy)

        ranks = {score.rate: score.rank for score in validation}
        at = {0.0: tested.base} | ({self.best_rate: tested.pruned} if self.best_rate > 0 else {})
        if self.composed:  # no point of one module's curve
            return []
        return [
            *(point("validation", s.rate, s.rank, s.accuracy) for s in validation),
            *(point("test", rate, ranks.get(rate), rate_score) for rate, rate_score in at.items()),
        ]

    def to_json(self) -> dict[str, object]:
        """The object of result.json."""
        counts = {} if self.label_counts is None else self.label_counts.to_json()
        explanation = None if self.explanation is None else self.explanation.to_json()
        measured, selection = self.measured, None
        if self.selection is not None:
            selection = {"score": self.score} | self.selection.to_json()
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
            }
            | without_none(selection=selection)
            | without_none(
                candidates=self.candidates and self.candidates.to_json(),
                edits=[edit.to_json() for edit in self.edits] or None,
            )
            | {"test": Tested(self.base, self.pruned, self.paired).to_json()}
            | without_none(draws=[draw.to_json() for draw in self.draws] or None)
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
        candidates = fields.nested("candidates") if fields.has("candidates") else None
        score, selection = "accuracy", None
        if fields.has("selection"):
            score = fields.nested("selection").read("score", TEXT)
            selection = CorrectedMaximum.from_json(fields.nested("selection"))
        draws = fields.objects("draws") if fields.has("draws") else []
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
            candidates=candidates and Candidates.from_json(candidates),
            edits=read_edits(fields),
            score=score,
            selection=selection,
            draws=tuple(map(SearchDraw.from_json, draws)),
            label_counts=LabelCounts.from_json(fields) if fields.has("label_counts") else None,
            explanation=explanation and Explanation.from_json(explanation),
            out=out,
        )
