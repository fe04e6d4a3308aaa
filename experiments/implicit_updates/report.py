"""What experiments.implicit_updates shows: tables and a picture, from its result.json."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from experiments.common import style
from experiments.common.records import Record
from experiments.common.scaffold import table
from experiments.language import tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def report(result: Record) -> Iterable[Table | str]:
    """A row each layer untouched, then each layer truncated."""
    yield from tables.heading({"model": result["model"]})
    yield (
        f"{result['questions']} questions of {result['task']}, with {result['context_tokens']:.0f} "
        "tokens of demonstrations and without"
    )
    if result["parallel"]:
        yield (
            "A parallel block's MLP reads the stream before attention: what its own attention adds "
            "is in the bias, and dW is what the layers below did."
        )
    yield table(
        "the context as a change of the MLP's first weights, by layer",
        [
            "layer",
            "||dW|| / ||W||",
            "bias / stream",
            "effective rank of mean dW",
            "rank of one shared dW",
            "||shared|| / ||W||",
            "missed on others",
            "error",
        ],
        [
            [
                str(layer["layer"]),
                *_numbers(layer["rows"][0]),
                f"{layer['error']:.0e}",
            ]
            for layer in result["layers"]
        ],
    )
    cut = [(layer["layer"], row) for layer in result["layers"] for row in layer["rows"][1:]]
    yield table(
        "the same with a module of the layer truncated",
        [
            "layer, module, rate",
            "||dW|| / ||W||",
            "bias / stream",
            "effective rank of mean dW",
            "rank of one shared dW",
            "||shared|| / ||W||",
            "missed on others",
        ],
        [[f"{layer}, {row['module']}, {row['rate']:g}", *_numbers(row)] for layer, row in cut],
    )


def _numbers(row: Record) -> list[str]:
    return [
        f"{row['update']:.3f}",
        f"{row['bias']:.3f}",
        f"{row['effective_rank']:.1f}",
        f"{row['shared_rank']:.1f}",
        f"{row['shared']:.3f}",
        f"{row['unexplained']:.2f}",
    ]


PANELS = {
    "update": "||dW|| / ||W||",
    "shared_rank": "effective rank of one shared dW",
    "unexplained": "share missed on other questions",
}


def draw(result: Record) -> "Figure":
    """Size, rank and what is unexplained by layer, untouched and truncated."""
    figure = style.figure(style.PAGE, 2.6)
    panels = figure.subplots(1, len(PANELS))
    layers = [layer["layer"] for layer in result["layers"]]
    kinds = [(row["module"], row["rate"]) for row in result["layers"][0]["rows"]]
    for axes, (name, label) in zip(panels, PANELS.items(), strict=True):
        for number, (module, rate) in enumerate(kinds):
            values = np.array([layer["rows"][number][name] for layer in result["layers"]])
            axes.plot(
                layers,
                values,
                "-" if module == "none" else "--" if module == "mlp" else ":",
                marker=style.MARKERS[number % len(style.MARKERS)],
                color=style.PALETTE[number % len(style.PALETTE)],
                label="untouched" if module == "none" else f"{module} {rate:g}",
            )
        axes.set_xlabel("layer")
        axes.set_ylabel(label)
        axes.locator_params(axis="x", integer=True)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(kinds))
    return figure
