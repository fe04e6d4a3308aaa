"""What experiments.bounds.experiment tells: tables and a picture, from its result.json."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

from experiments.common import style
from experiments.common.records import Record
from experiments.common.scaffold import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOUNDS = {
    "theorem 2, as printed": "Thm 2",
    "theorem 2, ridge": "Thm 2 ridge",
    "theorem 2 spectral, ridge": "spectral",
    "theorem 2, block": "Thm 2 block",
    "lemma 6, zero": "Lemma 6 g=0",
    "lemma 6, mean": "g=E G",
    "lemma 6, state": "g(W)",
    "lemma 6, matrix": "matrix",
    "terminal noise": "terminal",
}
"""Bounds from loose to tight, with their column in the table."""

ALGORITHMS = {"deterministic": "the model", "block": "noisy", "ridge": "noisy, ridge everywhere"}


def report(result: Record) -> Iterable[Table | str]:
    """A row for each cell, and what the bounds come to."""
    rows = []
    for cell in result["cells"]:
        model = cell["algorithms"]["deterministic"]
        values = [cell["bounds"][name] for name in BOUNDS]
        rows.append(
            [
                f"{cell['d']} {cell['n']} {cell['layers']}",
                f"{model['risk']:.3f}",
                f"{model['gap']:.4f} +- {model['error']:.4f}",
                f"{cell['algorithms']['block']['gap']:.3f}",
                *(f"{bound['value']:.3g}" for bound in values),
            ]
        )
    yield table(
        "risk and gap (+- standard error) of the model, gap of the noisy algorithm, bounds",
        ["d N L", "risk", "gap", "noisy gap", *BOUNDS.values()],
        rows,
    )
    yield table(
        "of how many cells",
        ["bound", "cells", "finite", "above its gap", "below 1", "below the risk", "bounds"],
        [
            [
                name,
                *(str(result["summary"][name][key]) for key in result["summary"][name]),
                ALGORITHMS[result["cells"][0]["bounds"][name]["of"]],
            ]
            for name in BOUNDS
        ],
    )
    yield table(
        "virtual subsample b at d N L = 5 40 4",
        ["b", "risk", "noisy gap", "Lemma 6 g(W)"],
        [
            [
                str(row["b"]),
                f"{row['risk']:.3f}",
                f"{row['gap']:.4f} +- {row['error']:.4f}",
                f"{row['bound']:.3f}",
            ]
            for row in result["sweep_b"]
        ],
    )
    yield (
        "Theorem 2 as printed is infinite: C is singular in D^2 directions. A risk can be no "
        "larger than 1, so a bound above 1 says nothing."
    )


SHOWN = {
    "theorem 2, ridge": 0,
    "theorem 2, block": 1,
    "lemma 6, zero": 5,
    "lemma 6, matrix": 3,
    "terminal noise": 2,
}
"""Bounds in the picture, with their colours."""


def draw(result: Record) -> "Figure":
    """Gap, risk and bounds of every cell: a panel for each d, in it L ascending within each N."""
    widths = sorted({cell["d"] for cell in result["cells"]})
    counts = [sum(cell["d"] == d for cell in result["cells"]) for d in widths]
    figure = style.figure(style.PAGE, 3.0)
    panels = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=counts)[0]
    for axes, d in zip(panels, widths, strict=True):
        row = sorted(
            (c for c in result["cells"] if c["d"] == d), key=lambda c: (c["n"], c["layers"])
        )
        for n in sorted({cell["n"] for cell in row}):
            at = [place for place, cell in enumerate(row) if cell["n"] == n]
            _draw_group(axes, at, [row[place] for place in at])
        axes.axhline(1, color="#777777", lw=0.7, ls=":")
        axes.set(yscale="log", title=f"d = {d}", xlabel="N, L")
        style.log_ticks(axes.yaxis)
        axes.margins(x=0.05 if len(row) > 1 else 0.5)
        axes.set_xticks(
            range(len(row)), [f"{c['n']}, {c['layers']}" for c in row], rotation=90, fontsize=6
        )
    panels[0].set_ylabel("clipped loss")
    handles, labels = panels[0].get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=4)
    return figure


def _draw_group(axes: "Axes", at: list[int], cells: list[Record]) -> None:
    """Cells that differ in L only, joined by lines."""
    for name, colour in SHOWN.items():
        y = [cell["bounds"][name]["value"] for cell in cells]
        mark = style.MARKERS[colour] + "-"
        axes.plot(at, y, mark, color=style.PALETTE[colour], ms=2.5, lw=0.8, label=name)
    model = [cell["algorithms"]["deterministic"] for cell in cells]
    risk = [m["risk"] for m in model]
    axes.plot(at, risk, "_--", color="#777777", lw=0.8, ms=6, label="population risk of the model")
    axes.errorbar(
        at,
        [m["gap"] for m in model],
        yerr=[2 * m["error"] for m in model],
        color="black",
        marker="x",
        ms=3,
        lw=0.8,
        label="gap of the model",
    )
