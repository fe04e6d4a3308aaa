"""Figure 5: a transformer trained in context on linear functions, and the same truncated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from experiments.common import style
from jaxsvd.results.fields import COUNT, NUMBER, RATE, TEXT, WHOLE, Fields
from paper_figures import marks, published
from paper_figures.curves import COLOURS, OFFSETS, SHAPES
from paper_figures.depth import depth, legend_name
from paper_figures.marks import Axes, Drawn
from paper_figures.reading import Source

BASELINES = {"least squares": "--", "averaging": "-.", "zero": ":"}
NAMES = {"mlp": "MLP", "attn": "ATTN"}
HIGHEST = 1.6
"""Of the axis: averaging starts far above."""


@dataclass(frozen=True)
class Curve:
    """Squared error by the number of examples in the prompt.

    Attributes:
        examples: in the prompt, ascending.
        error: normalised squared error after so many.
        standard_error: of it.
        steps: of training; None of what is not trained.
    """

    examples: tuple[int, ...]
    error: tuple[float, ...]
    standard_error: tuple[float, ...]
    steps: int | None = None

    @classmethod
    def from_json(cls, fields: Fields) -> "Curve":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be, or the lists differ in length.
        """
        curve = cls(
            examples=fields.several("examples", COUNT),
            error=tuple(map(float, fields.several("error", NUMBER))),
            standard_error=tuple(map(float, fields.several("standard_error", NUMBER))),
            steps=fields.maybe("steps", COUNT),
        )
        if len({len(curve.examples), len(curve.error), len(curve.standard_error)}) > 1:
            raise fields.damaged("examples, error and standard_error differ in length")
        return curve


@dataclass(frozen=True)
class TruncatedModule:
    """The trained model with a module of a layer truncated."""

    layer: int
    module: str
    rate: float
    curve: Curve

    @classmethod
    def from_json(cls, fields: Fields) -> "TruncatedModule":
        """As written."""
        return cls(
            layer=fields.read("layer", WHOLE),
            module=fields.read("module", TEXT),
            rate=fields.read("rate", RATE),
            curve=Curve.from_json(fields),
        )


@dataclass(frozen=True)
class RegressionRun:
    """A run of ``linear_functions``.

    Attributes:
        curves: by training steps, ascending.
        baselines: by name.
        truncation: of the model trained longest.
        d: inputs of the functions.
        layers, width: of the model.
        source: the run.
    """

    curves: Sequence[Curve]
    baselines: Mapping[str, Curve]
    truncation: Sequence[TruncatedModule]
    d: int
    layers: int
    width: int
    source: Source

    @property
    def name(self) -> str:
        """What was trained."""
        return f"d = {self.d}, {self.layers} layers of width {self.width}"


def runs(sources: Iterable[Source]) -> dict[str, RegressionRun]:
    """The newest run of each size, by its name.

    Args:
        sources: the oldest first.

    Raises:
        UserError: a run is damaged.
    """
    by_model: dict[str, RegressionRun] = {}
    for source in sources:
        if source.kind == "linear_functions":
            run = _linear(source)
            by_model[run.name] = run
    return by_model


def _linear(source: Source) -> RegressionRun:
    def read(fields: Fields) -> RegressionRun:
        curves = fields.objects("curves")
        baselines, size = fields.nested("baselines"), fields.nested("size")
        truncation = fields.objects("truncation", empty=True)
        for curve in curves:
            curve.read("steps", COUNT)
        return RegressionRun(
            curves=sorted(map(Curve.from_json, curves), key=lambda curve: curve.steps or 0),
            baselines={n: Curve.from_json(baselines.nested(n)) for n in baselines.values},
            truncation=tuple(map(TruncatedModule.from_json, truncation)),
            d=size.read("d", COUNT),
            layers=size.read("layers", COUNT),
            width=size.read("width", COUNT),
            source=source,
        )

    return source.read(read)


def draw(by_model: Mapping[str, RegressionRun]) -> Drawn:
    """A row for each run: errors over examples, and errors at the last point under truncation."""
    count = max(1, len(by_model))
    figure = style.figure(style.PAGE, 0.4 + 2.8 * count)
    drawn = Drawn(figure)
    grid = figure.subplots(count, 3, squeeze=False, width_ratios=[1.5, 1, 1])
    for row, (name, run) in zip(grid, by_model.items(), strict=False):
        _curves(row[0], run)
        row[0].set_title(marks.text(name, 44))
        for axes, module in zip(row[1:], published.MODULES, strict=True):
            _truncated(axes, run, module, drawn)
        drawn.panels.append((name, [run.source]))
        low = min(axes.get_ylim()[0] for axes in row[1:])
        high = max(axes.get_ylim()[1] for axes in row[1:])
        for axes in row[1:]:
            axes.set_ylim(low, high)
    if not by_model:
        drawn.missing.append("linear functions of any size")
        for axes in grid[0]:
            marks.not_run(axes)
        d = published.data()["linear_functions"]["d"]
        _published(grid[0][0], d)
        grid[0][0].set(xlim=(0, 2 * d), ylim=(-0.05, HIGHEST), xlabel="examples in the prompt")
    grid[0][0].set_ylabel("squared error / d")
    _legend(figure, by_model)
    drawn.caption = (
        "Left: normalised squared error (prediction - w.x)^2 / d over the examples in the prompt, "
        "after several training lengths, with 95 % intervals (1.96 standard errors) as bands, "
        "beside the zero estimator, least squares and averaging. Hollow: published values at "
        "d = 20 and 20 examples, drawn at as many multiples of d. Right: error at the last point "
        "under truncation of one layer's module, with 95 % intervals."
    )
    return drawn


def _curves(axes: Axes, run: RegressionRun) -> None:
    name = run.name
    shades = [0.35 + 0.65 * (i + 1) / len(run.curves) for i in range(len(run.curves))]
    for curve, shade in zip(run.curves, shades, strict=True):
        x, y, error = curve.examples, curve.error, curve.standard_error
        axes.plot(
            x,
            y,
            color=style.PALETTE[0],
            alpha=shade,
            lw=0.8 + 0.6 * (curve is run.curves[-1]),
            label=f"{curve.steps:,} steps",
            gid=f"{name}|{curve.steps}",
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
        axes.plot(
            curve.examples,
            curve.error,
            line,
            color="black",
            lw=0.9,
            label=baseline,
            gid=f"{name}|{baseline}",
        )
    _published(axes, run.d)
    last = max(run.curves[-1].examples)
    axes.set(xlim=(0, last), ylim=(-0.05, HIGHEST), xlabel="examples in the prompt")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, handlelength=2.2, columnspacing=1.0
    )


def _published(axes: Axes, d: int) -> None:
    data = published.data()["linear_functions"]
    looks = {"trained": (SHAPE, style.PALETTE[0]), "least squares": ("s", "black")}
    for point in data["points"]:
        shape, colour = looks.get(point["name"], ("D", "black"))
        x = point["examples"] * d / data["d"]
        marks.hollow(axes, [x], [point["error"]], shape, colour, f"published|{point['name']}")


SHAPE = "o"


def _truncated(axes: Axes, run: RegressionRun, module: str, drawn: Drawn) -> None:
    cells = [cell for cell in run.truncation if cell.module == module]
    axes.set_title(f"{NAMES[module]} truncated: last point")
    if not cells:
        marks.not_run(axes)
        drawn.missing.append(f"{run.name}: truncation of {module}")
        return
    rates = sorted({*published.RATES, *(cell.rate for cell in cells)})
    for layer in sorted({cell.layer for cell in cells}):
        by_rate = {cell.rate: cell.curve for cell in cells if cell.layer == layer}
        if 0.0 not in by_rate:
            by_rate[0.0] = run.curves[-1]  # the untouched model, on the same prompts
        x, y, bars = [], [], []
        place = depth(layer, run.layers)
        for i, rate in enumerate(rates):
            if rate in by_rate:
                error, se = by_rate[rate].error[-1], by_rate[rate].standard_error[-1]
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


def _legend(figure: Figure, by_model: Mapping[str, RegressionRun]) -> None:
    depths = {run.layers for run in by_model.values()}
    handles = [
        marks.handle(legend_name(place, depths), color=COLOURS[place], marker=SHAPES[place], ls="-")
        for place in COLOURS
    ]
    if any(layers > 4 for layers in depths):
        handles.append(marks.handle("other layers", color="#bbbbbb", ls="-"))
    handles.append(
        marks.handle("published, d = 20 (hollow)", marker=SHAPE, mfc="white", color="black")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
