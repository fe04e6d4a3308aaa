"""Tables and pictures of the pruned trajectories, from result.json."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from experiments.common import style
from experiments.common.records import Record
from experiments.common.scaffold import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLAIMS = {
    "norm falls, value": "Example 1: clipping W_V lowers ||dW_k||",
    "norm falls, query": "Example 1: clipping W_Q lowers ||dW_k||",
    "norm falls, key": "Example 1: clipping W_K lowers ||dW_k||",
    "gradient falls, value": "Lemma 6 reads G: clipping W_V lowers ||G_k||",
    "gradient falls, query": "Lemma 6 reads G: clipping W_Q lowers ||G_k||",
    "gradient falls, key": "Lemma 6 reads G: clipping W_K lowers ||G_k||",
    "upper bound as printed": "Example 1: ||dW||^2 <= UB",
    "upper bound times N": "corrected: ||dW||^2 <= N UB",
    "upper bound falls": "Example 1: clipping lowers UB of its layer",
    "earlier layers unchanged": "clipping layer k leaves dW_t, t < k",
    "later norms fall": "clipping layer k lowers the later ||dW_t||",
    "bound falls: theorem2, relative ridge": "Remark 4: Theorem 2 falls, relative ridge",
    "bound falls: lemma6 zero, relative ridge": "Remark 4: Lemma 6 g=0 falls, relative ridge",
    "bound falls: lemma6 mean, relative ridge": "Remark 4: Lemma 6 g=E G falls, relative ridge",
    "bound falls: theorem2, absolute ridge": "Remark 4: Theorem 2 falls, fixed noise",
    "bound falls: lemma6 zero, absolute ridge": "Remark 4: Lemma 6 g=0 falls, fixed noise",
    "bound falls: lemma6 mean, absolute ridge": "Remark 4: Lemma 6 g=E G falls, fixed noise",
    "gap falls": "the gap falls with the rate",
    "risk falls somewhere": "some rate lowers the risk",
}


def report(result: Record) -> Iterable[Table | str]:
    """Claims with the share of paths, the spread of the risk by layer, dropped layers."""
    kinds = list(dict.fromkeys(path["kind"] for path in result["paths"]))
    rows = []
    for name, text in CLAIMS.items():
        cells = [result["claims"].get(name, {}).get(kind) for kind in kinds]
        rows.append([text, *("" if c is None else f"{c['holds']} of {c['paths']}" for c in cells)])
    for name in result["dropped"][0]["falls"]:
        shares = [
            np.mean([row["falls"][name] for row in result["dropped"] if row["kind"] == kind])
            for kind in kinds
        ]
        rows.append([f"dropping a layer lowers Lemma 6, {name}", *(f"{s:.0%}" for s in shares)])
    yield table("on how many paths a claim holds", ["claim", *kinds], rows)
    layers = len(result["steadiness"][0]["spread"])
    yield table(
        "Remark 5, deep layers are steadier: spread of the risk over the rates, by layer clipped",
        ["weights, matrix", *(f"layer {t + 1}" for t in range(layers)), "steadier with depth"],
        [
            [
                f"{row['kind']}, {row['matrix']}",
                *(f"{spread:.3f}" for spread in row["spread"]),
                f"{row['steadier']} of {row['stacks']} stacks",
            ]
            for row in result["steadiness"]
        ],
    )
    yield "W_V of gradient descent has rank 1: there is nothing to clip."
    yield from subspace_report(result["gradients_subspace"])
    for kind in kinds:
        risks = [path["risk"]["values"][0] for path in result["paths"] if path["kind"] == kind]
        yield f"risk before clipping, {kind}: {np.mean(risks):.3f}"


def subspace_report(record: Record) -> Iterable[Table | str]:
    """Remarks 4 and 5 without a ridge, in the gradients' subspace and in one held fixed."""
    kinds = list(next(iter(record["falls"].values())))
    rows = []
    for name, counts in record["falls"].items():
        cells = [_counted(counts[kind]) for kind in kinds]
        rows.append([name, *cells])
    yield table(
        "Remark 4 without a ridge (D = 4): the bound falls at every rate", ["bound", *kinds], rows
    )
    layers = len(record["spread"][0]["spread"])
    yield table(
        "Remark 5: spread over the rates of Lemma 6 in the gradients' subspace, by layer clipped",
        ["weights, matrix", *(f"layer {t + 1}" for t in range(layers))],
        [
            [f"{row['kind']}, {row['matrix']}", *(f"{spread:.4f}" for spread in row["spread"])]
            for row in record["spread"]
        ],
    )


def _counted(count: Record) -> str:
    ends = f", {count['infinite']} end infinite" if count["infinite"] else ""
    return f"{count['falls']} of {count['paths']}{ends}"


def _paths(result: Record, kind: str, matrix: str, layer: int) -> list[Record]:
    wanted = (kind, matrix, layer)
    return [p for p in result["paths"] if (p["kind"], p["matrix"], p["layer"]) == wanted]


def _mean_path(result: Record, kind: str, matrix: str, layer: int, read: str) -> list[float]:
    def values(path: Record) -> list[float]:
        if read == "risk":
            return path["risk"]["values"]
        return (path["norms"][layer] if read == "norm" else path["bounds"][read])["values"]

    return list(np.mean([values(path) for path in _paths(result, kind, matrix, layer)], axis=0))


ROWS = {
    "norm": "||dW_k||",
    "lemma6 zero, relative ridge": "Lemma 6, relative ridge",
    "lemma6 zero, absolute ridge": "Lemma 6, fixed noise",
}


def draw(result: Record) -> "Figure":
    """Own norm and Lemma 6 over the rate, relative to no clipping, for W_V and W_K."""
    kinds = list(dict.fromkeys(path["kind"] for path in result["paths"]))
    layers = len(result["steadiness"][0]["spread"])
    figure = style.figure(style.PAGE, 5.2)
    panels = figure.subplots(len(ROWS), len(kinds), sharex=True, squeeze=False)
    for row, (read, label) in enumerate(ROWS.items()):
        for column, kind in enumerate(kinds):
            axes = panels[row, column]
            for layer in range(layers):
                for matrix, line in (("value", "-"), ("key", "--")):
                    if not _paths(result, kind, matrix, layer):
                        continue
                    y = np.array(_mean_path(result, kind, matrix, layer, read))
                    axes.plot(
                        result["rates"],
                        y / y[0],
                        line,
                        color=style.PALETTE[layer],
                        label=f"layer {layer + 1}, W_{'V' if matrix == 'value' else 'K'}",
                    )
            axes.axhline(1, color="#777777", lw=0.6, ls=":")
            if row == 0:
                axes.set_title(kind)
        panels[row, 0].set_ylabel(f"{label}\nover unclipped")
    for axes in panels[-1]:
        axes.set_xlabel("clipping rate")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=layers)
    return figure


def draw_errors(result: Record) -> "Figure":
    """Population risk over the rate: a row for each matrix, a column for each kind of weights."""
    kinds = list(dict.fromkeys(path["kind"] for path in result["paths"]))
    matrices = list(dict.fromkeys(path["matrix"] for path in result["paths"]))
    layers = len(result["steadiness"][0]["spread"])
    figure = style.figure(style.PAGE, 5.2)
    panels = figure.subplots(len(matrices), len(kinds), sharex=True, sharey="col", squeeze=False)
    for row, matrix in enumerate(matrices):
        for column, kind in enumerate(kinds):
            axes = panels[row, column]
            for layer in range(layers if _paths(result, kind, matrix, 0) else 0):
                y = _mean_path(result, kind, matrix, layer, "risk")
                mark = style.MARKERS[layer] + "-"
                axes.plot(result["rates"], y, mark, label=f"layer {layer + 1}")
            if row == 0:
                axes.set_title(kind)
        panels[row, 0].set_ylabel(f"risk, {matrix} clipped")
    for axes in panels[-1]:
        axes.set_xlabel("clipping rate")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=layers)
    return figure
