"""From cells to what they say: the common part of the studies of all kinds of model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.bounds_vs_accuracy import agreement
from experiments.common.records import Record
from jaxsvd.runtime.progress import Progress
from theory.agreement import CLUSTER
from theory.cmi import hoeffding

FIXED = ("parameters removed", "condition number", "energy removed")
"""Predictors that are no change of anything; the rate and the layer aside."""


def with_bound_changes(
    cells: Sequence[Mapping[str, Any]], untouched: Mapping[str, Any]
) -> list[Record]:
    """Cells with the changes of their bounds from predictions against those of their own draw."""
    base = {name: bound["bound"] for name, bound in untouched["supersample"]["bounds"].items()}
    extended = []
    for cell in cells:
        bounds = cell["supersample"]["bounds"]
        changes = {
            name: _difference(bounds[name]["bound"], value)
            for name, value in base.items()
            if name != "interpolating"  # mostly no bound at all
        }
        plain = {name: _plain(cell)[name] - value for name, value in _plain(untouched).items()}
        extended.append({**cell, "plain_changes": plain, "bound_changes": changes})
    return extended


def _plain(cell: Mapping[str, Any]) -> Record:
    supersample = cell["supersample"]
    return dict(
        zip(agreement.PLAIN, (supersample["gap"][0], supersample["test_error"]), strict=True)
    )


def _difference(value: float, base: float) -> float:
    return 0.0 if value == base else value - base


def conclude(
    cells: Sequence[Mapping[str, Any]],
    progress: Progress,
    *,
    one_model: bool,
    bounds: Sequence[str],
    draws: int = agreement.DRAWS,
    seed: int = 0,
) -> Record:
    """Agreement, signs, worth of bounds and the verdict, from the cells of one study.

    Args:
        cells: truncated ones, with ``bound_changes``.
        progress: where to show it.
        one_model: whether all seeds share a model: clusters are then (module, layer) alone, since
            seeds repeat the same truncations, and the intervals over (seed, module, layer) are
            told beside.
        bounds: names of the predictors that are bounds on the gap.
        draws: of the bootstrap and of the null.
        seed: of both.
    """
    cells = distinct(cells)
    records = agreement.records_of(cells, FIXED)
    names = agreement.predictors_in(records)
    cluster = CLUSTER[1:] if one_model else CLUSTER
    count = len(names) * len(agreement.OUTCOMES) * len(agreement.STRATA)
    with progress.bar("agreement", count, "comparisons") as advance:
        rows = agreement.analyse(
            records,
            names,
            cluster=cluster,
            finer=CLUSTER if one_model else None,
            estimated=list(cells[0]["bound_changes"]),
            draws=draws,
            seed=seed,
            advance=advance,
        )
    changing = [name for name in names if name not in ("rate", "layer", *FIXED)]
    values = {name: [cell["predictors"][name] for cell in cells] for name in bounds}
    for name in cells[0]["supersample"]["bounds"]:
        values[f"{name} (predictions)"] = [
            cell["supersample"]["bounds"][name]["bound"] for cell in cells
        ]
    return {
        "predictors": names,
        "cluster": cluster,
        "cells": len(cells),
        "truncations": "each once: rates that keep the same ranks are one",
        "agreement": rows,
        "signs": agreement.signs(records, changing),
        "worth": agreement.worth(values, [cell["gap"][0] for cell in cells]),
        "floors": floors(cells),
        "held_out": held_out(cells),
        "verdict": agreement.verdict(rows),
    }


def distinct(cells: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each truncation once: of small matrices several rates keep the same rank."""
    names = ("seed", "module", "layer")
    unique: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for cell in cells:
        own = cell["predictors"]["parameters removed"]
        unique.setdefault((*(cell[name] for name in names), own), cell)
    return list(unique.values())


def floors(cells: Sequence[Mapping[str, Any]]) -> Record:
    """Of each bound from predictions: median estimate, median floor, share above its floor."""
    by_bound: Record = {}
    for name, first in cells[0]["supersample"]["bounds"].items():
        if "floor" not in first:
            continue
        bounds, noise = (
            np.array([cell["supersample"]["bounds"][name][key] for cell in cells])
            for key in ("bound", "floor")
        )
        by_bound[name] = {
            "bound": float(np.median(bounds)),
            "floor": float(np.median(noise)),
            "above": float((bounds > noise).mean()),
        }
    return by_bound


def held_out(cells: Sequence[Mapping[str, Any]]) -> Record | None:
    """The plain competitor: Hoeffding's interval of the validation error, for the test error.

    The two splits are drawn from one distribution only where the task says so. None without a
    validation set.
    """
    if "validation" not in cells[0]:
        return None
    inside, widths = [], []
    for cell in cells:
        error, total = 1 - cell["validation"]["accuracy"], cell["validation"]["total"]
        low, high = hoeffding(error, total)
        inside.append(low <= cell["test_error"][0] <= high)
        widths.append((high - low) / 2)
    return {"covered": float(np.mean(inside)), "half_width": float(np.median(widths))}
