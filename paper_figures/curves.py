"""Figures 1 and 2: accuracy over the clipping rate, by layer; Figure 2 by number of shots too."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from experiments.common import style
from paper_figures import marks, published
from paper_figures.accuracy import AccuracyPoint, PointKey
from paper_figures.depth import Depth, depth, expected, legend_name
from paper_figures.marks import Axes, Drawn
from paper_figures.reading import Key, labels
from paper_figures.rows import PanelRow, Points

COLOURS = dict(zip(Depth, style.PALETTE, strict=False))
SHAPES = dict(zip(Depth, style.MARKERS, strict=False))
OFFSETS = {place: 0.15 * (i - 1.5) for i, place in enumerate(Depth)}
NAMES = {"mlp": "MLP", "attn": "ATTN"}
ABREAST = 2
"""Models beside each other on a page; more go below."""
LONGEST = 9.3
"""Of a page, in inches; rows are made less high to fit, within reason."""

CAPTION = (
    "Accuracy on the validation set over the clipping rate, by layer. Points: mean over "
    "demonstration seeds, with the 95 % Wilson interval of one seed's examples; short bars: single "
    "seeds; dashed: the untouched model; dotted: chance."
)
BESIDE = (
    " At the right, hollow: the highest point of each published curve of GPT-J-6B and Llama-2-7B, "
    "whose clipping rate is not printed."
)


def draw(points: Points, rows: Sequence[PanelRow]) -> Drawn:
    """A panel for each row, model and module; a curve for each layer.

    Args:
        points: of sweeps.
        rows: see :mod:`paper_figures.rows`.
    """
    chosen: dict[PointKey, AccuracyPoint] = {}
    for row in rows:
        chosen |= row.cells(points)
    chosen = {cell: p for cell, p in chosen.items() if cell.module in published.MODULES}
    names = labels(cell.model for cell in chosen)
    models: list[Key | None] = list(names) or [None]
    blocks = [models[i : i + ABREAST] for i in range(0, len(models), ABREAST)]
    lines = [(row, block) for block in blocks for row in rows]
    height = min(1.5, max(1.0, (LONGEST - 1.3) / len(lines)))
    figure = style.figure(style.PAGE, 1.1 + height * len(lines) + 0.2 * len(blocks))
    columns = len(blocks[0]) * len(published.MODULES)
    grid = figure.subplots(len(lines), columns, squeeze=False, sharey="row")
    drawn = Drawn(figure)
    rates = sorted({*published.RATES, *(cell.rate for cell in chosen)})
    beside = any(row.published(module) for row in rows for module in published.MODULES)
    for i, (row, block) in enumerate(lines):
        pairs = [(model, module) for model in block for module in published.MODULES]
        for axes, (model, module) in zip(grid[i], pairs, strict=False):
            name = "" if model is None else names[model]
            at = model, module
            panel = {c: p for c, p in row.cells(chosen).items() if (c.model, c.module) == at}
            _panel(axes, panel, row, module, rates, drawn, name)
            _frame(axes, row, module, rates, beside)
            if row is rows[0]:
                axes.set_title(
                    f"{marks.text(name, 24)}: {NAMES[module]}" if name else NAMES[module]
                )
            if row is rows[-1]:
                marks.label_below(axes, "clipping rate", 29)
            axes.tick_params(labelbottom=row is rows[-1])
        for axes in grid[i][len(pairs) :]:
            axes.set_axis_off()
        accuracy = "validation accuracy" if height > 1.2 else "accuracy"
        grid[i][0].set_ylabel(f"{marks.text(row.label)}\n{accuracy}")
        _limits(grid[i][0], list(row.cells(chosen).values()), row)
    _legend(figure, chosen, beside)
    drawn.notes += _left_out(points, chosen, rows)
    drawn.caption = CAPTION + (BESIDE if beside else "")
    return drawn


def _panel(
    axes: Axes,
    panel: Points,
    row: PanelRow,
    module: str,
    rates: Sequence[float],
    drawn: Drawn,
    name: str,
) -> None:
    what = ", ".join(filter(None, (row.label, NAMES[module], name)))
    key = f"{name}|{row.task}|{row.shots}|{module}"
    if panel:
        drawn.panels.append((what, marks.distinct(point.source for point in panel.values())))
        _curves(axes, panel, rates, key)
        absent = _absent(panel)
        if absent:
            drawn.missing.append(f"{what}: {', '.join(absent)}")
            _note(axes, "not run: " + ", ".join(absent))
        chance = next(iter(panel.values())).chance
        axes.axhline(chance, color=marks.GREY, lw=0.7, ls=":", zorder=1, gid=f"{key}|chance")
    else:
        drawn.missing.append(what)
        marks.not_run(axes)


def _frame(axes: Axes, row: PanelRow, module: str, rates: Sequence[float], beside: bool) -> None:
    """The rates, and to their right the published points if the figure has any."""
    names = [f"{rate:g}" for rate in rates]
    places = {model: len(rates) + 0.2 + 1.2 * i for i, model in enumerate(published.MODELS)}
    if beside:
        for best in row.published(module):
            x = places[best.model] + 1.4 * OFFSETS[best.depth]
            gid = f"published|{row.task}|{row.compared}|{module}|{best.model}|{best.depth.name}"
            look = SHAPES[best.depth], COLOURS[best.depth]
            marks.hollow(axes, [x], [best.accuracy], *look, gid)
        marks.strip(axes, len(rates) - 0.4, list(places.values()), 1.0)
        names += published.MODELS.values()
    ticks = [*range(len(rates)), *(places.values() if beside else ())]
    axes.set_xticks(ticks, names, rotation=90, fontsize=6.5)
    axes.set_xlim(left=-0.6, right=None if beside else len(rates) - 0.4)


def _curves(axes: Axes, panel: Points, rates: Sequence[float], key: str) -> None:
    """Every layer, the four of the paper in colour and on top."""
    layers = sorted({cell.layer for cell in panel})
    where = {place: [] for place in (None, *Depth)}
    for layer in layers:
        some = next(point for cell, point in panel.items() if cell.layer == layer)
        where[depth(layer, some.source.layers)].append(layer)
    untouched = [point.mean for cell, point in panel.items() if cell.rate == 0]
    if len(set(untouched)) == 1:
        # One line: rate 0 is the same model for every layer, if the panel is of one run.
        axes.axhline(untouched[0], color=marks.GREY, lw=0.6, ls="--", zorder=1)
    for place, points in where.items():
        for layer in points:
            by_rate = {c.rate: p for c, p in panel.items() if c.layer == layer}
            if place is None:
                y = [by_rate[r].mean if r in by_rate else math.nan for r in rates]
                axes.plot(
                    range(len(rates)),
                    y,
                    color="#bbbbbb",
                    lw=0.6,
                    zorder=1.5,
                    gid=f"{key}|{layer}|mean",
                )
            else:
                _curve(axes, by_rate, place, rates, f"{key}|{layer}")


def _curve(
    axes: Axes,
    by_rate: Mapping[float, AccuracyPoint],
    place: Depth,
    rates: Sequence[float],
    key: str,
) -> None:
    colour = COLOURS[place]
    x = [i + OFFSETS[place] for i in range(len(rates))]
    nothing = (math.nan, math.nan)
    y = [by_rate[rate].mean if rate in by_rate else math.nan for rate in rates]
    intervals = [by_rate[rate].interval if rate in by_rate else nothing for rate in rates]
    marks.error_bars(
        axes, x, y, intervals, key, color=colour, marker=SHAPES[place], ms=2.8, lw=0.9, zorder=2
    )
    seeds = [
        (place_x, value)
        for place_x, rate in zip(x, rates, strict=True)
        if rate in by_rate and len(by_rate[rate].seeds) > 1
        for value in by_rate[rate].seeds.values()
    ]
    marks.thin_points(axes, [s[0] for s in seeds], [s[1] for s in seeds], colour, key)
    missing = [at for at, rate in zip(x, rates, strict=True) if rate not in by_rate]
    marks.crosses(axes, missing, colour, f"{key}|missing")


def _absent(panel: Points) -> list[str]:
    """Which of the four layers the panel lacks."""
    layers = {cell.layer for cell in panel}
    total = next(iter(panel.values())).source.layers
    depths = {depth(layer, total) for layer in layers}
    return [place.value for place in expected(total) if place not in depths]


def _note(axes: Axes, said: str) -> None:
    axes.text(
        0.02, 0.03, said, transform=axes.transAxes, fontsize=6, color=marks.GREY, gid="not run"
    )


def _limits(axes: Axes, accuracies: Sequence[AccuracyPoint], row: PanelRow) -> None:
    """Room for everything, published points included, and no more."""
    values = [end for point in accuracies for end in point.interval]
    values += [value for point in accuracies for value in point.seeds.values()]
    values += [point.chance for point in accuracies]
    for module in published.MODULES:
        values += [best.accuracy for best in row.published(module)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(0.02, 0.06 * (high - low))
    # More below, where crosses and words about what is missing may stand.
    axes.set_ylim(low - 3 * room, min(1.04, high + room))


def _legend(figure: Figure, chosen: Points, beside: bool) -> None:
    """Of what is there."""
    depths = {point.source.layers for point in chosen.values()}
    shown = {depth(cell.layer, point.source.layers) for cell, point in chosen.items()}
    handles = [
        marks.handle(legend_name(place, depths), color=COLOURS[place], marker=SHAPES[place], ls="-")
        for place in Depth
        if beside or place in shown
    ]
    if None in shown:
        handles.append(marks.handle("other layers", color="#bbbbbb", ls="-"))
    if chosen:
        handles += [
            marks.handle("untouched", color=marks.GREY, ls="--", lw=0.8),
            marks.handle("chance", color=marks.GREY, ls=":", lw=0.8),
        ]
    if any(len(point.seeds) > 1 for point in chosen.values()):
        handles.append(marks.handle("one seed", color=marks.GREY, marker="_", ms=4))
    if figure.findobj(lambda artist: str(artist.get_gid()).endswith("|missing")):
        handles.append(marks.handle("rate not run", color=marks.GREY, marker="x", ms=3))
    if beside:
        look = {"color": "black", "marker": "o", "mfc": "white"}
        handles.append(marks.handle("published best (hollow)", **look))
    figure.legend(handles=handles, loc="outside lower center", ncols=5)


def _left_out(points: Points, chosen: Points, rows: Sequence[PanelRow]) -> list[str]:
    """What runs have and the figure does not show."""
    tasks = {row.task for row in rows}
    modules = sorted({c.module for c in points if c.task in tasks} - set(published.MODULES))
    notes = [f"the figure is of mlp and attn; left out: {', '.join(modules)}"] if modules else []
    kept = {(cell.task, cell.shots) for cell in chosen}
    dropped = sorted(
        {(c.task, c.shots) for c in points if c.task in tasks and c.module in published.MODULES}
        - kept
    )
    if dropped:
        text = ", ".join(f"{task} with {shots} shots" for task, shots in dropped)
        notes.append(f"left out, one number of shots a task is shown: {text}")
    return notes
