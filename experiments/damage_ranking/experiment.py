"""Candidates of a search, ranked without scoring them and by the damage that they do.

``python -m experiments.damage_ranking [MODEL] [--tasks ...] [--layers ...] [--modules ...]``. For
every draw each truncation is scored on all validation questions. Its damage is the change of their
mean loss, the negative log-probability of the right candidate among all candidates, and the loss
of accuracy. Gradients are of the first hundred of these questions, one backward pass each;
activations are of training demonstrations. A predictor is as good as Spearman's correlation of its
values with the damage: over all candidates, and within a layer, a module or a rate.
"""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from experiments.common.scaffold import Experiment, Record, Study, table
from experiments.damage_ranking.predictors import PREDICTORS, matrix_facts, places_of, predictions
from experiments.language import units
from experiments.language.setting import Setting, TaskSetting, config_of, parents, rehearse, setting
from jaxsvd.edits.edit import Edits, format_edits, parse_edits
from jaxsvd.encoded_task import encode_task
from jaxsvd.model import Model
from jaxsvd.models.config import DecoderConfig
from jaxsvd.results.selection_score import contributions
from jaxsvd.score import model_record, score_split
from jaxsvd.selection.candidates import candidates
from jaxsvd.selection.gradient import EXAMPLES, example_gradients
from jaxsvd.train_statistics import statistics_beside
from theory.agreement.ranks import spearman

OUTCOMES = ("loss", "accuracy")
"""The damage: rise of the mean loss, and fall of accuracy."""


@dataclass(frozen=True)
class Candidate:
    """A truncation, what was predicted of it, and what it did.

    Attributes:
        edits: as they are written.
        predicted: by predictor.
        damage: by outcome.
    """

    edits: str
    predicted: Mapping[str, float]
    damage: Mapping[str, float]

    def to_json(self) -> dict[str, object]:
        """One of ``candidates``."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> "Candidate":
        """As written."""
        predicted, damage = record["predicted"], record["damage"]
        assert isinstance(predicted, Mapping)
        assert isinstance(damage, Mapping)
        return cls(str(record["edits"]), predicted, damage)


def _setting(options: argparse.Namespace, config: DecoderConfig) -> Setting:
    return setting(options, config, layers=lambda layers: tuple(range(layers)))


def check(options: argparse.Namespace) -> None:
    """Refuse what the model or the data do not have."""
    rehearse(_setting(options, config_of(options)), lambda task: options.shots)


def study(study: Study) -> Record:
    """Every draw of every task."""
    model = units.load(study)
    setting = _setting(study.options, model.config)
    rows = [
        study.once(
            {"task": task.name, "seed": seed},
            lambda task=task, seed=seed: {
                "candidates": [one.to_json() for one in measure(study, model, setting, task, seed)]
            },
        )
        for task in setting.tasks
        for seed in task.seeds
    ]
    return {"model": model_record(model).to_json(), "rows": rows}


def measure(
    study: Study, model: Model, setting: Setting, task: TaskSetting, seed: int
) -> list[Candidate]:
    """All truncations on one draw."""
    options = dict(setting.of(task)) | {"shots": setting.shots, "seed": seed}
    draw = encode_task(model, task.task, ("validation",), progress=study.progress, **options)
    edited = candidates(model, setting.layers, setting.modules, setting.rates)
    edited = tuple(edits for edits in edited if edits and edits[0].touches)
    places, positions = places_of(model, edited), draw.positions("validation")
    statistics = statistics_beside(
        model, task.task, edited, [draw.prepared], data=task.data, progress=study.progress
    )
    gradients = example_gradients(
        model, draw.encoded, positions[:EXAMPLES], places, progress=study.progress
    )
    facts = matrix_facts(model, places, gradients, statistics)
    lines = score_split(
        model.engine, draw, "validation", [(), *edited], run=None, progress=study.progress
    )
    levels = [
        {
            "loss": -float(contributions("nll", variant).mean()),
            "accuracy": -float(contributions("accuracy", variant).mean()),
        }
        for variant in lines
    ]
    return [
        Candidate(
            format_edits(edits),
            predictions(model, edits, facts),
            {name: level[name] - levels[0][name] for name in OUTCOMES},
        )
        for edits, level in zip(edited, levels[1:], strict=True)
    ]


def correlations(rows: Iterable[Iterable[Candidate]], predictor: str, outcome: str) -> list[float]:
    """Spearman's correlation over all, within a layer, a module and a rate; means over draws.

    NaN where nothing varies: a rate within a rate.
    """
    by_draw = []
    for row in rows:
        own = list(row)
        values = np.array([one.predicted[predictor] for one in own])
        damage = np.array([one.damage[outcome] for one in own])
        edits: list[Edits] = [parse_edits(one.edits) for one in own]
        groups = (
            np.zeros(len(own)),
            np.array([several[0].layer for several in edits]),
            np.array([several[0].module for several in edits]),
            np.array([several[0].rate or 0.0 for several in edits]),
        )
        by_draw.append([_within(values, damage, group) for group in groups])
    return [float(value) for value in np.mean(by_draw, axis=0)]


def _within(values: np.ndarray, damage: np.ndarray, groups: np.ndarray) -> float:
    inside = [
        spearman(values[groups == group], damage[groups == group])
        for group in np.unique(groups)
        if np.ptp(values[groups == group]) > 0 and np.ptp(damage[groups == group]) > 0
    ]
    return float(np.mean(inside)) if inside else float("nan")


def report(result: Record) -> Iterable[Table | str]:
    """A table of each task: predictors by row, what they rank by column."""
    for task in dict.fromkeys(row["task"] for row in result["rows"]):
        rows = [
            [Candidate.from_json(one) for one in row["candidates"]]
            for row in result["rows"]
            if row["task"] == task
        ]
        yield table(
            f"{task}: Spearman's correlation with the damage, mean over {len(rows)} draws, "
            f"{len(rows[0])} truncations",
            (
                "predictor",
                *(f"{outcome}, {where}" for outcome in OUTCOMES for where in WHERE),
            ),
            [
                (
                    predictor,
                    *(
                        "-" if np.isnan(value) else f"{value:+.2f}"
                        for outcome in OUTCOMES
                        for value in correlations(rows, predictor, outcome)
                    ),
                )
                for predictor in PREDICTORS
            ],
        )
    yield "Damage is a rise of the mean loss, or a fall of accuracy, on all validation questions."


WHERE = ("all", "in a layer", "in a module", "at a rate")

EXPERIMENT = Experiment(
    "damage_ranking",
    "Which quantity ranks candidate truncations as the damage that they do.",
    study,
    report,
    check=check,
    parents=parents("layers", "modules", "rates", layers="all"),
)
