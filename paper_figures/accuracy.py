"""Accuracy over layers, modules, clipping rates and shots, from sweeps (Figures 1 and 2)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from experiments.language.pooled import binomial_interval
from jaxsvd.results.fields import COUNT, INTERVAL, RATE, SHARE, TEXT, WHOLE, Damaged, Fields
from jaxsvd.results.header import read_model
from jaxsvd.results.points import Point as ResultPoint
from jaxsvd.results.statistics import Accuracy
from jaxsvd.results.sweep import SweepResult
from paper_figures.reading import Key, Source, read_chances


@dataclass(frozen=True)
class PointKey:
    """What tells points apart; a later run's replaces an earlier one's."""

    model: Key
    task: str
    shots: int
    module: str
    layer: int
    rate: float


@dataclass(frozen=True)
class AccuracyPoint:
    """Accuracy on the validation set, pooled over demonstration seeds.

    Attributes:
        mean: over the seeds.
        interval: 95 % Wilson interval of one seed's examples, at the mean.
        seeds: accuracy by seed.
        chance: accuracy of a uniform guess.
        source: the run it is from.
    """

    mean: float
    interval: tuple[float, float]
    seeds: Mapping[int, float]
    chance: float
    source: Source


def points(sources: Iterable[Source], experiment: str) -> dict[PointKey, AccuracyPoint]:
    """The points of an experiment's runs and of plain sweeps, the newest of each cell.

    A cell comes from one run: seeds of different runs are not pooled.

    Args:
        sources: the oldest first.
        experiment: ``"depth_sweep"``, or ``"shots_sweep"``, to which of plain sweeps those with
            several numbers of shots belong.

    Raises:
        UserError: a run is damaged.
    """
    by_key: dict[PointKey, AccuracyPoint] = {}
    for source in sources:
        if source.kind == experiment:
            counts, means, chances = source.read(_experiment)
        elif source.kind == "sweep" and source.fields.has("cells"):
            counts, means, chances = source.read(_plain)
            if experiment != "depth_sweep" and len({count.shots for count in counts}) < 2:
                continue
        else:
            continue
        by_key |= _points(source, counts, means, chances)
    return by_key


@dataclass(frozen=True)
class CorrectCount:
    """Right answers of one draw at one point."""

    task: str
    shots: int
    module: str
    layer: int
    rate: float
    seed: int
    accuracy: Accuracy

    @classmethod
    def from_json(cls, fields: Fields) -> "CorrectCount":
        """One of the ``cells`` of an experiment."""
        point = ResultPoint.from_json(fields)
        return cls.of(fields.read("task", TEXT), point)

    @classmethod
    def of(cls, task: str, point: ResultPoint) -> "CorrectCount":
        """One of the points of a sweep."""
        assert point.shots is not None, "a cell has shots"
        assert point.seed is not None, "a cell has a seed"
        at = (point.shots, point.module, point.layer, point.rate, point.seed)
        return cls(task, *at, point.accuracy)

    @property
    def place(self) -> "Place":
        """Where it belongs."""
        return self.task, self.shots, self.module, self.layer, self.rate


Place = tuple[str, int, str, int, float]
"""Task, shots, module, layer and rate."""


@dataclass(frozen=True)
class Mean:
    """Accuracy over the seeds, as an experiment has it."""

    place: Place
    seeds: tuple[int, ...]
    mean: float
    interval: tuple[float, float]

    @classmethod
    def from_json(cls, fields: Fields) -> "Mean":
        """One of the ``points``."""
        Accuracy.from_json(fields)  # its counts should be counts
        return cls(
            place=(
                fields.read("task", TEXT),
                fields.read("shots", COUNT),
                fields.read("module", TEXT),
                fields.read("layer", WHOLE),
                fields.read("rate", RATE),
            ),
            seeds=fields.several("seeds", COUNT),
            mean=fields.read("mean", SHARE),
            interval=fields.read("interval", INTERVAL),
        )

    @classmethod
    def of(cls, counts: Sequence[CorrectCount]) -> "Mean":
        """Of the draws of one point."""
        accuracies = [count.accuracy for count in counts]
        return cls(
            place=counts[0].place,
            seeds=tuple(count.seed for count in counts),
            mean=fmean(accuracy.value for accuracy in accuracies),
            interval=binomial_interval(
                [accuracy.correct for accuracy in accuracies],
                [accuracy.total for accuracy in accuracies],
            ),
        )


Numbers = tuple[list[CorrectCount], list[Mean], Mapping[str, float]]
"""Counts by draw, means over draws, and chance by task."""


def _experiment(fields: Fields) -> Numbers:
    """Of a run of ``depth_sweep`` or ``shots_sweep``; truncations only."""
    read_model(fields)
    chances = read_chances(fields)
    cells, points = fields.objects("cells"), fields.objects("points")
    counts = [CorrectCount.from_json(cell) for cell in cells if _truncated(cell)]
    _check_counts(counts)
    return counts, [Mean.from_json(point) for point in points if _truncated(point)], chances


def _truncated(fields: Fields) -> bool:
    return (fields.maybe("method", TEXT) or "svd") == "svd"


def _plain(fields: Fields) -> Numbers:
    """Of a run of ``jaxsvd sweep``."""
    result = SweepResult.from_json(fields)
    counts = [CorrectCount.of(result.task.name, point) for point in result.points]
    _check_counts(counts)
    draws: dict[Place, list[CorrectCount]] = {}
    for count in counts:
        draws.setdefault(count.place, []).append(count)
    return counts, list(map(Mean.of, draws.values())), {result.task.name: result.task.chance}


def _check_counts(counts: Iterable[CorrectCount]) -> None:
    """Refuse counts of no examples."""
    for count in counts:
        if not count.accuracy.total:
            raise Damaged(f"{count.module} of layer {count.layer}: of 0 examples")


def _points(
    source: Source,
    counts: Iterable[CorrectCount],
    means: Sequence[Mean],
    chances: Mapping[str, float],
) -> dict[PointKey, AccuracyPoint]:
    by_seed: dict[PointKey, dict[int, float]] = {}
    for count in counts:
        cell = PointKey(source.model, *count.place)
        by_seed.setdefault(cell, {})[count.seed] = count.accuracy.value
    by_key = {}
    for entry in means:
        cell = PointKey(source.model, *entry.place)
        source.check_layers([cell.layer])
        seeds = by_seed.get(cell, {})
        if sorted(seeds) != sorted(entry.seeds):
            raise source.damaged(f"the cells and the point of {_words(cell)} have other seeds")
        mean = fmean(seeds.values())
        if not math.isclose(mean, entry.mean, abs_tol=1e-9):
            raise source.damaged(
                f"{_words(cell)}: the mean should be {mean:.6g}, is {entry.mean:.6g}"
            )
        if cell.task not in chances:
            raise source.damaged(f"tasks has no {cell.task!r}")
        by_key[cell] = AccuracyPoint(entry.mean, entry.interval, seeds, chances[cell.task], source)
    return by_key


def _words(cell: PointKey) -> str:
    return f"{cell.task}, {cell.shots} shots, {cell.module} of layer {cell.layer}, {cell.rate:g}"
