"""What experiments.truncation_phases shows: tables and pictures, from its result.json."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from experiments.common import style
from experiments.common.records import Record
from experiments.common.scaffold import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def of_axis(result: Record, axis: str) -> list[Record]:
    """The cells of one phase diagram."""
    return [cell for cell in result["cells"] if cell["axis"] == axis]


def grid(result: Record, axis: str, read: str) -> np.ndarray:
    """One number of every cell, ``[values, decays]``."""
    values = result["axes"][axis]["values"]
    numbers = {(cell["value"], cell["decay"]): cell[read] for cell in of_axis(result, axis)}
    return np.array([[numbers[value, decay] for decay in result["decays"]] for value in values])


def report(result: Record) -> Iterable[Table | str]:
    """A table each axis: best rank and what it saves, by decay of the spectrum."""
    for key, axis in result["axes"].items():
        best, saved = grid(result, key, "best_rank"), grid(result, key, "saved")
        yield table(
            f"best rank of {result['d']} (share of the risk saved); rows: {axis['name']}",
            [key, *(f"decay {decay:g}" for decay in result["decays"])],
            [
                [
                    f"{value:g}",
                    *(_cell(int(b), float(s)) for b, s in zip(ranks, shares, strict=True)),
                ]
                for value, ranks, shares in zip(axis["values"], best, saved, strict=True)
            ],
        )
    helped = sum(cell["helps"] for cell in result["cells"])
    yield f"Truncation lowers the risk in {helped} of {len(result['cells'])} cells."
    missed = sum(cell["better_dropped"] > 0 and not cell["helps"] for cell in result["cells"])
    yield (
        f"In {missed} more some direction were better dropped, but truncation by singular values "
        "does not get at it: it drops the widest directions first."
    )
    yield table(
        "the closed form against simulated prompts, at the best rank",
        ["cell", "rank", "exact", "simulated", "standard error"],
        [
            [
                f"{row['axis']} {row['value']:g}, decay {row['decay']:g}",
                f"{row['rank']}",
                f"{row['exact']:.4f}",
                f"{row['simulated']:.4f}",
                f"{row['error']:.4f}",
            ]
            for row in result["simulated"]
        ],
    )


def _cell(rank: int, saved: float) -> str:
    return f"{rank}" + (f" ({saved:.0%})" if saved > 1e-12 else "")


def draw_phases(result: Record) -> "Figure":
    """The best rank over each axis and the decay, a panel each."""
    figure = style.figure(style.PAGE, 4.6)
    panels = figure.subplots(2, 2).ravel()
    image = None
    for axes, (key, axis) in zip(panels, result["axes"].items(), strict=True):
        share = grid(result, key, "best_rank") / result["d"]
        image = axes.imshow(share, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="cividis")
        axes.set_xticks(range(len(result["decays"])), [f"{d:g}" for d in result["decays"]])
        axes.set_yticks(range(len(axis["values"])), [f"{v:g}" for v in axis["values"]])
        axes.set_xlabel("decay of the inputs' variances")
        axes.set_title(axis["name"])
        for row, column in np.argwhere(share < 1):
            axes.text(
                column,
                row,
                f"{share[row, column] * result['d']:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color="white" if share[row, column] < 0.5 else "k",
            )
    assert image is not None
    figure.colorbar(image, ax=panels, label="best rank over d (1: truncation only hurts)")
    return figure


def draw_curves(result: Record) -> "Figure":
    """The risk over the rank for some values of each axis, at the middle decay."""
    figure = style.figure(style.PAGE, 4.6)
    panels = figure.subplots(2, 2).ravel()
    decay = result["decays"][len(result["decays"]) // 2]
    for axes, (key, axis) in zip(panels, result["axes"].items(), strict=True):
        chosen = [cell for cell in of_axis(result, key) if cell["decay"] == decay]
        for number, cell in enumerate(chosen[:: max(1, len(chosen) // 5)]):
            risk = np.array(cell["risk"])
            axes.semilogy(
                range(len(risk)),
                risk / risk[0],
                color=style.PALETTE[number % len(style.PALETTE)],
                label=f"{cell['value']:g}",
            )
            axes.plot(
                cell["best_rank"],
                risk[cell["best_rank"]] / risk[0],
                "o",
                color=style.PALETTE[number % len(style.PALETTE)],
            )
        axes.axhline(1, color="#777777", lw=0.6, ls=":")
        axes.set_title(axis["name"])
        axes.set_xlabel("rank kept")
        axes.set_ylabel("risk over predicting 0")
        axes.legend()
    return figure
