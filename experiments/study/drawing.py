"""Pictures of the study, one idea each, from its records alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.common import style
from experiments.study.design import TASKS
from experiments.study.records import GridCell, StudyRecord, TestCell
from jaxsvd.cli.pictures import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {"sst2": "SST-2", "agnews": "AG News", "trec": "TREC", "rte": "RTE", "copa": "COPA"}
COLOURS = {task.name: style.PALETTE[i] for i, task in enumerate(TASKS)}
MODULE_MARKERS = {"mlp": "o", "attn": "^"}
MODULE_WORDS = {"mlp": "MLP", "attn": "attention"}


def plane(records: Sequence[StudyRecord]) -> "Figure":
    """The calibration plane: what a truncation gains as it is, and what of it calibration leaves.

    One point a layer and module, at the rate that validation chose; filled where Algorithm 1
    chooses the layer. On the diagonal nothing was a matter of the label prior, on the horizontal
    line everything was.
    """
    figure = style.figure(style.PAGE, 0.9 + 2.7 * _rows(len(records)))
    axes = figure.subplots(
        _rows(len(records)), min(2, len(records)), squeeze=False, sharex=True, sharey=True
    )
    for axis, record in zip(axes.flat, records, strict=False):
        cells = record.own_tests()
        for cell in cells:
            x, y = cell.changes["raw"], cell.changes["fitted_prior"]
            colour = COLOURS[cell.task]
            axis.errorbar(
                100 * x.mean,
                100 * y.mean,
                xerr=_sides(x.mean, x.interval),
                yerr=_sides(y.mean, y.interval),
                color=colour,
                marker=MODULE_MARKERS[cell.module],
                markerfacecolor=colour if record.is_algorithm1(cell) else "white",
                elinewidth=0.6,
                alpha=0.9,
            )
        axis.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        axis.axline((0, 0), slope=1, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
        axis.set_title(plain(record.model))
        axis.set_xlabel("change of test accuracy as it is, points")
    for axis in axes[:, 0]:
        axis.set_ylabel("change with a fitted label prior, points")
    for axis in list(axes.flat)[len(records) :]:
        axis.remove()
    _legend(figure, records)
    return figure


def _rows(panels: int) -> int:
    return max(1, (panels + 1) // 2)


def _sides(mean: float, interval: tuple[float, float]) -> list[list[float]]:
    """Lengths of an error bar's sides, in points."""
    low, high = interval
    return [[100 * max(0.0, mean - low)], [100 * max(0.0, high - mean)]]


def _legend(figure: "Figure", records: Sequence[StudyRecord]) -> None:
    from matplotlib.lines import Line2D

    tasks = dict.fromkeys(cell.task for record in records for cell in record.own_tests())
    handles = [
        Line2D([], [], color=COLOURS[task], marker="s", linestyle="", label=TITLES[task])
        for task in tasks
    ]
    handles += [
        Line2D([], [], color="0.3", marker=marker, linestyle="", label=MODULE_WORDS[module])
        for module, marker in MODULE_MARKERS.items()
    ]
    handles += [
        Line2D([], [], color="0.3", marker="o", linestyle="", label="filled: Algorithm 1's layer"),
        Line2D([], [], color="0.6", linestyle="--", label="no shift of the prior"),
        Line2D([], [], color="0.6", linestyle="-", label="all a shift of the prior"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)


def rates(record: StudyRecord) -> "Figure":
    """Validation accuracy by rate, a column a layer and a row a task (Fig. 1 of the paper)."""
    cells = [c for c in record.grid if c.shots == _usual_shots(c.task)]
    tasks = [task for task in TITLES if any(c.task == task for c in cells)]
    layers = sorted({c.layer for c in cells if c.layer is not None})
    figure = style.figure(style.PAGE, 0.7 + 1.25 * len(tasks))
    axes = figure.subplots(len(tasks), len(layers), squeeze=False, sharex=True, sharey="row")
    for row, task in zip(axes, tasks, strict=True):
        for axis, layer in zip(row, layers, strict=True):
            _curves(axis, [c for c in cells if c.task == task], layer)
        row[0].set_ylabel(TITLES[task])
    for axis, layer in zip(axes[0], layers, strict=True):
        axis.set_title(f"layer {layer}")
    for axis in axes.flat:
        if not axis.lines:
            axis.text(0.5, 0.5, "not run", ha="center", va="center", transform=axis.transAxes)
    for axis in axes[-1]:
        axis.tick_params(axis="x", rotation=60)
        axis.set_xlabel("clipping rate")
    figure.supylabel("validation accuracy, %", fontsize=8)
    draws = max(len({c.seed for c in cells if c.task == task}) for task in tasks)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    figure.suptitle(
        f"{plain(record.model)}, {draws} draws of demonstrations; "
        "bars: one standard deviation over draws"
    )
    return figure


def _curves(axis: "Axes", cells: Sequence[GridCell], layer: int) -> None:
    for module, marker in MODULE_MARKERS.items():
        colour = style.PALETTE[0] if module == "mlp" else style.PALETTE[1]
        own = [c for c in cells if (c.layer, c.module) == (layer, module)]
        seeds = {c.seed for c in own}
        base = [c for c in cells if c.layer is None and c.seed in seeds]
        if not own:
            continue
        by_rate = {0.0: base} | {r: [c for c in own if c.rate == r] for r in _rates(own)}
        places = range(len(by_rate))
        for name, line in (("accuracy", "-"), ("batch_calibrated", ":")):
            values = [np.array([getattr(c, name) for c in at]) for at in by_rate.values()]
            label = MODULE_WORDS[module] + (", batch calibrated" if line == ":" else "")
            axis.errorbar(
                [place + (0.08 if module == "attn" else -0.08) for place in places],
                [100 * v.mean() for v in values],
                yerr=[100 * v.std(ddof=1) if len(v) > 1 else 0.0 for v in values],
                color=colour,
                marker=marker,
                linestyle=line,
                elinewidth=0.5,
                label=label,
            )
        axis.set_xticks(list(places), [f"{rate:g}" for rate in by_rate], rotation=60)


def _rates(cells: Sequence[GridCell]) -> list[float]:
    return sorted({c.rate for c in cells})


def _usual_shots(task: str) -> int:
    return next(t.shots for t in TASKS if t.name == task)


def shots(record: StudyRecord) -> "Figure | None":
    """SST-2 by shots (Fig. 2 of the paper); None where only one number of them was run."""
    cells = [c for c in record.grid if c.task == "sst2"]
    counts = sorted({c.shots for c in cells})
    if len(counts) < 2:
        return None
    layers = sorted({c.layer for c in cells if c.layer is not None and c.shots != 10})
    figure = style.figure(style.PAGE, 0.7 + 1.5 * len(layers))
    axes = figure.subplots(len(layers), len(counts), squeeze=False, sharex=True, sharey=True)
    for row, layer in zip(axes, layers, strict=True):
        for axis, count in zip(row, counts, strict=True):
            _curves(axis, [c for c in cells if c.shots == count], layer)
        row[0].set_ylabel(f"layer {layer}")
    for axis, count in zip(axes[0], counts, strict=True):
        axis.set_title(f"{count} shots")
    for axis in axes[-1]:
        axis.set_xlabel("clipping rate")
    figure.supylabel("validation accuracy, %", fontsize=8)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    figure.suptitle(f"{plain(record.model)}, SST-2: bars are one standard deviation over draws")
    return figure


def others(record: StudyRecord) -> "Figure | None":
    """What an edit that one task chose does to the others (question g)."""
    cells = [c for c in record.tests if record.is_algorithm1(c) and c.method == "exact"]
    edits = list(dict.fromkeys(c.edit for c in cells))
    tasks = [task for task in TITLES if any(c.task == task for c in cells)]
    if len(tasks) < 2:
        return None
    figure = style.figure(style.PAGE, 0.9 + 0.28 * len(edits))
    axes = figure.subplots(1, 2, sharey=True)
    table = {(c.edit, c.task): c for c in cells}
    top = max(0.05, *(abs(c.changes[r].mean) for c in cells for r in ("raw", "fitted_prior")))
    images = []
    for axis, reading, title in zip(
        axes, ("raw", "fitted_prior"), ("as it is", "with a fitted label prior"), strict=True
    ):
        values = np.array(
            [
                [table[e, t].changes[reading].mean if (e, t) in table else np.nan for t in tasks]
                for e in edits
            ]
        )
        images.append(axis.imshow(100 * values, cmap="RdBu", vmin=-100 * top, vmax=100 * top))
        for (i, j), value in np.ndenumerate(values):
            if not np.isnan(value):
                cell = table[edits[i], tasks[j]]
                star = "*" if cell.changes[reading].sign else ""
                dark = abs(value) > 0.7 * top
                axis.text(
                    j, i, f"{100 * value:+.1f}{star}", ha="center", va="center", fontsize=6,
                    color="white" if dark else "black",
                )  # fmt: skip
        axis.set_xticks(range(len(tasks)), [TITLES[t] for t in tasks], rotation=30)
        axis.set_title(title)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    axes[0].set_yticks(range(len(edits)), [_edit_label(cells, e) for e in edits])
    figure.colorbar(images[0], ax=axes, shrink=0.8)
    figure.suptitle(
        f"{plain(record.model)}: change of test accuracy, points; * the 95 % interval leaves out 0"
    )
    return figure


def _edit_label(cells: Sequence[TestCell], edit: str) -> str:
    chosen = dict.fromkeys(
        TITLES[c.task] for c in cells if c.edit == edit and c.chosen_for == c.task
    )
    return f"{edit}  ({', '.join(chosen)})" if chosen else edit


METHODS = {
    "exact": "truncated",
    "noise": "noise of the same norm",
    "spectrum-noise": "noise of the same spectrum",
    "random-directions": "random directions, same rank",
    "removed-part": "the removed part",
    "magnitude-norm": "small entries removed, same norm",
}


def controls(record: StudyRecord) -> "Figure | None":
    """Other edits of the same weights beside the truncation (question f)."""
    cells = [c for c in record.tests if record.is_algorithm1(c)]
    kinds = [kind for kind in METHODS if any(c.method == kind for c in cells)]
    if len(kinds) < 2:
        return None
    controlled = {(c.task, c.layer, c.module, c.rate) for c in cells if c.method != "exact"}
    own = [
        c
        for c in cells
        if c.method == "exact" and (c.task, c.layer, c.module, c.rate) in controlled
    ]
    figure = style.figure(style.PAGE, 1.0 + 0.42 * len(own))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, reading, title in zip(
        axes, ("raw", "fitted_prior"), ("as it is", "with a fitted label prior"), strict=True
    ):
        for i, kind in enumerate(kinds):
            for row, truncation in enumerate(own):
                place = (truncation.task, truncation.layer, truncation.module, truncation.rate)
                same = [
                    c
                    for c in cells
                    if (c.task, c.layer, c.module, c.rate) == place and c.method == kind
                ]
                for cell in same:
                    change = cell.changes[reading]
                    axis.errorbar(
                        100 * change.mean,
                        row + 0.12 * (i - len(kinds) / 2),
                        xerr=_sides(change.mean, change.interval),
                        color=style.PALETTE[i],
                        marker=style.MARKERS[i],
                        elinewidth=0.6,
                        label=METHODS[kind] if row == 0 and cell is same[0] else None,
                    )
        axis.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        axis.set_title(title)
        axis.set_xlabel("change of test accuracy, points")
    axes[0].set_yticks(range(len(own)), [f"{TITLES[c.task]} {c.edit}" for c in own])
    axes[0].invert_yaxis()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    figure.suptitle(f"{plain(record.model)}: bars are 95 % intervals over draws and examples")
    return figure
