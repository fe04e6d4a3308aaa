"""Pictures of ``linear_functions``, from its result.json."""

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.common import style
from experiments.common.records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASELINE_LINES = {
    "least squares": ("#000000", "--"),
    "averaging": ("#777777", "-."),
    "zero": ("#777777", ":"),
}


def curves(result: Record) -> "Figure":
    """Fig. 5: error over examples after several training lengths, against the baselines."""
    figure = style.figure(style.COLUMN, 3.1)
    axes = figure.subplots()
    for curve, colour, marker in zip(result["curves"], style.PALETTE, style.MARKERS, strict=False):
        _plot(axes, curve, label=f"{curve['steps']:,} steps", color=colour, marker=marker)
    for name, curve in result["baselines"].items():
        colour, line = BASELINE_LINES[name]
        _plot(axes, curve, label=name, color=colour, ls=line)
    d = result["size"]["d"]
    axes.axvline(d, color="#bbbbbb", lw=0.6, zorder=0)
    axes.set(
        xlabel="examples in the prompt",
        ylabel="normalised squared error",
        ylim=(-0.02, 1.6),
        title=f"linear functions, d = {d} (error bars: 2 standard errors)",
    )
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _plot(axes: "Axes", curve: Record, **look: object) -> None:
    bars = 2 * np.asarray(curve["standard_error"])
    axes.errorbar(curve["examples"], curve["error"], bars, capsize=1.5, elinewidth=0.7, **look)  # pyright: ignore


def learning(result: Record) -> "Figure":
    """Training loss over steps."""
    figure = style.figure()
    axes = figure.subplots()
    record = result["training"]["curve"]
    axes.plot(record["steps"], record["loss"])
    for steps in (curve["steps"] for curve in result["curves"]):
        axes.axvline(steps, color="#bbbbbb", lw=0.6, zorder=0)
    axes.set(xlabel="step (lines: weights kept)", ylabel="training error, mean over points")
    axes.set_ylim(bottom=0)
    return figure


def truncation(result: Record) -> "Figure":
    """The last point's error over the untouched model's: layers by rates, a map a module."""
    cells = result["truncation"]
    modules = list(dict.fromkeys(cell["module"] for cell in cells))
    layers, rates = (sorted({cell[name] for cell in cells}) for name in ("layer", "rate"))
    by_place = {(cell["module"], cell["layer"], cell["rate"]): cell for cell in cells}
    ratios = {place: _ratio(cell) for place, cell in by_place.items()}
    reach = max(0.1, *(abs(np.log10(ratio)) for ratio in ratios.values()))
    figure = style.figure(style.PAGE, 1.1 + 0.24 * max(len(layers), 5))
    panels = figure.subplots(1, len(modules), squeeze=False)[0]
    for axes, module in zip(panels, modules, strict=True):
        values = np.log10([[ratios[module, layer, rate] for rate in rates] for layer in layers])
        axes.imshow(values, vmin=-reach, vmax=reach, cmap="PuOr_r", aspect="auto", origin="lower")
        for row, column in np.ndindex(values.shape):
            cell = by_place[module, layers[row], rates[column]]
            _write(axes, column, row, cell, bool(abs(values[row, column]) > 0.6 * reach))
        axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        axes.set_yticks(range(len(layers)), [str(layer) for layer in layers])
        axes.set(title=module, xlabel="clipping rate")
        axes.spines[:].set_visible(False)
    panels[0].set_ylabel("layer")
    last, base = result["size"]["points"] - 1, cells[0]["last"]["base"]
    figure.colorbar(panels[0].images[0], ax=list(panels), label="its logarithm (base 10)")
    figure.suptitle(
        f"error at {last} examples over that of the untouched model, {base:.4f} (bold: differs "
        "beyond noise, corrected for all cells)",
        fontsize=8,
    )
    return figure


def _ratio(cell: Record) -> float:
    return cell["last"]["truncated"] / cell["last"]["base"]


def _write(axes: "Axes", x: int, y: int, cell: Record, dark: bool) -> None:
    known, ratio = cell["rate"] > 0 and cell["last"]["adjusted"] < 0.05, _ratio(cell)
    axes.text(
        x,
        y,
        f"{ratio:.3f}" if ratio < 2 else f"{ratio:.3g}",
        ha="center",
        va="center",
        fontsize=6,
        fontweight="bold" if known else "normal",
        color="white" if dark else "black",
    )


def truncated_curves(result: Record) -> "Figure":
    """Error over examples at every rate: the first and last layers, a row for each module."""
    from matplotlib import colormaps

    cells, count = result["truncation"], result["size"]["layers"]
    modules = list(dict.fromkeys(cell["module"] for cell in cells))
    layers = sorted({layer for layer in (0, 1, count - 2, count - 1) if 0 <= layer < count})
    rates = sorted({cell["rate"] for cell in cells})
    figure = style.figure(style.PAGE, 0.6 + 1.6 * len(modules))
    panels = figure.subplots(len(modules), len(layers), squeeze=False, sharex=True, sharey=True)
    shades = colormaps["viridis"](np.linspace(0, 0.9, len(rates)))
    for row, column in np.ndindex(panels.shape):
        axes: Any = panels[row, column]
        place = modules[row], layers[column]
        for cell in cells:
            if (cell["module"], cell["layer"]) == place:
                colour = shades[rates.index(cell["rate"])]
                axes.plot(cell["examples"], cell["error"], color=colour, label=f"{cell['rate']:g}")
        axes.set_title(f"{place[0]}, layer {place[1]}")
    for axes in panels[-1]:
        axes.set_xlabel("examples")
    for axes in panels[:, 0]:
        axes.set_ylabel("normalised error")
    panels[0, 0].set_ylim(-0.02, 1.6)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", title="rate")
    return figure


PICTURES = {
    "curves.png": curves,
    "learning.png": learning,
    "truncation.png": truncation,
    "truncated_curves.png": truncated_curves,
}
