"""Pictures of a run, where matplotlib is installed (the ``figures`` extra)."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from jaxsvd.results.search import SearchResult
from jaxsvd.results.statistics import Accuracy
from jaxsvd.results.sweep import SweepResult

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"  # Okabe and Ito: safe for the colour-blind


def available() -> bool:
    """Whether pictures can be drawn here."""
    return find_spec("matplotlib") is not None


def search_picture(result: SearchResult, path: Path) -> Path:
    """Accuracy over clipping rate with 95 % intervals.

    Rates are spaced evenly: the candidates crowd near 1.

    Args:
        result: measured, or read from a run directory.
        path: where to write; the ending decides the format.
    """
    from matplotlib.figure import Figure

    points, task = result.validation, result.task
    best = [point.rate for point in points].index(result.best_rate)
    figure = Figure(figsize=(5.2, 3.4), dpi=160, layout="constrained")
    axes = figure.subplots()
    x = list(range(len(points)))
    y = [point.accuracy.value for point in points]
    axes.errorbar(
        x,
        y,
        yerr=_bars([point.accuracy for point in points]),
        color=BLUE,
        marker="o",
        ms=4,
        lw=1.2,
        capsize=2.5,
    )
    axes.plot([], [], color=BLUE, marker="o", ms=4, label="validation")
    tested = (
        (result.base, 0.0, "white", "test, untouched"),
        (result.pruned, float(best), ORANGE, "test, at the best rate"),
    )
    for accuracy, at, fill, label in tested:
        axes.errorbar(
            [at + 0.15],
            [accuracy.value],
            yerr=_bars([accuracy]),
            color=ORANGE,
            marker="s",
            ms=5,
            mfc=fill,
            capsize=2.5,
            ls="",
            label=label,
        )
    axes.axhline(task.chance, color=GREY, lw=0.8, ls="--", label="chance")
    axes.set_xticks(x, [f"{point.rate:g}" for point in points])
    axes.set_xlabel("clipping rate of the rank")
    axes.set_ylabel("accuracy, 95 % interval")
    axes.set_title(
        f"task {task.name}, {task.shots} shots: {result.module} of layer {result.layer} "
        f"of model {result.model.name}",
        fontsize=9,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, loc="best")
    figure.savefig(path)
    return path


def sweep_picture(result: SweepResult, path: Path) -> Path:
    """Accuracy by layer and clipping rate as maps, one for each module.

    Means over the seeds and shots of the sweep; the colour scale is shared, and white is the
    accuracy of the untouched model.

    Args:
        result: measured, or read from a run directory.
        path: where to write; the ending decides the format.
    """
    import numpy as np
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure

    points = result.points
    layers, rates = sorted({p.layer for p in points}), sorted({p.rate for p in points})
    modules = list(dict.fromkeys(p.module for p in points))
    maps = np.full((len(modules), len(layers), len(rates)), np.nan)
    for m, layer, rate in np.ndindex(maps.shape):
        at = (modules[m], layers[layer], rates[rate])
        found = [p.accuracy.value for p in points if (p.module, p.layer, p.rate) == at]
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
    figure.suptitle(f"task {result.task.name}, chance {result.task.chance:.3f}", fontsize=9)
    figure.savefig(path)
    return path


def _bars(accuracies: Sequence[Accuracy]) -> list[list[float]]:
    return [
        [accuracy.value - accuracy.interval[0] for accuracy in accuracies],
        [accuracy.interval[1] - accuracy.value for accuracy in accuracies],
    ]


def explanation_picture(result: SearchResult, path: Path) -> Path:
    """Untouched, truncated and every control, as the model answers and with a fitted prior.

    Lines that fall together on the right were apart by the label prior alone.

    Args:
        result: a search with its explanation.
        path: where to write; the ending decides the format.
    """
    from matplotlib.figure import Figure

    explanation = result.explanation
    assert explanation is not None
    raw, fitted = explanation.raw, explanation.fitted_prior
    rows = [
        ("untouched", raw.untouched, fitted.untouched, GREY, "o", 2.0),
        ("truncated", raw.truncated, fitted.truncated, ORANGE, "s", 2.0),
    ]
    markers = ("^", "v", "D", "P", "X")
    rows += [
        (f"control: {c.kind}", c.accuracy, c.calibrated, BLUE, markers[i % len(markers)], 0.8)
        for i, c in enumerate(explanation.controls)
        if c.calibrated is not None
    ]
    figure = Figure(figsize=(6.4, 3.8), dpi=160, layout="constrained")
    axes = figure.subplots()
    for name, before, after, colour, marker, width in rows:
        axes.plot(
            [0, 1], [before, after], color=colour, marker=marker, ms=5, lw=width, label=name,
            alpha=1.0 if width > 1 else 0.7,
        )  # fmt: skip
    counts, lowest = result.label_counts, min(min(row[1:3]) for row in rows)
    if counts is not None and counts.majority > lowest - 0.1:
        axes.axhline(counts.majority, color=GREY, lw=0.8, ls=":", label="commonest label")
    axes.set_xticks([0, 1], ["as the model answers", "with a fitted label prior"])
    axes.set_xlim(-0.15, 1.15)
    axes.set_ylabel(f"test accuracy, n = {result.base.total:,}")
    title = f"{result.module} of layer {result.layer} at rate {result.best_rate:g}, "
    title += f"{result.task.name}: {explanation.verdict}"
    axes.set_title(title.replace("$", r"\$"), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)
    return path
