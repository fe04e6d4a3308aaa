"""What the figures share: panels without data, hollow published markers, legends."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figures.reading import Source

Numbers = Sequence[float | int]
GREY, PALE, MISSING = "#777777", "#f3f3f3", "#e9e9e9"


@dataclass
class Drawn:
    """A figure and what is to be said of it.

    Attributes:
        figure: to be saved.
        panels: which runs each panel shows.
        missing: what no run gives.
        notes: anything else that a reader should know.
        caption: what is drawn.
    """

    figure: Figure
    panels: list[tuple[str, list[Source]]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    caption: str = ""

    def markdown(self, name: str) -> str:
        """The caption, which runs the panels are of, and what is missing, in Markdown."""
        lines = [f"{name.replace('fig', 'Figure ')}. {self.caption}", ""]
        for what, sources in self.panels:
            lines.append(f"- {what}: {', '.join(f'`{source.path}`' for source in sources)}")
        lines += [f"- not run: {what}" for what in self.missing]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines).rstrip() + "\n"


def text(value: str, limit: int = 28) -> str:
    """A name from a file, to be drawn: no mathematics, and cut in its middle where it is long."""
    value = " ".join(value.split())
    if len(value) > limit:
        value = f"{value[: limit // 2 - 1]}…{value[-(limit // 2) :]}"
    return value.replace("$", r"\$")


def not_run(axes: Axes, said: str = "not run") -> None:
    """Say that there is nothing to show."""
    axes.set_facecolor(MISSING)
    axes.text(
        0.4,
        0.5,
        said,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=GREY,
        gid="not run",
    )


def crosses(axes: Axes, places: Numbers, colour: str, gid: str) -> None:
    """At the bottom, where a value is missing."""
    if places:
        axes.plot(
            places,
            [0.03] * len(places),
            "x",
            color=colour,
            ms=3,
            mew=0.8,
            transform=axes.get_xaxis_transform(),
            gid=gid,
        )


def hollow(axes: Axes, x: Numbers, y: Numbers, shape: str, colour: str, gid: str) -> None:
    """Published values."""
    axes.plot(x, y, shape, mfc="white", mec=colour, mew=0.9, ls="", gid=gid, zorder=4)


def strip(axes: Axes, left: float | int, places: Numbers, step: float | int) -> None:
    """The ground of published values, set off from one's own."""
    axes.axvspan(left, max(places) + 0.55 * step, color=PALE, lw=0, zorder=0)
    axes.axvline(left, color=GREY, lw=0.5)
    axes.set_xlim(right=max(places) + 0.55 * step)


def label_below(axes: Axes, said: str, points: int) -> None:
    """A label of the x axis nearer than long tick labels elsewhere would leave it."""
    axes.annotate(
        said,
        (0.38, 0),
        xytext=(0, -points),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="top",
    )


def error_bars(
    axes: Axes,
    x: Numbers,
    y: Numbers,
    intervals: Sequence[tuple[float, float]],
    gid: str,
    **look: Any,
) -> None:
    """Points with their intervals; NaN breaks the line. The parts get the ids ``GID|...``."""
    below = [value - low for value, (low, _) in zip(y, intervals, strict=True)]
    above = [high - value for value, (_, high) in zip(y, intervals, strict=True)]
    # Rounding may put an end a hair on the wrong side of its value, which matplotlib refuses.
    bars = [[max(0.0, v) if not math.isnan(v) else v for v in side] for side in (below, above)]
    line, _, (segments,) = axes.errorbar(x, y, yerr=bars, elinewidth=0.6, **look)
    line.set_gid(f"{gid}|mean")
    segments.set_gid(f"{gid}|interval")


def thin_points(axes: Axes, x: Numbers, y: Numbers, colour: str, gid: str) -> None:
    """Single seeds."""
    axes.plot(
        x, y, "_", color=colour, ms=3.5, mew=0.6, alpha=0.75, ls="", gid=f"{gid}|seeds", zorder=3
    )


def handle(label: str, **look: Any) -> Line2D:
    """A legend's entry."""
    filled: dict[str, Any] = {"ls": ""} | look
    return Line2D([], [], label=label, **filled)


def layer_ticks(layers: int) -> list[int]:
    """About eight layers, the last among them."""
    step = max(1, math.ceil(layers / 8))
    ticks = list(range(0, layers, step))
    if ticks[-1] != layers - 1:
        if layers - 1 - ticks[-1] < step / 2 + 0.5:
            ticks.pop()
        ticks.append(layers - 1)
    return ticks


def distinct(sources: Iterable[Source]) -> list[Source]:
    """Each run once, the oldest first."""
    by_path = {source.path: source for source in sources}
    return sorted(by_path.values(), key=lambda source: (source.started, str(source.path)))
