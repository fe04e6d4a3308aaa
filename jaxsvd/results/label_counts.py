"""How often each label is said, and the accuracies that a constant answer cannot raise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from jaxsvd.results.fields import COUNT, NUMBER, Fields

NEARLY_ALWAYS = 0.95
"""From which share of the answers on a model is said to give one answer nearly always."""

Counts = Mapping[str, int]
"""Answers by label, in label order."""


@dataclass(frozen=True)
class LabelCounts:
    """The answers to a test set.

    Attributes:
        gold: how often each label is right.
        untouched, truncated: how often each model says it; the latter is None where nothing was
            truncated.
        majority: accuracy of always answering the commonest gold label.
        balanced_untouched, balanced_truncated: balanced accuracy, the mean over the gold labels
            of the share of their questions that are answered right (Brodersen et al., 2010).
    """

    gold: Counts
    untouched: Counts
    majority: float
    balanced_untouched: float
    truncated: Counts | None = None
    balanced_truncated: float | None = None

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        gold: Int[np.ndarray, " examples"],
        untouched: Int[np.ndarray, " examples"],
        truncated: Int[np.ndarray, " examples"] | None = None,
    ) -> "LabelCounts":
        """Counted from candidates' positions.

        Args:
            labels: words of the candidates; further candidates are called by their number from 1.
            gold: the right candidates.
            untouched: those that the untouched model prefers.
            truncated: those that the truncated model prefers.
        """
        names = names_of(labels, gold, untouched, truncated)

        def counts(answers: Int[np.ndarray, " examples"]) -> dict[str, int]:
            numbers = np.bincount(answers, minlength=len(names))
            return dict(zip(names, map(int, numbers), strict=True))

        return cls(
            gold=counts(gold),
            untouched=counts(untouched),
            majority=float(np.bincount(gold).max() / len(gold)),
            balanced_untouched=balanced_accuracy(gold, untouched),
            truncated=None if truncated is None else counts(truncated),
            balanced_truncated=None if truncated is None else balanced_accuracy(gold, truncated),
        )

    @property
    def commonest(self) -> str:
        """The commonest gold label, the first of equals."""
        return max(self.gold, key=lambda label: self.gold[label])

    def to_json(self) -> dict[str, object]:
        """``label_counts``, ``majority`` and ``balanced_accuracy`` of result.json."""
        counts: dict[str, Counts] = {"gold": self.gold, "untouched": self.untouched}
        balanced = {"untouched": self.balanced_untouched}
        if self.truncated is not None and self.balanced_truncated is not None:
            counts["truncated"] = self.truncated
            balanced["truncated"] = self.balanced_truncated
        return {
            "label_counts": counts,
            "majority": self.majority,
            "balanced_accuracy": balanced,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "LabelCounts":
        """From a result with these fields.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        counts, balanced = fields.nested("label_counts"), fields.nested("balanced_accuracy")
        truncated = counts.has("truncated")
        return cls(
            gold=counts.named("gold", COUNT),
            untouched=counts.named("untouched", COUNT),
            truncated=counts.named("truncated", COUNT) if truncated else None,
            majority=fields.read("majority", NUMBER),
            balanced_untouched=balanced.read("untouched", NUMBER),
            balanced_truncated=balanced.read("truncated", NUMBER) if truncated else None,
        )


def names_of(
    labels: Sequence[str], *answers: Int[np.ndarray, " examples"] | None
) -> tuple[str, ...]:
    """A name for every candidate that occurs: its label, or its number from 1."""
    width = max((int(a.max()) + 1 for a in answers if a is not None and a.size), default=0)
    return (*labels, *(str(i + 1) for i in range(len(labels), width)))


def balanced_accuracy(
    gold: Int[np.ndarray, " examples"], answers: Int[np.ndarray, " examples"]
) -> float:
    """Mean over the gold labels of the share of their questions that are answered right.

    Brodersen, Ong, Stephan and Buhmann (2010). A constant answer has 1 over the number of labels.
    """
    right = answers == gold
    return float(np.mean([right[gold == label].mean() for label in np.unique(gold)]))


def constant_answer(counts: Counts) -> str | None:
    """The label that is said nearly always; None if there is none.

    Args:
        counts: answers of one model by label.
    """
    total = sum(counts.values())
    if not total:
        return None
    label = max(counts, key=lambda name: counts[name])
    return label if counts[label] / total >= NEARLY_ALWAYS else None
