"""The points of a run's curves: a count with its interval, beside the untouched model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxsvd.results import schema
from jaxsvd.results.predictions import Draw, Outcomes, Variant
from jaxsvd.results.statistics import Accuracy, PairedDifference, paired_difference
from jaxsvd.runs.directory import Record

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
        draw = Draw(self.split, self.shots, self.seed)
        return Variant(draw, self.module, self.layer, self.rate)

    def record(self) -> Record:
        """For the page."""
        plain = {k: v for k, v in vars(self).items() if k not in ("accuracy", "change")}
        change = None if self.change is None else vars(self.change)
        return plain | self.accuracy.record() | {"change": change}


def points_of(result: Record) -> list[Point]:
    """The points of a search, or of any result with a sweep's ``cells``; none of others."""
    if not schema.flaw(result, schema.SEARCH):
        return _search_points(result)
    if schema.flaw(result.get("cells"), [schema.CELL]):
        return []
    cells = result["cells"]
    points = [_point(c.get("split", "validation"), c, c, c["shots"], c["seed"]) for c in cells]
    # Cells that differ in something else make no curve over the rate.
    return points if len({p.variant for p in points}) == len(points) else []


def _search_points(result: Record) -> list[Point]:
    task, test = result["task"], result["test"]
    at = {"module": result["module"], "layer": result["layer"]}
    draw = task.get("shots"), task.get("seed")
    points = [_point("validation", at | score, score, *draw) for score in result["validation"]]
    ranks = {score["rate"]: score["rank"] for score in result["validation"]}
    best = result["best_rate"]
    tested = {0.0: test["base"]} | ({best: test["pruned"]} if best > 0 else {})
    for rate, counts in tested.items():
        points.append(_point("test", at | {"rate": rate, "rank": ranks.get(rate)}, counts, *draw))
    return points


def _point(split: str, at: Record, counts: Record, shots: int | None, seed: int | None) -> Point:
    accuracy = Accuracy(counts["correct"], counts["total"])
    rate = float(at["rate"])
    return Point(split, at["module"], at["layer"], rate, at["rank"], shots, seed, accuracy)


def paired(points: Sequence[Point], outcomes: Outcomes) -> tuple[list[Point], int]:
    """Points with what turned against rate 0.

    Args:
        points: of a run.
        outcomes: its predictions.

    Returns:
        The points, and how many truncated ones the predictions contradict; these stay bare.
    """
    found, contradicted = [], 0
    for point in points:
        comparison = outcomes.compare(point.variant) if point.rate > 0 else None
        if comparison is None:
            found.append(point)
        elif not comparison.total or comparison.accuracy != point.accuracy:
            contradicted += 1
            found.append(point)
        else:
            before, after = (a == comparison.gold for a in (comparison.before, comparison.after))
            found.append(replace(point, change=paired_difference(before, after)))
    return corrected(found), contradicted


def corrected(points: list[Point]) -> list[Point]:
    """Points with the verdict on each change, of all changes of a split together."""
    for split in {point.split for point in points}:
        family = {
            i: p.change.p_value for i, p in enumerate(points) if p.split == split and p.change
        }
        for i, verdict in zip(family, holm(list(family.values())), strict=True):
            points[i] = replace(points[i], beyond_noise=verdict)
    return points


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


def chance_of(result: Record) -> float | None:
    """Accuracy of a uniform guess, where the result tells it."""
    task: Any = result.get("task")
    chance = task.get("chance") if isinstance(task, dict) else None
    return float(chance) if isinstance(chance, int | float) else None
