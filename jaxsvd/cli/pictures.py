"""Pictures of a run, where matplotlib is installed (the ``figures`` extra)."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsvd.results.explanation import BATCH, FITTED, RAW, Change, Explanation
from jaxsvd.results.header import TaskHeader
from jaxsvd.results.label_counts import LabelCounts
from jaxsvd.results.search import SearchResult
from jaxsvd.results.statistics import Accuracy, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"  # Okabe and Ito: safe for the colour-blind

MOST_LABELS = 12
"""That a picture has room for."""


def available() -> bool:
    """Whether pictures can be drawn here."""
    return find_spec("matplotlib") is not None


def plain(text: object, limit: int = 60) -> str:
    """A text that a user chose, to be drawn as it is: ``$`` would begin a formula.

    Args:
        text: a name of a model, a task, a label.
        limit: characters; of a longer one the middle is left out.
    """
    line = " ".join(str(text).split())
    if len(line) > limit:
        line = f"{line[: limit // 2 - 1]}\N{HORIZONTAL ELLIPSIS}{line[-(limit // 2) :]}"
    return line.replace("$", r"\$")


def heading(result: TaskHeader, what: str) -> str:
    """Two lines over a picture: what is drawn, and of which model, task and draws."""
    task = result.task
    several = isinstance(task.seed, tuple)
    seeds = ", ".join(map(str, task.seed)) if isinstance(task.seed, tuple) else task.seed
    shots = " and ".join(map(str, task.shots)) if isinstance(task.shots, tuple) else task.shots
    parts = [f"model {plain(result.model.name, 40)}", f"task {plain(task.name, 24)}"]
    parts += [f"{shots} shots", f"seed{'s' if several else ''} {plain(seeds, 30)}"]
    return f"{plain(what, 130)}\n{', '.join(parts)}"


def search_picture(result: SearchResult, path: Path) -> Path:
    """Accuracy over clipping rate with 95 % intervals, what the change is made of, the answers.

    Rates are spaced evenly: the candidates crowd near 1.

    Args:
        result: measured, or read from a run directory.
        path: where to write; the ending decides the format.
    """
    from matplotlib.figure import Figure

    explanation, counts = result.explanation, result.label_counts
    if counts is not None and len(counts.gold) > MOST_LABELS:
        counts = None
    beside = [part for part in (explanation, counts) if part is not None]
    figure = Figure(figsize=(8.6 if beside else 5.2, 3.9), dpi=160, layout="constrained")
    if beside:
        grid = figure.add_gridspec(len(beside), 2, width_ratios=(3, 2))
        accuracy_panel(figure.add_subplot(grid[:, 0]), result)
        places = [figure.add_subplot(grid[i, 1]) for i in range(len(beside))]
        if explanation is not None:
            change_panel(places[0], explanation)
        if counts is not None:
            answers_panel(places[-1], counts)
    else:
        accuracy_panel(figure.subplots(), result)
    where = f"{result.module} of layer {result.layer}, truncated at rate {result.best_rate:g}"
    figure.suptitle(heading(result, where), fontsize=9)
    figure.savefig(path)
    return path


def accuracy_panel(axes: "Axes", result: SearchResult) -> None:
    """Validation accuracy by rate, and the test of the best one."""
    points = result.validation
    best = [point.rate for point in points].index(result.best_rate)
    x = list(range(len(points)))
    y = [point.accuracy.value for point in points]
    bars = _bars([point.accuracy for point in points])
    validation = f"validation, n = {points[0].accuracy.total:,}"
    axes.errorbar(
        x, y, yerr=bars, color=BLUE, marker="o", ms=4, lw=1.2, capsize=2.5, label=validation
    )
    tested = (
        (result.base, 0.0, "white", f"test, untouched, n = {result.base.total:,}"),
        (result.pruned, float(best), ORANGE, "test, at the best rate"),
    )
    for accuracy, at, fill, label in tested:
        axes.errorbar(
            [at + 0.2], [accuracy.value], yerr=_bars([accuracy]), color=ORANGE, marker="s", ms=5,
            mfc=fill, capsize=2.5, ls="", label=label,
        )  # fmt: skip
    if result.several:
        ends = [wilson(p.accuracy.correct, p.accuracy.total) for p in points]
        lows, highs = zip(*ends, strict=True)
        axes.vlines(
            x, lows, highs, color=BLUE, lw=5, alpha=0.2, label="binomial interval of all answers"
        )
    for draw in result.draws if result.several else ():
        shown = [score.accuracy.value for score in draw.validation]
        label = "one draw" if draw is result.draws[0] else None
        axes.plot(x, shown, "_", color=BLUE, ms=5, alpha=0.5, label=label)
    axes.set_xticks(x, [f"{point.rate:g}" for point in points])
    axes.set_xlabel("clipping rate of the rank")
    axes.set_ylabel("accuracy, 95 % interval")
    floors = [("chance", result.task.chance, "--")]
    if result.label_counts is not None:
        floors.append(("commonest label", result.label_counts.majority, ":"))
    reference_lines(axes, floors)
    axes.spines[["top", "right"]].set_visible(False)
    below(axes)


def reference_lines(axes: "Axes", values: Sequence[tuple[str, float, str]]) -> None:
    """Levels to compare with; those far below everything drawn are named, not drawn.

    Args:
        axes: with everything else drawn.
        values: name, level and line style of each.
    """
    low, high = axes.get_ylim()
    room = max(high - low, 0.04)
    for name, level, style in values:
        if level > low - room:
            axes.axhline(level, color=GREY, lw=0.8, ls=style, label=f"{name} {level:.3f}")
        else:
            axes.plot([], [], color=GREY, lw=0.8, ls=style, label=f"{name} {level:.3f}, far below")


def below(axes: "Axes", columns: int = 2) -> None:
    """The legend under the axes, where it hides nothing."""
    axes.legend(
        frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns
    )


def change_panel(axes: "Axes", explanation: Explanation) -> None:
    """The change as the model answers and calibrated, with paired intervals."""
    rows: list[tuple[str, Change]] = [
        ("raw", explanation.accuracy[RAW]),
        ("batch calibrated", explanation.accuracy[BATCH]),
        ("fitted prior", explanation.accuracy[FITTED]),
    ]
    if explanation.auc is not None:
        rows.append(("area under ROC", explanation.auc))
    for i, (_, change) in enumerate(rows):
        low, high = change.interval
        ends = [[max(0.0, change.difference - low)], [max(0.0, high - change.difference)]]
        axes.errorbar(
            [change.difference], [i], xerr=ends, color=ORANGE if i == 0 else BLUE, marker="s",
            ms=4, capsize=2.5, ls="",
        )  # fmt: skip
    axes.axvline(0, color=GREY, lw=0.8)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.locator_params(axis="x", nbins=5)
    axes.set_title(f"change of test accuracy: {explanation.verdict}", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def answers_panel(axes: "Axes", counts: LabelCounts) -> None:
    """How often each label is said, beside how often it is right."""
    labels = list(counts.gold)
    rows = [("right", counts.gold, GREY, "|", 11), ("untouched", counts.untouched, BLUE, "o", 4)]
    if counts.truncated is not None:
        rows.append(("truncated", counts.truncated, ORANGE, "s", 4))
    for name, said, colour, marker, size in rows:
        values = [said[label] for label in labels]
        axes.plot(values, range(len(labels)), marker, color=colour, ms=size, label=name)
    axes.set_yticks(range(len(labels)), [plain(label, 18) for label in labels], fontsize=7)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0, 1.05 * max(max(said.values()) for _, said, *_ in rows))
    axes.grid(axis="y", color="#e4e4e4", lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=7)
    balanced = [counts.balanced_untouched, counts.balanced_truncated]
    said = " to ".join(f"{value:.3f}" for value in balanced if value is not None)
    title = f"answers, of {sum(counts.gold.values()):,}\nbalanced accuracy {said}"
    axes.set_title(title, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)


def _bars(accuracies: Sequence[Accuracy]) -> list[list[float]]:
    return [
        [max(0.0, a.value - a.interval[0]) for a in accuracies],
        [max(0.0, a.interval[1] - a.value) for a in accuracies],
    ]
