"""Tables and pictures of ``trained_linear_attention``, from its result.json."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from experiments.common import style
from experiments.common.records import Record
from experiments.common.scaffold import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def report(result: Record) -> Iterable[Table | str]:
    """Two tables and the claims."""
    yield table(
        "one layer, all weights free",
        ["task", "source", "N", "loss", "closed form", "preconditioner off by", "stray", "cosine"],
        (
            (
                row["case"],
                row["source"],
                str(row["n"]),
                f"{row['loss']:.4f} +- {row['loss_error']:.4f}",
                f"{row['closed_form']['loss']:.4f}",
                f"{row['preconditioner_error']:.1%}",
                f"{row['stray']:.1%}",
                f"{row['cosine']:.4f}",
            )
            for row in result["layers"]
        ),
    )
    setting = result["setting"]
    yield table(
        f"stacks, d = {setting['d']}, N = {setting['n']}: loss (+- its standard error)",
        [
            "layers",
            "one step size",
            "best steps",
            "descent, trained",
            "all free, trained",
            "median",
        ],
        (
            (
                str(row["layers"]),
                f"{row['one_step_size']:.4f}",
                f"{row['best_descent']:.4f}",
                f"{row['descent']:.4f} +- {row['descent_error']:.4f}",
                f"{row['descent_median']:.4f}",
                f"{row['full']:.4g} +- {row['full_error']:.2g}",
                f"{row['full_median']:.4f}",
            )
            for row in result["stacks"]
        ),
    )
    yield "a mean far above its median is that of rare prompts, on which products of layers explode"
    if result["options"]["quick"]:
        yield "quick: stacks with all weights free are not trained to the end"
    for claim in result["claims"]:
        yield f"{'holds ' if claim['holds'] else 'FAILS '} {claim['claim']}: {claim['found']}"


def draw_layers(result: Mapping[str, Any]) -> "Figure":
    """Training curves over the closed form, and learned against optimal preconditioners."""
    figure = style.figure(style.PAGE, 2.7)
    left, right = figure.subplots(1, 2)
    for row, marker in zip(result["layers"], style.MARKERS, strict=False):
        ratio = np.asarray(row["training"]["ratio"])
        steps = (np.arange(ratio.size) + 0.5) * row["training"]["steps"] / ratio.size
        left.plot(steps, ratio, label=row["case"])
        right.plot(
            row["closed_form"]["diagonal"],
            row["preconditioner"],
            marker,
            label=row["case"],
            mfc="none",
        )
    left.axhline(1, color="black", lw=0.8, ls="--")
    left.set(xscale="log", ylim=(0.8, 3), xlabel="step", ylabel="training loss / closed form")
    ends = [0.1, 10]
    right.plot(ends, ends, color="black", lw=0.8, ls="--", zorder=0)
    right.set(xscale="log", yscale="log", xlabel="optimal preconditioner", ylabel="learned")
    for axis in (left.xaxis, right.xaxis, right.yaxis):
        style.log_ticks(axis)
    right.legend(loc="upper left")
    return figure


def draw_depth(result: Mapping[str, Any]) -> "Figure":
    """Loss over the number of layers: closed forms as lines, trained stacks as points."""
    rows = result["stacks"]
    layers = [row["layers"] for row in rows]
    figure = style.figure()
    axes = figure.subplots()
    # One step is one step: both lines start at the same closed form.
    first = result["setting"]["one_layer"]
    for name, line, label in (
        ("one_step_size", ":", "one step size (exact)"),
        ("best_descent", "-", "best steps (exact)"),
    ):
        axes.plot([1, *layers], [first, *(row[name] for row in rows)], line, label=label)
    for name, marker, label in (
        ("descent", "s", "descent, trained"),
        ("full", "o", "all weights free, trained"),
        ("full_median", "x", "  its median prompt"),
    ):
        # A mean that rare prompts push above that of one layer has no place here: the table has it.
        values = [row[name] if row[name] < first else np.nan for row in rows]
        errors = [2 * row.get(f"{name}_error", 0.0) for row in rows]
        axes.errorbar(layers, values, errors, marker=marker, ls="", capsize=2, label=label)
    axes.set(xlabel="layers", ylabel="squared error", xticks=[1, *layers], ylim=(0, 1.1 * first))
    axes.legend()
    return figure
