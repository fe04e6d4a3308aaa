"""When truncation helps, exactly: the risk of a one-layer preconditioner over all ranks.

``python -m experiments.truncation_phases [--quick] [--seed N] [--out RUN] [--resume]``. The layer
is the optimum for its training (Ahn et al., 2023), its risk at test a closed form
(:mod:`theory.preconditioning`), so that no training and no sampling stands between question and
answer. Four phase diagrams, each over the decay of the inputs' spectrum: shots at test, noise at
test, the share of directions that the test's tasks use, and training and test shots together; in
each cell the best rank, and how much of the risk it saves. Some cells are checked by simulation.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.common.records import Record
from experiments.common.scaffold import Experiment, Study
from experiments.truncation_phases.report import draw_curves, draw_phases, report
from theory.preconditioning import (
    PromptDistribution,
    best_preconditioner,
    dropped_direction,
    preconditioner_risk,
    truncated_risk,
)

D = 20
TRAIN_N = 40
DECAYS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Exponents: the variances fall as i^-decay, with a mean of 1. Not 0, where all gains are equal and
the order of truncation is arbitrary."""


@dataclass(frozen=True)
class Axis:
    """What changes between training and test.

    Attributes:
        name: for tables and pictures.
        values: of it.
    """

    name: str
    values: tuple[float | int, ...]


AXES = {
    "shots": Axis("demonstrations at test (40 in training)", (1, 2, 3, 5, 8, 12, 20, 40, 160)),
    "noise": Axis("label noise at test (0 in training)", (0, 1, 2, 4, 6, 8, 12, 16)),
    "tasks": Axis(
        "share of directions that tasks use, the widest ones", (0.05, 0.1, 0.25, 0.5, 0.75, 1)
    ),
    "narrow tasks": Axis(
        "share of directions that tasks use, the narrowest ones", (0.05, 0.1, 0.25, 0.5, 0.75, 1)
    ),
}


def variances(decay: float, d: int = D) -> np.ndarray:
    """Of the inputs, largest first, with a mean of 1."""
    values = np.arange(1, d + 1, dtype=float) ** -decay
    return values * d / values.sum()


def settings(
    axis: str, value: float | int, decay: float
) -> tuple[PromptDistribution, PromptDistribution]:
    """Training and test."""
    lam = variances(decay)
    train = PromptDistribution(lam, TRAIN_N)
    if axis == "shots":
        return train, PromptDistribution(lam, int(value))
    if axis == "noise":
        return train, PromptDistribution(lam, TRAIN_N, float(value))
    used = np.zeros(D)
    count = max(1, round(value * D))
    used[:count] = 1
    if axis == "narrow tasks":
        used = used[::-1].copy()
    return train, PromptDistribution(lam, TRAIN_N, 0.0, used)


def cell(axis: str, value: float | int, decay: float) -> Record:
    """The risk at every rank, and how many directions are better dropped."""
    train, test = settings(axis, value, decay)
    layer = best_preconditioner(train)
    curve = truncated_risk(layer, test)
    changes = dropped_direction(np.diag(layer), test)
    return {
        "axis": axis,
        "value": value,
        "decay": decay,
        "best_rank": curve.best,
        "helps": curve.helps,
        "risk": curve.risk,
        "saved": 1 - curve.risk[curve.best] / curve.risk[-1],
        "optimal_risk": preconditioner_risk(best_preconditioner(test), test),
        "better_dropped": int((changes < -1e-12 * curve.risk[-1]).sum()),
    }


def simulate(axis: str, value: float | int, decay: float, seed: int, draws: int) -> Record:
    """One cell at its best rank by sampling prompts: mean and standard error."""
    train, test = settings(axis, value, decay)
    layer = best_preconditioner(train)
    curve = truncated_risk(layer, test)
    u, s, vt = np.linalg.svd(layer)
    cut = u[:, : curve.best] * s[: curve.best] @ vt[: curve.best]
    rng = np.random.default_rng(seed)
    spread = np.sqrt(np.asarray(test.covariance))
    prior = np.ones(D) if test.prior is None else np.asarray(test.prior)
    losses = []
    for _ in range(math.ceil(draws / 5000)):
        w = np.sqrt(prior) * rng.normal(size=(5000, D))
        x = spread * rng.normal(size=(5000, test.n + 1, D))
        clean = np.einsum("mnd,md->mn", x, w)
        y = clean + test.sigma * rng.normal(size=clean.shape)
        z = np.einsum("mn,mnd->md", y[:, :-1], x[:, :-1]) / test.n
        losses.append((np.einsum("md,de,me->m", x[:, -1], cut, z) - clean[:, -1]) ** 2)
    every = np.concatenate(losses)
    return {
        "axis": axis,
        "value": value,
        "decay": decay,
        "rank": curve.best,
        "exact": curve.risk[curve.best],
        "simulated": every.mean(),
        "error": every.std() / math.sqrt(len(every)),
    }


def study(study: Study) -> Record:
    """All cells in closed form, and some of them by simulation."""
    decays = DECAYS[::3] if study.quick else DECAYS
    grid = [
        (axis, value, decay) for axis, of in AXES.items() for value in of.values for decay in decays
    ]
    cells = []
    with study.progress.bar("cells", len(grid), "cells") as advance:
        for axis, value, decay in grid:
            cells.append(cell(axis, value, decay))
            advance(1)
    draws = 10_000 if study.quick else 200_000
    checked: list[Any] = [
        ("shots", 3, decays[1]),
        ("noise", 8, decays[1]),
        ("tasks", 0.1, decays[0]),
        ("narrow tasks", 0.25, decays[-1]),
    ]
    simulated = []
    with study.progress.bar("simulated", len(checked), "cells") as advance:
        for axis, value, decay in checked:
            unit = {"axis": axis, "value": value, "decay": decay}
            simulated.append(
                study.once(
                    unit,
                    lambda a=axis, v=value, c=decay: simulate(a, v, c, study.seed, draws),
                )
            )
            advance(1)
    return {
        "d": D,
        "train_n": TRAIN_N,
        "decays": decays,
        "axes": {key: {"name": axis.name, "values": axis.values} for key, axis in AXES.items()},
        "cells": cells,
        "simulated": simulated,
    }


EXPERIMENT = Experiment(
    "truncation_phases",
    "When truncation helps: the exact risk of a one-layer regressor at every rank.",
    study,
    report,
    {"phases.png": draw_phases, "curves.png": draw_curves},
)
