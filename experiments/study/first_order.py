"""How a gradient, and the clipping rate alone, rank the damage of the cells (questions e and h)."""

import numpy as np

from experiments.study.answer import Answer
from experiments.study.records import StudyRecord
from jaxsvd.edits.edit import parse_edits
from theory.agreement.ranks import spearman


def first_order(record: StudyRecord) -> Answer:
    """Questions e and h: how a gradient, and the rate alone, rank the damage of the cells."""
    rows = []
    for task, seed in dict.fromkeys((c.task, c.seed) for c in record.predicted):
        own = [c for c in record.predicted if (c.task, c.seed) == (task, seed)]
        places = [parse_edits(c.edit)[0] for c in own]
        rates = np.array([place.rate or 0.0 for place in places])
        of_layer = np.array([place.layer for place in places])
        of_module = np.array([place.module for place in places])
        predicted, loss, error = (
            np.array([getattr(c, name) for c in own]) for name in ("predicted", "loss", "accuracy")
        )
        for name, values in (("gradient", predicted), ("clipping rate", rates)):
            groups = (np.zeros(len(own)), of_layer, of_module, rates)
            rows.append(
                (
                    f"{task} (draw {seed}), {name}",
                    *(_within(values, loss, group) for group in groups),
                    _within(values, -error, groups[0]),
                    str(len(own)),
                )
            )
    columns = (
        "task and predictor",
        "change of the loss",
        "within a layer",
        "within a module",
        "within a rate",
        "loss of accuracy",
        "cells",
    )
    notes = (
        "Spearman's correlation over the cells of one draw; within a group, mean over groups.",
    )
    return Answer("h. Does a gradient rank the damage?", columns, tuple(rows), notes)


def _within(predicted: np.ndarray, actual: np.ndarray, groups: np.ndarray) -> str:
    """Spearman's correlation inside groups, their mean; a dash where nothing varies."""
    values = [
        spearman(predicted[groups == g], actual[groups == g])
        for g in np.unique(groups)
        if np.ptp(predicted[groups == g]) > 0 and np.ptp(actual[groups == g]) > 0
    ]
    return f"{np.mean(values):+.2f}" if values else "-"
