"""What a search leaves: the layer and why, accuracy by clipping rate, and the test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxsvd.results.explanation import Explanation
from jaxsvd.results.fields import Fields
from jaxsvd.results.label_counts import LabelCounts
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

    def record(self) -> dict[str, Any]:
        """For result.json."""
        if not self.numbers:
            return {"rule": "given", "layer": self.layer}
        return {
            "rule": f"deepest of the {len(self.top)} layers with the largest condition number",
            "layer": self.layer,
            "top": list(self.top),
            "condition_numbers": [
                {"layer": i, "condition_number": max(by_name.values()), "matrices": by_name}
                for i, by_name in enumerate(self.numbers)
            ],
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "LayerChoice":
        """From the ``layer_choice`` of result.json."""
        return cls(
            record["layer"],
            tuple(record.get("top", ())),
            tuple(row["matrices"] for row in record.get("condition_numbers", ())),
        )


@dataclass(frozen=True)
class RateScore:
    """Validation accuracy at a clipping rate; ``rank`` is None where nothing is cut."""

    rate: float
    rank: int | None
    accuracy: Accuracy


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        layer, module: what was truncated.
        choice: how the layer was chosen.
        validation: by rate, ascending.
        best_rate: the best on the validation set, the smallest among equals.
        base: on the test set, nothing truncated.
        pruned: on the test set, at the best rate.
        paired: the two compared, example by example.
        label_counts: how often each label is said on the test set; None in runs of 0.1.0.
        explanation: what the change is made of; None where nothing was truncated, where rate 0 was
            not among the rates, and in runs of 0.1.0.
        record: everything, as in result.json.
        out: the run directory, if one was written.
    """

    layer: int
    module: str
    choice: LayerChoice
    validation: tuple[RateScore, ...]
    best_rate: float
    base: Accuracy
    pruned: Accuracy
    paired: PairedDifference
    record: dict[str, Any]
    out: Path | None = None
    label_counts: LabelCounts | None = None
    explanation: Explanation | None = None

    @classmethod
    def from_json(cls, result: dict[str, Any]) -> "SearchResult":
        """From result.json, of this version or an earlier one, its shape checked before.

        Raises:
            Damaged: an explanation or counts of labels that are not as they were written.
        """
        test, fields = result["test"], Fields(result)
        low, high = test["interval"]
        explanation = fields.nested("explanation") if fields.has("explanation") else None
        return cls(
            layer=result["layer"],
            module=result["module"],
            choice=LayerChoice.from_json(result.get("layer_choice") or {"layer": result["layer"]}),
            validation=tuple(
                RateScore(float(s["rate"]), s["rank"], _accuracy(s)) for s in result["validation"]
            ),
            best_rate=float(result["best_rate"]),
            base=_accuracy(test["base"]),
            pruned=_accuracy(test["pruned"]),
            paired=PairedDifference(
                difference=float(test["difference"]),
                interval=(float(low), float(high)),
                p_value=float(test["p_value"]),
                gained=test["gained"],
                lost=test["lost"],
            ),
            record=result,
            label_counts=LabelCounts.from_json(fields) if fields.has("label_counts") else None,
            explanation=explanation and Explanation.from_json(explanation),
        )


def _accuracy(counts: dict[str, Any]) -> Accuracy:
    return Accuracy(counts["correct"], counts["total"])
