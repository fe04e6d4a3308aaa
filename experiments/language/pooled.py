"""Cells pooled over demonstration seeds, and what of them is beyond noise."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxsvd.results.points import holm
from jaxsvd.results.statistics import wilson

Record = dict[str, Any]
Cell = Mapping[str, Any]

KEYS = ("task", "method", "module", "layer", "rate", "shots")
"""What tells points apart; cells of one point differ in their seed."""


def by_point(cells: Iterable[Cell]) -> dict[tuple[Any, ...], list[Cell]]:
    """Cells by the values of :data:`KEYS`, in the order of their first."""
    points: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        points.setdefault(tuple(cell[key] for key in KEYS), []).append(cell)
    return points


def spread_of(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None of a single value."""
    return statistics.stdev(values) if len(values) > 1 else None


def binomial_interval(correct: Sequence[int], totals: Sequence[int]) -> tuple[float, float]:
    """95 % Wilson interval of one draw of the usual size at the mean accuracy.

    What the spread over seeds would be held against: the noise of a draw's examples alone.

    Args:
        correct: right answers, by draw.
        totals: out of how many.
    """
    total = round(sum(totals) / len(totals))
    mean = statistics.fmean(c / n for c, n in zip(correct, totals, strict=True))
    return wilson(mean * total, total)


def points(cells: Sequence[Cell]) -> list[Record]:
    """Means over the seeds, with their spread and the binomial interval of one seed.

    ``difference`` is that of the means to rate 0 of the same seeds; ``gains`` and ``losses``
    count the seeds whose own change is beyond noise (:func:`judged`).
    """
    return [
        dict(zip(KEYS, key, strict=True)) | _point(pooled)
        for key, pooled in by_point(cells).items()
    ]


def _point(cells: Sequence[Cell]) -> Record:
    values = [cell["accuracy"] for cell in cells]
    correct, totals = ([cell[name] for cell in cells] for name in ("correct", "total"))
    point: Record = {
        "rank": cells[0]["rank"],
        "seeds": [cell["seed"] for cell in cells],
        "mean": statistics.fmean(values),
        "spread": spread_of(values),
        "lowest": min(values),
        "highest": max(values),
        "correct": sum(correct),
        "total": sum(totals),
        "interval": list(binomial_interval(correct, totals)),
    }
    point |= {name: cells[0][name] for name in ("removed", "kept") if name in cells[0]}
    if all("difference" in cell for cell in cells):
        differences = [cell["difference"] for cell in cells]
        significant = [cell["difference"] for cell in cells if cell["beyond_noise"]]
        point |= {
            "difference": statistics.fmean(differences),
            "difference_spread": spread_of(differences),
            "gains": sum(d > 0 for d in significant),
            "losses": sum(d < 0 for d in significant),
        }
    return point


def judged(cells: Sequence[Cell]) -> list[Record]:
    """Cells with ``beyond_noise``: Holm's correction at 5 % over all of the experiment."""
    family = [i for i, cell in enumerate(cells) if "p_value" in cell]
    verdicts = holm([cells[i]["p_value"] for i in family])
    judged_cells = [dict(cell) for cell in cells]
    for i, verdict in zip(family, verdicts, strict=True):
        judged_cells[i]["beyond_noise"] = verdict
    return judged_cells


def counted(cells: Iterable[Cell]) -> str:
    """How many changes are beyond noise, in a sentence."""
    tried = [cell for cell in cells if "p_value" in cell]
    if not tried:
        return "Nothing was compared with the untouched model."
    beyond = [cell["difference"] for cell in tried if cell["beyond_noise"]]
    up = sum(d > 0 for d in beyond)
    return (
        f"Of {len(tried)} comparisons with the untouched model (each on one draw), {up} are "
        f"better and {len(beyond) - up} worse beyond noise (exact McNemar, Holm's correction at "
        "5 % over all of them)."
    )


def best(points: Sequence[Record]) -> Record | None:
    """The point with the largest mean difference, the smallest rate of equals."""
    tried = [point for point in points if "difference" in point]
    return max(tried, key=lambda p: (p["difference"], -p["rate"])) if tried else None


def best_significant(points: Sequence[Record]) -> str | None:
    """The best of all points in a sentence, with its caveat."""
    point = best(points)
    if point is None:
        return None
    if point["difference"] <= 0:
        return "No change raises the mean accuracy over the draws."
    n, spread = len(point["seeds"]), point["difference_spread"]
    # Holm's verdict is each draw's own; that a mean stands out also needs the draws to agree.
    over = "" if spread is None else f" +- {spread:.4f} (standard deviation over {n} draws)"
    return (
        f"The best on average is {where(point)}: {point['difference']:+.4f}{over}, a gain beyond "
        f"noise in {point['gains']} of {n} draws. It was picked on these very examples and so "
        "flatters."
    )


def where(point: Mapping[str, Any]) -> str:
    """Which point, in words."""
    method = "" if point["method"] == "svd" else f"{point['method']}, "
    return (
        f"{point['task']}, {point['shots']} shots, {method}{point['module']} of layer "
        f"{point['layer']} at rate {point['rate']:g}"
    )


def noise_compared(points: Sequence[Record]) -> str | None:
    """The spread over draws beside what the examples' own noise would make of it."""
    pairs = [
        (p["spread"], math.sqrt(p["mean"] * (1 - p["mean"]) * len(p["seeds"]) / p["total"]))
        for p in points
        if p["spread"] is not None and p["total"]
    ]
    if not pairs:
        return None
    # Root mean squares: with two or three seeds a single standard deviation says little.
    spread, noise = (
        math.sqrt(statistics.fmean(v * v for v in side)) for side in zip(*pairs, strict=True)
    )
    return (
        f"Accuracy varies over draws by {spread:.4f} (root mean square of the standard "
        f"deviations); the examples' own noise would make that {noise:.4f}."
    )
