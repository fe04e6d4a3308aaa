"""Curves and maps of accuracy that the experiments on language models share."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.common import style
from jaxsvd.cli.pictures import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = dict[str, Any]

CHANCE: dict[str, Any] = {"color": "#777777", "lw": 0.8, "ls": "--"}
MOST_PANELS = 6
"""Layers side by side; more are drawn as a map."""


def bars(value: float, interval: Sequence[float]) -> list[list[float]]:
    """Error bars of one point."""
    return [[value - interval[0]], [interval[1] - value]]


def short(task: str) -> str:
    """A task's name as a label."""
    return plain(task if len(task) <= 10 else f"{task[:9]}...")


def rotated(axes: "Axes", labels: Sequence[str]) -> None:
    """Turn the labels of the x axis where they would overlap."""
    if len(labels) > 10:
        axes.tick_params(axis="x", labelrotation=90, labelsize=6)


def curve(
    axes: "Axes",
    points: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    number: int,
    label: str,
    rates: Sequence[float],
) -> None:
    """Mean accuracy over the rates, evenly spaced; bars are one draw's interval, dashes draws."""
    colour, marker = style.PALETTE[number % 7], style.MARKERS[number % 7]
    shift = 0.12 * number - 0.06
    x = [rates.index(point["rate"]) + shift for point in points]
    low, high = zip(*(bars(point["mean"], point["interval"]) for point in points), strict=True)
    axes.errorbar(
        x,
        [point["mean"] for point in points],
        np.concatenate([np.array(low).T, np.array(high).T]),
        color=colour,
        marker=marker,
        capsize=1.5,
        elinewidth=0.7,
        label=label,
    )
    at = [rates.index(cell["rate"]) + shift for cell in cells]
    axes.plot(at, [cell["accuracy"] for cell in cells], "_", color=colour, ms=5, mew=0.6)


def legend(figure: "Figure", handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Above the panels, in as many columns as the width has room for."""
    room = 2 if figure.get_figwidth() < style.PAGE else 4
    figure.legend(handles, labels, loc="outside upper center", ncols=min(room, len(labels)))


def rate_axis(axes: "Axes", rates: Sequence[float]) -> None:
    """Rates evenly spaced: the candidates crowd near 1."""
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates], rotation=90)


def panels(result: Mapping[str, Any], column: str, row: str = "task") -> "Figure":
    """Curves over the rate: a panel each value of ``column``, a row each of ``row``.

    Args:
        result: with ``cells``, ``points`` and ``tasks``.
        column: a key of points.
        row: likewise.
    """
    points, cells = result["points"], result["cells"]
    rows, columns = (list(dict.fromkeys(p[key] for p in points)) for key in (row, column))
    columns.sort()
    rates = sorted({point["rate"] for point in points})
    modules = list(dict.fromkeys(point["module"] for point in points))
    width = style.COLUMN if len(columns) == 1 else style.PAGE
    figure = style.figure(width, 0.8 + (1.6 if len(rows) < 6 else 1.1) * len(rows))
    sharey: Any = True if row == "layer" else "row"  # tasks have ranges of their own
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=sharey)
    for i, j in np.ndindex(grid.shape):
        axes: Any = grid[i, j]
        at = {row: rows[i], column: columns[j]}
        for m, module in enumerate(modules):
            mine = _where(points, **at, module=module)
            if mine:
                curve(axes, mine, _where(cells, **at, module=module), m, module, rates)
        for task in {p["task"] for p in _where(points, **at)}:
            axes.axhline(result["tasks"][task]["chance"], **CHANCE)
        if not _where(points, **at):
            axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", color="#777777")
        rate_axis(axes, rates)
        if i == 0:
            axes.set_title(_titled(column, columns[j]))
        if j == 0:
            name = _titled(row, rows[i]) if row == "layer" else short(rows[i])
            axes.set_ylabel(f"{name}\naccuracy")
    figure.supxlabel("clipping rate of the rank", fontsize=8)
    _legend(figure, grid[0, 0])
    return figure


def _titled(column: str, value: Any) -> str:
    return f"{value} shots" if column == "shots" else f"{column} {value}"


def _legend(figure: "Figure", axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    extra = [
        *axes.plot([], [], "_", color="black", ms=5, mew=0.6),
        *axes.plot([], [], **CHANCE),
    ]
    legend(figure, [*handles, *extra], [*labels, "single draws", "chance"])


def _where(choices: Sequence[Mapping[str, Any]], **at: Any) -> list[Mapping[str, Any]]:
    return [one for one in choices if all(one[key] == value for key, value in at.items())]


def maps(result: Mapping[str, Any]) -> "Figure":
    """Mean change of accuracy by layer and rate: a map each task and module, one colour scale."""
    points = [point for point in result["points"] if "difference" in point]
    tasks, modules, layers = (
        list(dict.fromkeys(p[key] for p in points)) for key in ("task", "module", "layer")
    )
    rates = sorted({point["rate"] for point in points})
    most = max(0.02, *(abs(point["difference"]) for point in points))
    height = len(tasks) * (0.6 + 0.13 * max(len(layers), 8)) + 0.5
    figure = style.figure(style.PAGE, min(height, 9))
    grid = figure.subplots(len(tasks), len(modules), squeeze=False, sharex=True, sharey=True)
    image: Any = None
    for i, j in np.ndindex(grid.shape):
        values = np.full((len(layers), len(rates)), np.nan)
        for point in _where(points, task=tasks[i], module=modules[j]):
            values[layers.index(point["layer"]), rates.index(point["rate"])] = point["difference"]
        axes: Any = grid[i, j]
        image = axes.imshow(
            values, vmin=-most, vmax=most, cmap="PuOr", aspect="auto", origin="lower"
        )
        step = -(-len(layers) // 16)
        axes.set_yticks(range(0, len(layers), step), [str(v) for v in layers[::step]])
        rate_axis(axes, rates)
        axes.set_title(f"{plain(tasks[i])}, {modules[j]}")
        if j == 0:
            axes.set_ylabel("layer")
    figure.supxlabel("clipping rate of the rank", fontsize=8)
    figure.colorbar(image, ax=grid, label="mean change of accuracy", shrink=0.8)
    return figure
