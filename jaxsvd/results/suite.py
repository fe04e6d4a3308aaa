"""Zero-shot tasks of lm-evaluation-harness, of a model as it is and edited."""

from dataclasses import dataclass

from jaxsvd.results.statistics import PairedDifference


@dataclass(frozen=True)
class SuiteRow:
    """One metric of one task.

    Attributes:
        task: of the harness.
        metric: ``acc``, ``acc_norm``, ``word_perplexity`` and so on.
        examples: how many were scored.
        before: the metric of the model as it is.
        after: of the edited model; None where nothing was edited.
        paired: of metrics that are right or wrong: the difference on the same examples.
    """

    task: str
    metric: str
    examples: int
    before: float
    after: float | None
    paired: PairedDifference | None

    def to_json(self) -> dict[str, object]:
        """Everything, for a file."""
        return {
            "task": self.task,
            "metric": self.metric,
            "examples": self.examples,
            "before": self.before,
            "after": self.after,
            "paired": None if self.paired is None else self.paired.to_json(),
        }
