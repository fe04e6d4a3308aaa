"""Figure 5: a transformer trained in context on linear functions, and the same truncated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from experiments.common import style
from paper_figures import marks, published, shapes
from paper_figures.curves import COLOURS, OFFSETS, SHAPES
from paper_figures.depth import depth, told
from paper_figures.marks import Axes, Drawn
from paper_figures.reading import Source
from paper_figures.schema import flaw

BASELINES = {"least squares": "--", "averaging": "-.", "zero": ":"}
NAMES = {"mlp": "MLP", "attn": "ATTN"}
HIGHEST = 1.6
"""Of the axis: averaging starts far above."""


@dataclass(frozen=True)
class Linear:
    """A run of ``linear_functions``.

    Attributes:
        curves: by training steps, ascending; each with examples, error, standard_error.
        baselines: by name, likewise.
        truncation: likewise, with layer, module and rate.
        size: of the model and its problem.
        source: the run.
    """

    curves: Sequence[Mapping[str, Any]]
    baselines: Mapping[str, Mapping[str, Any]]
    truncation: Sequence[Mapping[str, Any]]
    size: Mapping[str, Any]
    source: Source

    @property
    def name(self) -> str:
        """What was trained."""
        size = self.size
        return f"d = {size['d']}, {size['layers']} layers of width {size['width']}"


def runs(sources: Iterable[Source]) -> dict[str, Linear]:
    """The newest run of each size, by its name.

    Args:
        sources: the oldest first.

    Raises:
        UserError: a run is damaged.
    """
    found: dict[str, Linear] = {}
    for source in sources:
        if source.kind == "linear_functions":
            made = _linear(source)
            found[made.name] = made
    return found


def _linear(source: Source) -> Linear:
    result = source.require(shapes.LINEAR)
    checked = [(f"baselines.{n}", c, shapes.CURVE) for n, c in result["baselines"].items()]
    checked += [
        (f"truncation[{i}]", c, shapes.TRUNCATED) for i, c in enumerate(result["truncation"])
    ]
    checked += [(f"curves[{i}]", c, shapes.CURVE) for i, c in enumerate(result["curves"])]
    for where, curve, shape in checked:
        if found := flaw(curve, shape, where):
            raise source.damaged(found)
        if len({len(curve[name]) for name in ("examples", "error", "standard_error")}) > 1:
            raise source.damaged(f"{where}: examples, error and standard_error differ in length")
    curves = sorted(result["curves"], key=lambda curve: curve["steps"])
    return Linear(curves, result["baselines"], result["truncation"], result["size"], source)


def draw(found: Mapping[str, Linear]) -> Drawn:
    """A row for each run: errors over examples, and errors at the last point under truncation."""
    count = max(1, len(found))
    figure = style.figure(style.PAGE, 0.4 + 2.8 * count)
    drawn = Drawn(figure)
    grid = figure.subplots(count, 3, squeeze=False, width_ratios=[1.5, 1, 1])
    for row, (name, run) in zip(grid, found.items(), strict=False):
        _curves(row[0], run)
        row[0].set_title(marks.text(name, 44))
        for axes, module in zip(row[1:], published.MODULES, strict=True):
            _truncated(axes, run, module, drawn)
        drawn.panels.append((name, [run.source]))
        low = min(axes.get_ylim()[0] for axes in row[1:])
        high = max(axes.get_ylim()[1] for axes in row[1:])
        for axes in row[1:]:
            axes.set_ylim(low, high)
    if not found:
        drawn.missing.append("linear functions of any size")
        for axes in grid[0]:
            marks.not_run(axes)
        d = published.data()["linear_functions"]["d"]
        _published(grid[0][0], d)
        grid[0][0].set(xlim=(0, 2 * d), ylim=(-0.05, HIGHEST), xlabel="examples in the prompt")
    grid[0][0].set_ylabel("squared error / d")
    _legend(figure, found)
    drawn.caption = (
        "Left: normalised squared error (prediction - w.x)^2 / d over the examples in the prompt, "
        "after several training lengths, with 95 % intervals (1.96 standard errors) as bands, "
        "beside the zero estimator, least squares and averaging. Hollow: published values at "
        "d = 20 and 20 examples, drawn at as many multiples of d. Right: error at the last point "
        "under truncation of one layer's module, with 95 % intervals."
    )
    return drawn


def _curves(axes: Axes, run: Linear) -> None:
    name = run.name
    shades = [0.35 + 0.65 * (i + 1) / len(run.curves) for i in range(len(run.curves))]
    for curve, shade in zip(run.curves, shades, strict=True):
        x, y, error = (_values(curve, key) for key in ("examples", "error", "standard_error"))
        axes.plot(
            x,
            y,
            color=style.PALETTE[0],
            alpha=shade,
            lw=0.8 + 0.6 * (curve is run.curves[-1]),
            label=f"{curve['steps']:,} steps",
            gid=f"{name}|{curve['steps']}",
        )
        below, above = (
            [v + sign * 1.96 * e for v, e in zip(y, error, strict=True)] for sign in (-1, 1)
        )
        axes.fill_between(x, below, above, color=style.PALETTE[0], alpha=0.15, lw=0)
    for baseline, line in BASELINES.items():
        if baseline not in run.baselines:
            axes.plot([], [], line, color=marks.GREY, label=f"{baseline}: not run")
            continue
        curve = run.baselines[baseline]
        x, y = _values(curve, "examples"), _values(curve, "error")
        axes.plot(x, y, line, color="black", lw=0.9, label=baseline, gid=f"{name}|{baseline}")
    _published(axes, run.size["d"])
    last = max(_values(run.curves[-1], "examples"))
    axes.set(xlim=(0, last), ylim=(-0.05, HIGHEST), xlabel="examples in the prompt")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, handlelength=2.2, columnspacing=1.0
    )


def _values(curve: Mapping[str, Any], name: str) -> list[float]:
    return [float(value) for value in curve[name]]


def _published(axes: Axes, d: int) -> None:
    data = published.data()["linear_functions"]
    looks = {"trained": (SHAPE, style.PALETTE[0]), "least squares": ("s", "black")}
    for point in data["points"]:
        shape, colour = looks.get(point["name"], ("D", "black"))
        x = point["examples"] * d / data["d"]
        marks.hollow(axes, [x], [point["error"]], shape, colour, f"published|{point['name']}")


SHAPE = "o"


def _truncated(axes: Axes, run: Linear, module: str, drawn: Drawn) -> None:
    cells = [cell for cell in run.truncation if cell["module"] == module]
    axes.set_title(f"{NAMES[module]} truncated: last point")
    if not cells:
        marks.not_run(axes)
        drawn.missing.append(f"{run.name}: truncation of {module}")
        return
    rates = sorted({*published.RATES, *(float(cell["rate"]) for cell in cells)})
    for layer in sorted({cell["layer"] for cell in cells}):
        by_rate = {float(cell["rate"]): cell for cell in cells if cell["layer"] == layer}
        if 0.0 not in by_rate:
            by_rate[0.0] = run.curves[-1]  # the untouched model, on the same prompts
        x, y, bars = [], [], []
        place = depth(layer, run.size["layers"])
        for i, rate in enumerate(rates):
            if rate in by_rate:
                error, se = (_values(by_rate[rate], key)[-1] for key in ("error", "standard_error"))
                x.append(i + (OFFSETS[place] if place else 0.0))
                y.append(error)
                bars.append((error - 1.96 * se, error + 1.96 * se))
        look: dict[str, Any] = {"color": "#bbbbbb", "lw": 0.6}
        if place is not None:
            look = {"color": COLOURS[place], "marker": SHAPES[place], "ms": 2.8, "lw": 0.9}
        marks.error_bars(axes, x, y, bars, f"{run.name}|{module}|{layer}", **look)
    axes.axhline(1, color="black", lw=0.7, ls=":")
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates], rotation=90, fontsize=6.5)
    axes.set_xlabel("clipping rate")


def _legend(figure: Figure, found: Mapping[str, Linear]) -> None:
    depths = {run.size["layers"] for run in found.values()}
    handles = [
        marks.handle(told(place, depths), color=COLOURS[place], marker=SHAPES[place], ls="-")
        for place in COLOURS
    ]
    if any(layers > 4 for layers in depths):
        handles.append(marks.handle("other layers", color="#bbbbbb", ls="-"))
    handles.append(
        marks.handle("published, d = 20 (hollow)", marker=SHAPE, mfc="white", color="black")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
