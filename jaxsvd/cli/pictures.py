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


def sweep_picture(record: Mapping[str, Any], path: Path) -> Path:
    """Accuracy by layer and clipping rate as maps, one for each module, from result.json.

    Means over the seeds and shots of the sweep; the colour scale is shared, and white is the
    accuracy of the untouched model.

    Args:
        record: the object of result.json.
        path: where to write; the ending decides the format.
    """
    import numpy as np
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure

    cells = record["cells"]
    layers, rates = (sorted({cell[name] for cell in cells}) for name in ("layer", "rate"))
    modules = list(dict.fromkeys(cell["module"] for cell in cells))
    maps = np.full((len(modules), len(layers), len(rates)), np.nan)
    for m, layer, rate in np.ndindex(maps.shape):
        at = (modules[m], layers[layer], rates[rate])
        found = [c["accuracy"] for c in cells if (c["module"], c["layer"], c["rate"]) == at]
        maps[m, layer, rate] = np.mean(found) if found else np.nan
    base = float(np.nanmean(maps[:, :, 0])) if rates[0] == 0 else float(np.nanmean(maps))
    low, high = min(float(np.nanmin(maps)), base - 0.02), max(float(np.nanmax(maps)), base + 0.02)
    size = (1.2 + 2.7 * len(modules), min(9.0, 1.5 + 0.22 * max(len(layers), 6)))
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    norm = TwoSlopeNorm(base, low, high)
    for m, axes in enumerate(figure.subplots(1, len(modules), squeeze=False)[0]):
        image = axes.imshow(maps[m], norm=norm, cmap="PuOr", aspect="auto", origin="lower")
        axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates], rotation=60, fontsize=7)
        axes.set_yticks(range(len(layers)), [str(layer) for layer in layers], fontsize=6)
        axes.set_title(modules[m], fontsize=9)
        axes.set_xlabel("clipping rate of the rank", fontsize=8)
        if m == 0:
            axes.set_ylabel("layer", fontsize=8)
            figure.colorbar(image, ax=figure.axes, label="validation accuracy", shrink=0.8)
    task = record["task"]
    figure.suptitle(f"task {task['name']}, chance {task['chance']:.3f}", fontsize=9)
    figure.savefig(path)
    return path


def _bars(points: list[Mapping[str, Any]]) -> list[list[float]]:
    return [
        [point["accuracy"] - point["interval"][0] for point in points],
        [point["interval"][1] - point["accuracy"] for point in points],
    ]
