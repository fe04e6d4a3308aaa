"""Pictures of experiments.bounds_vs_accuracy, from its result.json."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.common import style
from experiments.common.records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {None: "pooled", "rate": "within a rate", "layer": "within a layer"}


def draw_agreement(result: Record) -> "Figure":
    """Spearman's correlations with 95 % intervals, a row each predictor."""
    name, study = next(iter(result["studies"].items()))
    names = study["predictors"]
    figure = style.figure(style.PAGE, 0.9 + 0.17 * len(names))
    grid = figure.subplots(1, 3, sharey=True, sharex=True)
    for axes, (within, title) in zip(grid, TITLES.items(), strict=True):
        for number, outcome in enumerate(("test error", "gap")):
            rows = {
                row["predictor"]: row
                for row in study["agreement"]
                if row["outcome"] == outcome and row["within"] == within
            }
            for place, predictor in enumerate(names):
                _interval(axes, rows[predictor], place + 0.3 * (number - 0.5), number)
        axes.axvline(0, color="#777777", lw=0.8)
        axes.set_title(title)
        axes.set_xlim(-1, 1)
    grid[0].set_yticks(range(len(names)), [_baseline(name, study) for name in names])
    grid[0].invert_yaxis()
    for number, outcome in enumerate(("test error", "gap")):
        grid[0].plot(
            [],
            [],
            style.MARKERS[number],
            color=style.PALETTE[number],
            label=f"change of the {outcome}",
        )
    figure.legend(loc="outside upper center", ncols=2)
    figure.supxlabel(f"{name}: Spearman's correlation with the measured change", fontsize=8)
    return figure


def _baseline(name: str, study: Mapping[str, Any]) -> str:
    mine = (row["baseline"] for row in study["agreement"] if row["predictor"] == name)
    return f"{name} *" if next(mine) else name


def _interval(axes: "Axes", row: Mapping[str, Any], place: float, number: int) -> None:
    if math.isnan(row["value"]):
        return
    low, high = row["interval"]
    axes.plot([low, high], [place, place], color=style.PALETTE[number], lw=0.8)
    axes.plot(
        row["value"],
        place,
        style.MARKERS[number],
        color=style.PALETTE[number],
        mfc=None if row["informative"] else "white",
    )


def draw_bounds(result: Record) -> "Figure":
    """The measured gap against the bounds of the theory and those from predictions."""
    name = next(iter(result["studies"]))
    cells = [cell for cell in result["cells"] if cell["task"] == name]
    figure = style.figure(style.PAGE, 3.1)
    left, middle, right = figure.subplots(1, 3)
    gaps = np.array([cell["gap"][0] for cell in cells])
    shown = [n for n in cells[0]["predictors"] if n.endswith(("relative ridge", "fixed noise"))]
    for number, bound in enumerate(shown):
        _dots(left, gaps, np.array([cell["predictors"][bound] for cell in cells]), number, bound)
    left.set_yscale("log")
    left.axhline(1, color="#777777", lw=0.8, ls="--")
    style.log_ticks(left.yaxis)
    left.set(xlabel="measured gap", ylabel="bound (1 is trivial)")
    for number, bound in enumerate(("e-CMI, pooled", "ld-MI", "single loss", "binary KL")):
        values = [cell["supersample"]["bounds"][bound]["bound"] for cell in cells]
        _dots(middle, gaps, np.array(values), number, bound)
    ends = [min(0, gaps.min()), max(gaps.max(), 0.05)]
    middle.plot(ends, ends, color="#777777", lw=0.8)
    middle.set(xlabel="measured gap", ylabel="bound from predictions")
    modules = list(dict.fromkeys(cell["module"] for cell in cells))
    rates = sorted({cell["rate"] for cell in cells})
    for number, module in enumerate(modules):
        mine = [cell for cell in cells if cell["module"] == module]
        shift = 0.7 * ((number + 0.5) / len(modules) - 0.5)
        x = np.array([rates.index(cell["rate"]) + shift for cell in mine])
        _dots(right, x, np.array([c["changes"]["test error"][0] for c in mine]), number, module)
    right.axhline(0, color="#777777", lw=0.8)
    right.set_xticks(range(len(rates)), [f"{rate:.3g}" for rate in rates], rotation=90)
    right.set(xlabel="clipping rate", ylabel="change of the test error")
    for axes, columns in ((left, 1), (middle, 1), (right, 2)):
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), fontsize=6, ncols=columns, markerscale=2
        )
    return figure


def _dots(axes: "Axes", x: np.ndarray, y: np.ndarray, number: int, label: str) -> None:
    colour, marker = style.PALETTE[number % 7], style.MARKERS[number % 7]
    axes.plot(x, y, marker, color=colour, ms=2, alpha=0.5, mew=0, label=label)
