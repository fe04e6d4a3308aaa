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
    Setting,
    TaskSetting,
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


def _setting(options: argparse.Namespace, config: DecoderConfig) -> Setting:
    return setting(options, config, layers=outermost if options.quick else ends, quick_size=60)


def _shots(given: argparse.Namespace, task: TaskSetting) -> tuple[int, ...]:
    default = BUNDLED_SHOTS if task.task == "bundled" else SHOTS
    return tuple(sorted(set(options.joined(given.shots) or default)))


def check(given: argparse.Namespace) -> None:
    """Refuse what the model or the data do not have."""
    rehearse(_setting(given, config_of(given)), lambda task: max(_shots(given, task)))


def study(study: Study) -> Record:
    """A sweep of each task, number of shots and draw."""
    model = units.load(study)
    setting = _setting(study.options, model.config)
    done = [
        _unit(study, model, setting, task, seed, shots)
        for task in setting.tasks
        for shots in _shots(study.options, task)
        for seed in task.seeds
    ]
    wordings = {task.name: _wording(study.options, task) for task in setting.tasks}
    return units.gathered(model, done) | {"zero_shot": wordings}


def _scripts_wording(task: TaskSetting) -> str | None:
    """The scripts' own query without demonstrations, where they have one."""
    spec = tasks.SPECS.get(task.task)
    return None if spec is None else zero_shot_template(spec)


def _wording(given: argparse.Namespace, task: TaskSetting) -> Record | None:
    """How a task asks without demonstrations; None where it always shows some."""
    if 0 not in _shots(given, task):
        return None
    template = _scripts_wording(task)
    return {"wording": "the task's template" if template is None else "scripts", "text": template}


def _unit(
    study: Study, model: Model, setting: Setting, task: TaskSetting, seed: int, shots: int
) -> Record:
    scripts = setting.draw["protocol"] == "scripts"
    if shots or scripts or _scripts_wording(task) is None:
        return units.sweep(study, model, setting, task, seed, shots=shots)
    run = units.unit_name(task, 0, seed)

    def measure() -> Record:
        draw = setting.of(task)
        skip_long = draw.pop("skip_long")
        prepared = tasks.prepare(task.task, shots=0, seed=seed, zero_shot="scripts", **draw)
        encoded_task = EncodedTask.of(
            model, prepared.only(("validation",)), skip_long=skip_long, progress=study.progress
        )
        edits = [
            Edit(layer, module, rate)
            for layer in setting.layers
            for module in setting.modules
            for rate in setting.rates
        ]
        result = units.score_edits(
            study, model, encoded_task, "validation", edits, run, zero_shot="scripts"
        )
        return units.cells_record(task, run, result)

    return study.once({"task": task.name, "shots": 0, "seed": seed}, measure)


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
        by_shots = {p["shots"]: p for p in points if p["task"] == task and p["rate"] == 0}
        text = ", ".join(f"{n} shots {tables.accuracy(p)}" for n, p in sorted(by_shots.items()))
        if text:
            yield f"untouched, {task}: {text}"


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
