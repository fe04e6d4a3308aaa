"""The points of a run's curves: a count with its interval, beside the untouched model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxsvd.results.fields import COUNT, FLAG, RATE, TEXT, WHOLE, Fields
from jaxsvd.results.predictions import Outcomes, QuestionSet, Variant
from jaxsvd.results.statistics import Accuracy, PairedDifference, paired_difference
from jaxsvd.runtime.errors import UserError

LEVEL = 0.05


@dataclass(frozen=True)
class Point:
    """An accuracy at a clipping rate.

    Attributes:
        split, module, layer, rate, rank, shots, seed: what was scored; ``rank`` is None where
            nothing was cut.
        accuracy: counts, and the 95 % Wilson interval.
        change: against rate 0 on the same examples; None at rate 0, and where the predictions
            do not tell.
        beyond_noise: whether its exact test rejects at 5 % after Holm's correction over all
            truncated points of the split.
    """

    split: str
    module: str
    layer: int
    rate: float
    rank: int | None
    shots: int | None
    seed: int | None
    accuracy: Accuracy
    change: PairedDifference | None = None
    beyond_noise: bool | None = None

    @property
    def variant(self) -> Variant:
        """Its predictions' key."""
        questions = QuestionSet(self.split, self.shots, self.seed)
        return Variant(questions, self.module, self.layer, self.rate)

    def to_json(self) -> dict[str, object]:
        """One of the ``cells`` of result.json; of another split than validation it says so."""
        cell: dict[str, object] = {
            "module": self.module,
            "layer": self.layer,
            "rate": self.rate,
            "rank": self.rank,
            "shots": self.shots,
            "seed": self.seed,
        } | self.accuracy.to_json()
        if self.change is not None:
            cell |= self.change.to_json("difference_interval")
            cell["beyond_noise"] = self.beyond_noise
        return cell | ({} if self.split == "validation" else {"split": self.split})

    @classmethod
    def from_json(cls, fields: Fields) -> "Point":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        change = None
        if fields.has("difference_interval"):
            change = PairedDifference.from_json(fields, "difference_interval")
        return cls(
            split=fields.maybe("split", TEXT) or "validation",
            module=fields.read("module", TEXT),
            layer=fields.read("layer", WHOLE),
            rate=fields.read("rate", RATE),
            rank=None if fields.raw("rank") is None else fields.read("rank", WHOLE),
            shots=fields.read("shots", COUNT),
            seed=fields.read("seed", COUNT),
            accuracy=Accuracy.from_json(fields),
            change=change,
            beyond_noise=fields.maybe("beyond_noise", FLAG),
        )


def paired(points: Sequence[Point], outcomes: Outcomes) -> tuple[list[Point], int]:
    """Points with what turned against rate 0.

    Args:
        points: of a run.
        outcomes: its predictions.

    Returns:
        The points, and how many truncated ones the predictions contradict; these stay bare.
    """
    paired_points, contradicted = [], 0
    for point in points:
        comparison = outcomes.compare(point.variant) if point.rate > 0 else None
        if comparison is None:
            paired_points.append(point)
        elif not comparison.total or comparison.accuracy != point.accuracy:
            contradicted += 1
            paired_points.append(replace(point, change=None, beyond_noise=None))
        else:
            before, after = (a == comparison.gold for a in (comparison.before, comparison.after))
            paired_points.append(replace(point, change=paired_difference(before, after)))
    return corrected(paired_points), contradicted


def corrected(points: list[Point]) -> list[Point]:
    """Points with whether each change is beyond noise, of all changes of a split together."""
    for split in {point.split for point in points}:
        family = {
            i: p.change.p_value for i, p in enumerate(points) if p.split == split and p.change
        }
        for i, beyond in zip(family, holm(list(family.values())), strict=True):
            points[i] = replace(points[i], beyond_noise=beyond)
    return points


def make_curves(points: Sequence[Point]) -> bool:
    """Whether no two points stand at one place: those that differ otherwise make no curve."""
    return len({point.variant for point in points}) == len(points)


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects (Holm, 1979).

    The chance that any of them is rejected falsely is at most ``level``.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected = [False] * len(p_values)
    for step, i in enumerate(order):
        if p_values[i] > level / (len(p_values) - step):
            break
        rejected[i] = True
    return rejected


def frame_of(points: Sequence[Point]) -> Any:
    """A pandas ``DataFrame`` with a row a point; pandas is imported here and nowhere before.

    Raises:
        UserError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UserError("a DataFrame needs pandas: pip install pandas") from error
    return pandas.DataFrame([{"split": point.split} | point.to_json() for point in points])
