"""One picture of what calibration leaves of a gain, from the study's record."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.common import style
from experiments.study.drawing import METHODS, TITLES
from experiments.study.records import StudyRecord, TestCell
from jaxsvd.cli.pictures import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNTOUCHED, TRUNCATED, CONTROL = "#777777", style.PALETTE[1], style.PALETTE[0]
SHOWN = ("trec", "agnews", "sst2")
"""The tasks on which the MLP of the layer that Algorithm 1 chooses gains raw accuracy."""


def prior(record: StudyRecord) -> "Figure | None":
    """Untouched and truncated, from accuracy as the model answers to that with a fitted prior.

    Where two lines meet on the right a gain was a shift of the label prior; where they stay
    parallel it was none. Thin lines are the controls.
    """
    own = {
        c.task: c
        for c in record.own_tests()
        if c.module == "mlp" and record.is_algorithm1(c) and c.task in SHOWN
    }
    tasks = [task for task in SHOWN if task in own]
    if not tasks:
        return None
    figure = style.figure(style.PAGE, 2.9)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        _panel(axes, own[task], _controls(record, own[task]))
    panels[0].set_ylabel("test accuracy, mean over draws")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    figure.suptitle(f"{plain(record.model)}: where lines meet, the gain was a shift of the prior")
    return figure


def _controls(record: StudyRecord, cell: TestCell) -> Sequence[TestCell]:
    place = cell.task, cell.layer, cell.module, cell.rate
    return [
        c
        for c in record.tests
        if (c.task, c.layer, c.module, c.rate) == place and c.method in METHODS and c is not cell
    ]


def _panel(axes: "Axes", cell: TestCell, controls: Sequence[TestCell]) -> None:
    raw, fitted = cell.levels["raw"], cell.levels["fitted_prior"]
    for i, control in enumerate(controls):
        ends = [control.levels[name].edited for name in ("raw", "fitted_prior")]
        axes.plot([0, 1], ends, color=CONTROL, lw=0.6, alpha=0.6, label=None if i else "controls")
    axes.plot(
        [0, 1], [raw.untouched, fitted.untouched], "o-", color=UNTOUCHED, lw=2, label="untouched"
    )
    axes.plot([0, 1], [raw.edited, fitted.edited], "s-", color=TRUNCATED, lw=2, label="truncated")
    for x, name in ((0, "raw"), (1, "fitted_prior")):
        change = cell.changes[name]
        top = max(cell.levels[name].untouched, cell.levels[name].edited)
        low, high = (100 * end for end in change.interval)
        axes.annotate(
            f"{100 * change.mean:+.1f}\n[{low:+.1f}, {high:+.1f}]", (x, top),
            xytext=(-8 if x == 0 else 0, 7), textcoords="offset points", ha="center",
            fontsize=6.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )  # fmt: skip
    axes.set_xticks([0, 1], ["as it answers", "fitted prior"])
    axes.set_xlim(-0.5, 1.4)
    axes.margins(y=0.2)
    axes.set_title(
        f"{TITLES[cell.task]}, {cell.edit}, {len(set(cell.seeds))} draws of "
        f"{max(cell.examples):,}\ncommonest label {cell.majority:.3f}",
        fontsize=7,
    )
