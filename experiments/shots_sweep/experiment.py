"""Validation accuracy by number of demonstrations (Fig. 2 of arXiv 2406.03768).

Without demonstrations a task's template is a hint at best, so the reference scripts ask another
way there: ``Consider the following text: ... The sentiment is``. Both protocols take their wording
here where they have one; the other tasks keep their template. result.json says which, in
``zero_shot``.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from experiments.common.scaffold import Experiment, Record, Study
from experiments.language import drawing, tables, units
from experiments.language.setting import (
    Asked,
    Setting,
    config_of,
    ends,
    outermost,
    parents,
    rehearse,
    setting,
)
from jaxsvd import tasks
from jaxsvd.cli import options
from jaxsvd.edits.edit import Edit
from jaxsvd.encoded_task import EncodedTask
from jaxsvd.model import Model
from jaxsvd.models.config import DecoderConfig
from jaxsvd.tasks.scripts import zero_shot_template

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOTS = (0, 4, 10)
BUNDLED_SHOTS = (0, 4, 8)


def _setting(asked: argparse.Namespace, config: DecoderConfig) -> Setting:
    return setting(asked, config, layers=outermost if asked.quick else ends, quick_size=60)


def _shots(given: argparse.Namespace, asked: Asked) -> tuple[int, ...]:
    default = BUNDLED_SHOTS if asked.task == "bundled" else SHOTS
    return tuple(sorted(set(options.joined(given.shots) or default)))


def check(given: argparse.Namespace) -> None:
    """Refuse what the model or the data do not have."""
    rehearse(_setting(given, config_of(given)), lambda asked: max(_shots(given, asked)))


def study(study: Study) -> Record:
    """A sweep of each task, number of shots and draw."""
    model = units.load(study)
    asked_for = _setting(study.options, model.config)
    done = [
        _unit(study, model, asked_for, asked, seed, shots)
        for asked in asked_for.tasks
        for shots in _shots(study.options, asked)
        for seed in asked.seeds
    ]
    wordings = {asked.name: _wording(study.options, asked) for asked in asked_for.tasks}
    return units.gathered(model, done) | {"zero_shot": wordings}


def _wording(given: argparse.Namespace, asked: Asked) -> Record | None:
    """How a task asks without demonstrations; None where it always shows some."""
    if 0 not in _shots(given, asked):
        return None
    template = zero_shot_template(asked.task)
    return {"wording": "the task's template" if template is None else "scripts", "text": template}


def _unit(
    study: Study, model: Model, setting: Setting, asked: Asked, seed: int, shots: int
) -> Record:
    scripts = setting.draw["protocol"] == "scripts"
    if shots or scripts or zero_shot_template(asked.task) is None:
        return units.sweep(study, model, setting, asked, seed, shots=shots)
    run = units.unit_name(asked, 0, seed)

    def measure() -> Record:
        draw = setting.of(asked)
        skip_long = draw.pop("skip_long")
        prepared = tasks.prepare(asked.task, shots=0, seed=seed, zero_shot="scripts", **draw)
        encoded_task = EncodedTask.of(
            model, prepared.only(("validation",)), skip_long=skip_long, progress=study.progress
        )
        edits = [
            Edit(layer, module, rate)
            for layer in setting.layers
            for module in setting.modules
            for rate in setting.rates
        ]
        found = units.score_edits(
            study, model, encoded_task, "validation", edits, run, zero_shot="scripts"
        )
        return units.cells_record(asked, run, found)

    return study.once({"task": asked.name, "shots": 0, "seed": seed}, measure)


def report(result: Record) -> Iterable[Table | str]:
    """Mean accuracies by shots, layer and rate, and what of them is beyond noise."""
    yield from tables.heading(result)
    for task, wording in result["zero_shot"].items():
        if wording is not None:
            text = f": {wording['text']}" if wording["text"] else ""
            yield f"0 shots of {task} are asked in the wording of {wording['wording']}{text}"
    yield from tables.rate_tables(result["points"])
    yield from tables.findings(result)
    yield from _by_shots(result["points"])


def _by_shots(points: Sequence[Record]) -> Iterable[str]:
    """Untouched accuracy by shots: demonstrations should help before a truncation can matter."""
    for task in dict.fromkeys(point["task"] for point in points):
        found = {p["shots"]: p for p in points if p["task"] == task and p["rate"] == 0}
        told = ", ".join(f"{n} shots {tables.accuracy(p)}" for n, p in sorted(found.items()))
        if told:
            yield f"untouched, {task}: {told}"


def _draw(result: Mapping[str, Any]) -> "Figure":
    """A row each task and layer, a column each number of shots."""
    if len(result["tasks"]) == 1:
        return drawing.panels(result, "shots", "layer")
    placed = {
        key: [e | {"place": f"{e['task']} {e['layer']}"} for e in result[key]]
        for key in ("points", "cells")
    }
    return drawing.panels({**result, **placed}, "shots", "place")


EXPERIMENT = Experiment(
    "shots_sweep",
    "Accuracy by number of demonstrations, layer, module and clipping rate (Fig. 2).",
    study,
    report,
    {"shots.png": _draw},
    check=check,
    parents=parents(
        "layers",
        "modules",
        "rates",
        "shots",
        layers="the first and last two; quick: first and last",
        shots="0 4 10; bundled: 0 4 8",
    ),
)
