"""Accuracy over layers, modules, clipping rates and shots, from sweeps (Figures 1 and 2)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.language import pooled
from paper_figures import shapes
from paper_figures.reading import Key, Source

Counted = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """What tells points apart; a later run's replaces an earlier one's."""

    model: Key
    task: str
    shots: int
    module: str
    layer: int
    rate: float


@dataclass(frozen=True)
class Point:
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


def points(sources: Iterable[Source], experiment: str) -> dict[Cell, Point]:
    """The points of an experiment's runs and of plain sweeps, the newest of each cell.

    A cell comes from one run: seeds of different runs are not pooled.

    Args:
        sources: the oldest first.
        experiment: ``"depth_sweep"``, or ``"shots_sweep"``, to which of plain sweeps those with
            several numbers of shots belong.

    Raises:
        UserError: a run is damaged.
    """
    found: dict[Cell, Point] = {}
    for source in sources:
        if source.kind == experiment:
            source.require(shapes.POINTS)
            _check_counts(source, source.result["cells"])
            found |= _points(source, source.result["points"], source.result["cells"])
        elif source.kind == "sweep" and source.result.get("cells"):
            cells = _plain_cells(source)
            if experiment == "depth_sweep" or len({cell["shots"] for cell in cells}) > 1:
                found |= _points(source, pooled.points(cells), cells)
    return found


def _plain_cells(source: Source) -> list[dict[str, Any]]:
    """The cells of ``jaxsvd sweep``, as an experiment would have them."""
    source.require(shapes.SWEEP)
    _check_counts(source, source.result["cells"])
    task = source.result["task"]["name"]
    kept = ("module", "layer", "rate", "rank", "shots", "seed", "correct", "total")
    return [
        {name: cell[name] for name in kept}
        | {"task": task, "method": "svd", "accuracy": _share(cell)}
        for cell in source.result["cells"]
    ]


def _share(cell: Counted) -> float:
    return cell["correct"] / cell["total"]


def _check_counts(source: Source, cells: Iterable[Counted]) -> None:
    """Refuse cells of no examples."""
    for cell in cells:
        if not cell["total"]:
            raise source.damaged(f"{cell['module']} of layer {cell['layer']}: of 0 examples")


def _points(
    source: Source, entries: Sequence[Counted], cells: Sequence[Counted]
) -> dict[Cell, Point]:
    source.check_layers(entries)
    by_seed: dict[Cell, dict[int, float]] = {}
    for cell in cells:
        if cell.get("method", "svd") == "svd":
            by_seed.setdefault(_cell(source, cell), {})[cell["seed"]] = _share(cell)
    found = {}
    for entry in entries:
        if entry.get("method", "svd") != "svd":
            continue
        cell = _cell(source, entry)
        seeds = by_seed.get(cell, {})
        if sorted(seeds) != sorted(entry["seeds"]):
            raise source.damaged(f"the cells and the point of {_told(cell)} have other seeds")
        mean = math.fsum(seeds.values()) / len(seeds)
        if not math.isclose(mean, entry["mean"], abs_tol=1e-9):
            raise source.damaged(
                f"{_told(cell)}: the mean should be {mean:.6g}, is {entry['mean']:.6g}"
            )
        low, high = entry["interval"]
        chance = _chance(source, cell.task)
        found[cell] = Point(entry["mean"], (low, high), seeds, chance, source)
    return found


def _cell(source: Source, entry: Counted) -> Cell:
    names = ("task", "shots", "module", "layer", "rate")
    return Cell(source.model, *(entry[name] for name in names))


def _told(cell: Cell) -> str:
    return f"{cell.task}, {cell.shots} shots, {cell.module} of layer {cell.layer}, {cell.rate:g}"


def _chance(source: Source, task: str) -> float:
    if source.kind == "sweep":
        return source.result["task"]["chance"]
    try:
        return source.result["tasks"][task]["chance"]
    except KeyError:
        raise source.damaged(f"tasks has no {task!r}") from None
