"""What an evaluation leaves: accuracy on the test set, nothing truncated."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from jaxsvd.results.fields import COUNT, Fields
from jaxsvd.results.header import TaskHeader, read_model, read_notices, read_task
from jaxsvd.results.label_counts import LabelCounts
from jaxsvd.results.records import EditRecord, Measured, read_edits, without_none
from jaxsvd.results.statistics import Accuracy


@dataclass(frozen=True)
class EvaluationDraw:
    """One draw of an evaluation over several."""

    seed: int
    accuracy: Accuracy
    label_counts: LabelCounts

    def to_json(self) -> dict[str, object]:
        """One of ``draws``."""
        return {"seed": self.seed, "test": self.accuracy.to_json()} | self.label_counts.to_json()

    @classmethod
    def from_json(cls, fields: Fields) -> "EvaluationDraw":
        """As written."""
        return cls(
            seed=fields.read("seed", COUNT),
            accuracy=Accuracy.from_json(fields.nested("test")),
            label_counts=LabelCounts.from_json(fields),
        )


@dataclass(frozen=True, kw_only=True)
class Evaluation(TaskHeader):
    """Plain in-context accuracy.

    Attributes:
        accuracy: on the test set; of several draws, of all of them.
        draws: what each seed has; empty where one draw was asked for as such.
        label_counts: how often each label is said; None in runs of 0.1.0.
        edits: of the weights that were scored.
        out: the run directory, if one was written.
    """

    command: ClassVar = "evaluate"

    accuracy: Accuracy
    draws: tuple[EvaluationDraw, ...] = ()
    label_counts: LabelCounts | None = None
    edits: tuple[EditRecord, ...] = ()
    out: Path | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, object]:
        """The object of result.json."""
        counts = {} if self.label_counts is None else self.label_counts.to_json()
        return (
            {
                "command": self.command,
                "model": self.model.to_json(),
                "task": self.task.to_json(),
                "test": self.accuracy.to_json(),
                "notices": list(self.notices),
            }
            | self.measured.time_json()
            | counts
            | without_none(draws=[draw.to_json() for draw in self.draws] or None)
            | without_none(edits=[edit.to_json() for edit in self.edits] or None)
            | self.measured.surroundings_json()
        )

    @classmethod
    def from_json(cls, fields: Fields, out: Path | None = None) -> "Evaluation":
        """As written, by this version or an earlier one.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        draws = fields.objects("draws") if fields.has("draws") else []
        return cls(
            model=read_model(fields),
            task=read_task(fields),
            notices=read_notices(fields),
            measured=Measured.from_json(fields),
            accuracy=Accuracy.from_json(fields.nested("test")),
            draws=tuple(map(EvaluationDraw.from_json, draws)),
            label_counts=LabelCounts.from_json(fields) if fields.has("label_counts") else None,
            edits=read_edits(fields),
            out=out,
        )
