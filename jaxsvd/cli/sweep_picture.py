"""The picture of a sweep: maps of the change, or curves where there are few layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxsvd.cli.pictures import below, heading, plain, reference_lines
from jaxsvd.results.points import Point
from jaxsvd.results.sweep import SweepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_LAYERS = 2
"""Up to as many curves are drawn: a map of one row shows nothing of its intervals."""

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

Means = Float[np.ndarray, "layers rates"]


def sweep_picture(result: SweepResult, path: Path) -> Path:
    """Accuracy by clipping rate: a map for each module and number of shots, or curves.

    Colours of the maps stand for the change against the untouched model, on one scale for all maps
    and as far up as down. Both are means over draws.

    Args:
        result: measured, or read from a run directory.
        path: where to write; the ending decides the format.
    """
    few = len({point.layer for point in result.points}) <= FEW_LAYERS
    figure = _curves(result) if few else _maps(result)
    figure.savefig(path)
    return path


def _sizes(points: Sequence[Point]) -> str:
    totals = {point.accuracy.total for point in points}
    ends = sorted({min(totals), max(totals)})
    return f"n = {' to '.join(f'{total:,}' for total in ends)} validation examples a draw"


def changes(points: Sequence[Point]) -> dict[Point, float]:
    """What each point adds to the accuracy of the untouched model of its own draw and layer.

    Points without such a partner are left out.
    """
    base = {p.variant: p.accuracy.value for p in points if p.rate == 0}
    return {
        point: point.accuracy.value - base[before]
        for point in points
        if (before := point.variant._replace(rate=0.0)) in base
    }


def _maps(result: SweepResult) -> "Figure":
    from matplotlib.colors import CenteredNorm, Normalize
    from matplotlib.figure import Figure

    points = result.points
    of_change = changes(points)
    # Without the untouched model there is no change to show, only accuracy.
    values = of_change or {point: point.accuracy.value for point in points}
    shown = [point for point in values if point.rate > 0 or not of_change]
    layers, rates = sorted({p.layer for p in shown}), sorted({p.rate for p in shown})
    modules, shots = (
        list(dict.fromkeys(getattr(p, name) for p in shown)) for name in ("module", "shots")
    )
    tables = {
        (shot, module): _means(
            {p: values[p] for p in shown if (p.shots, p.module) == (shot, module)}, layers, rates
        )
        for shot in shots
        for module in modules
    }
    largest = max(max(float(np.nanmax(np.abs(table))) for table in tables.values()), 1e-3)
    norm = CenteredNorm(0.0, largest) if of_change else Normalize()
    high = min(5.0, 1.1 + 0.2 * max(len(layers), 6))
    size = max(5.6, 1.6 + 2.5 * len(modules)), 0.7 + high * len(shots)
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    grid = figure.subplots(len(shots), len(modules), squeeze=False, sharex=True, sharey=True)
    image = None
    for axes, ((shot, module), table) in zip(grid.flat, tables.items(), strict=True):
        image = axes.imshow(table, norm=norm, cmap="PuOr", aspect="auto", origin="lower")
        axes.set_xticks(range(len(rates)), [f"{r:g}" for r in rates], rotation=60, fontsize=7)
        step = max(1, len(layers) // 16)
        ticks = list(range(0, len(layers), step))
        axes.set_yticks(ticks, [str(layers[i]) for i in ticks], fontsize=7)
        several = f", {shot} shots" if len(shots) > 1 else ""
        axes.set_title(f"{plain(module)}{several}", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("clipping rate of the rank", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("layer", fontsize=8)
    assert image is not None
    label = "change of validation accuracy" if of_change else "validation accuracy"
    figure.colorbar(image, ax=grid, label=label, shrink=0.8)
    untouched = [p.accuracy.value for p in points if p.rate == 0]
    base = f"untouched {np.mean(untouched):.3f}, " if untouched else ""
    what = f"{base}chance {result.task.chance:.3f}; {_sizes(points)}"
    figure.suptitle(heading(result, what), fontsize=9)
    return figure


def _means(values: dict[Point, float], layers: Sequence[int], rates: Sequence[float]) -> Means:
    """Over draws; NaN where nothing was scored."""
    table = np.full((len(layers), len(rates)), np.nan)
    for i, layer in enumerate(layers):
        for j, rate in enumerate(rates):
            own = [value for p, value in values.items() if (p.layer, p.rate) == (layer, rate)]
            if own:
                table[i, j] = np.mean(own)
    return table


def _curves(result: SweepResult) -> "Figure":
    from matplotlib.figure import Figure

    points = result.points
    rates = sorted({p.rate for p in points})
    figure = Figure(figsize=(6.4, 4.0), dpi=160, layout="constrained")
    axes = figure.subplots()
    series = list(dict.fromkeys((p.module, p.layer, p.shots) for p in points))
    shots = len({p.shots for p in points}) > 1
    for i, key in enumerate(series):
        own = [p for p in points if (p.module, p.layer, p.shots) == key]
        name = f"{key[0]} of layer {key[1]}" + (f", {key[2]} shots" if shots else "")
        shift = 0.16 * (i - (len(series) - 1) / 2)
        _curve(axes, own, rates, shift, i, name)
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_xlabel("clipping rate of the rank")
    axes.set_ylabel("validation accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    reference_lines(axes, [("chance", result.task.chance, "--")])
    below(axes, 3)
    draws = len({p.seed for p in points})
    bars = "95 % intervals" if draws == 1 else f"means of {draws} draws, from lowest to highest"
    figure.suptitle(heading(result, f"{_sizes(points)}; {bars}"), fontsize=9)
    return figure


def _curve(
    axes: "Axes",
    points: Sequence[Point],
    rates: Sequence[float],
    shift: float,
    place: int,
    name: str,
) -> None:
    """One module of one layer; bars are the interval of one draw, or the range of several."""
    x, y, low, high = [], [], [], []
    for i, rate in enumerate(rates):
        own = [p.accuracy for p in points if p.rate == rate]
        if not own:
            continue
        values = [accuracy.value for accuracy in own]
        ends = own[0].interval if len(own) == 1 else (min(values), max(values))
        mean = float(np.mean(values))
        x.append(i + shift)
        y.append(mean)
        low.append(max(0.0, mean - ends[0]))
        high.append(max(0.0, ends[1] - mean))
    axes.errorbar(
        x, y, yerr=[low, high], ms=4, lw=1.2, capsize=2.5, label=plain(name),
        color=PALETTE[place % len(PALETTE)], marker=MARKERS[place % len(MARKERS)],
    )  # fmt: skip
