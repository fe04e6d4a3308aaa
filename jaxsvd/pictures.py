"""Pictures of a run, where matplotlib is installed (the ``figures`` extra)."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"  # Okabe and Ito: safe for the colour-blind


def available() -> bool:
    """Whether pictures can be drawn here."""
    return find_spec("matplotlib") is not None


def search_picture(record: Mapping[str, Any], path: Path) -> Path:
    """Accuracy over clipping rate with 95 % intervals, from a search's result.json.

    Rates are spaced evenly: the candidates crowd near 1.

    Args:
        record: the object of result.json.
        path: where to write; the ending decides the format.
    """
    from matplotlib.figure import Figure

    points, test, task = record["validation"], record["test"], record["task"]
    best = [point["rate"] for point in points].index(record["best_rate"])
    figure = Figure(figsize=(5.2, 3.4), dpi=160, layout="constrained")
    axes = figure.subplots()
    x = list(range(len(points)))
    y = [point["accuracy"] for point in points]
    axes.errorbar(x, y, yerr=_bars(points), color=BLUE, marker="o", ms=4, lw=1.2, capsize=2.5)
    axes.plot([], [], color=BLUE, marker="o", ms=4, label="validation")
    for name, at, fill in (("base", 0.0, "white"), ("pruned", float(best), ORANGE)):
        axes.errorbar(
            [at + 0.15],
            [test[name]["accuracy"]],
            yerr=_bars([test[name]]),
            color=ORANGE,
            marker="s",
            ms=5,
            mfc=fill,
            capsize=2.5,
            ls="",
            label="test, untouched" if name == "base" else "test, at the best rate",
        )
    axes.axhline(task["chance"], color=GREY, lw=0.8, ls="--", label="chance")
    axes.set_xticks(x, [f"{point['rate']:g}" for point in points])
    axes.set_xlabel("clipping rate of the rank")
    axes.set_ylabel("accuracy, 95 % interval")
    axes.set_title(
        f"task {task['name']}, {task['shots']} shots: {record['module']} of layer "
        f"{record['layer']} of model {record['model']['source'].rstrip('/').split('/')[-1]}",
        fontsize=9,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, loc="best")
    figure.savefig(path)
    return path


def _bars(points: list[Mapping[str, Any]]) -> list[list[float]]:
    return [
        [point["accuracy"] - point["interval"][0] for point in points],
        [point["interval"][1] - point["accuracy"] for point in points],
    ]
