"""Units of work: a run of the library each, in a run directory of its own below the experiment's.

An experiment that was interrupted goes on within a unit, ``jaxsvd report`` makes a page of each,
and an experiment's numbers are those that its units' runs returned.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jaxsvd
from experiments.common.scaffold import Study
from experiments.language import pooled
from experiments.language.setting import Setting, TaskSetting
from jaxsvd.commands.sweep import points_of_edits
from jaxsvd.devices.compilation import use_persistent_cache
from jaxsvd.edits.edit import Edit
from jaxsvd.encoded_task import EncodedTask, save_prompts_of
from jaxsvd.model import Model
from jaxsvd.results.points import Point, corrected, paired
from jaxsvd.results.predictions import Prediction, read_outcomes
from jaxsvd.results.search import LayerChoice, SearchResult
from jaxsvd.runs.directory import PREDICTIONS, Run, surroundings
from jaxsvd.score import (
    Stopwatch,
    model_record,
    request_record,
    right_answers,
    score_split,
    write_predictions,
)
from jaxsvd.selection.condition import choose_layer

Record = dict[str, Any]


def load(study: Study) -> Model:
    """The model that was asked for."""
    use_persistent_cache()
    options = study.options
    return jaxsvd.load(
        options.model, revision=options.revision, dtype=options.dtype, progress=study.progress
    )


def sweep(
    study: Study,
    model: Model,
    setting: Setting,
    task: TaskSetting,
    seed: int,
    *,
    shots: int | None = None,
    layers: Sequence[int] | None = None,
) -> Record:
    """A sweep of one draw.

    Args:
        study: of the experiment.
        model: to be truncated.
        setting: what the experiment was asked.
        task: the task.
        seed: of the draw.
        shots: demonstrations; the setting's by default.
        layers: the setting's by default.

    Returns:
        ``cells`` as in the sweep's result.json, each with its task and method; ``drawn``, the
        task as it was drawn; ``run``, the directory; ``notices``.
    """
    shots = setting.shots if shots is None else shots
    run = unit_name(task, shots, seed)

    def measure() -> Record:
        result = jaxsvd.sweep(
            model,
            task.task,
            layers=setting.layers if layers is None else layers,
            modules=setting.modules,
            rates=setting.rates,
            shots=None if shots is None else (shots,),
            seeds=(seed,),
            **own_run(study, run),
            **setting.of(task),
        )
        return cells_record(task, run, result.record)

    return study.once({"task": task.name, "shots": shots, "seed": seed}, measure)


def search(
    study: Study,
    model: Model,
    setting: Setting,
    task: TaskSetting,
    seed: int,
    module: str,
    layer: LayerChoice | int,
) -> Record:
    """Algorithm 1 on one draw.

    Returns:
        The fields of a search in result.json, with ``task``, ``module``, ``seed``, ``layer``,
        ``top``, ``chance``; ``cells``, the validation set's, each beside the untouched model; and
        what :func:`sweep` tells of a run.
    """
    at = layer.layer if isinstance(layer, LayerChoice) else layer
    run = f"{unit_name(task, setting.shots, seed)}-{module}-layer-{at}"

    def measure() -> Record:
        result = jaxsvd.search(
            model,
            task.task,
            module=module,
            layer=layer,
            rates=setting.rates,
            shots=setting.shots,
            seed=seed,
            **own_run(study, run),
            **setting.of(task),
        )
        return {
            "top": list(result.choice.top),
            "best_rate": result.best_rate,
            "chance": result.task.chance,
            "validation": result.record["validation"],
            "test": result.record["test"],
            **cells_record(task, run, result.record | {"cells": _validation(study, result)}),
        }

    unit = {"task": task.name, "module": module, "layer": at, "seed": seed}
    return study.once(unit, measure)


def _validation(study: Study, result: SearchResult) -> list[Record]:
    """A search's validation points, with what its predictions tell of each change."""
    assert result.out is not None
    outcomes = read_outcomes(result.out / PREDICTIONS, study.progress)
    points, _ = paired(result.points, outcomes)
    return [point.to_json() for point in points if point.split == "validation"]


def own_run(study: Study, name: str) -> Record:
    """Arguments for a command of the library that runs in a directory of its own."""
    return {
        "out": study.path / name,
        "resume": True,  # whatever is there is this very experiment's
        "save_prompts": study.options.save_prompts,
        "progress": study.progress,
    }


def unit_name(task: TaskSetting, shots: int | None, seed: int) -> str:
    """Of the run directory of a draw."""
    return f"{task.name}-{'' if shots is None else f'{shots}-shots-'}seed-{seed}"


def cells_record(
    task: TaskSetting, run: str, result: Mapping[str, Any], method: str = "svd"
) -> Record:
    """What an experiment keeps of a run with cells."""
    return {
        "cells": [{"task": task.name, "method": method, **cell} for cell in result["cells"]],
        "drawn": result["task"],
        "run": run,
        "notices": result["notices"],
    }


def score_edits(
    study: Study,
    model: Model,
    encoded_task: EncodedTask,
    split: str,
    edits: Sequence[Edit],
    run: str,
    **options: Any,
) -> Record:
    """Score a split under one edit at a time, as a sweep does, in a run directory of its own.

    Args:
        study: of the experiment.
        model: whose weights are edited.
        encoded_task: the questions of the split.
        split: ``"validation"`` or ``"test"``.
        edits: of each module and layer one at rate 0 among them.
        run: name of the directory.
        options: what else decides the results, for run.json.

    Returns:
        result.json of the run, with a sweep's ``cells``.
    """

    def score(opened: Run) -> tuple[list[Point], list[Prediction]]:
        variants = [(edit,) for edit in edits]
        scored = score_split(
            model.engine, encoded_task, split, variants, run=opened, progress=study.progress
        )
        right = right_answers(scored)
        points = points_of_edits(model.engine, encoded_task, split, edits, right)
        return points, [line for lines in scored for line in lines]

    return run_of_cells(study, model, encoded_task, score, run, split=split, **options)


def run_of_cells(
    study: Study,
    model: Model,
    encoded_task: EncodedTask,
    score: Callable[[Run], tuple[list[Point], list[Prediction]]],
    run: str,
    **options: Any,
) -> Record:
    """A run directory of points; ``score`` measures them and gives its predictions too."""
    watch, started = Stopwatch(), datetime.datetime.now(datetime.UTC)
    request = request_record(study.command[2], model, encoded_task, **options)
    at = study.path / run
    with Run.open(at, request, resume=True, progress=study.progress) as opened:
        if study.options.save_prompts:
            save_prompts_of(opened, [encoded_task])
        with watch.on("score"):
            points, predictions = score(opened)
        result = {
            "command": list(study.command),
            "model": model_record(model).to_json(),
            "task": encoded_task.task_record().to_json(),
            **options,
            "cells": [point.to_json() for point in corrected(points)],
            "notices": list(encoded_task.notices),
            "started": started.isoformat(timespec="seconds"),
            "seconds": {"load": model.load_seconds} | watch.record(),
        } | surroundings()
        write_predictions(opened, [predictions])
        opened.finish(result)
        return result


def chosen_layer(study: Study, model: Model, module: str) -> LayerChoice:
    """Steps 2 and 3 of Algorithm 1, once for all of an experiment's searches."""

    def measure() -> Record:
        choice = choose_layer(model, module, progress=study.progress)
        return {"layer": choice.layer, "top": list(choice.top), "numbers": list(choice.numbers)}

    record = study.once({"choice": module}, measure)
    return LayerChoice(record["layer"], tuple(record["top"]), tuple(record["numbers"]))


def tasks_record(units: Sequence[Mapping[str, Any]]) -> Record:
    """The ``tasks`` of result.json: each as it was drawn, shots and seeds as lists if several."""
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for unit in units:
        by_task.setdefault(unit["task"], []).append(unit["drawn"])
    tasks = {}
    for name, drawn in by_task.items():
        tasks[name] = dict(drawn[0])
        for key in ("shots", "seed"):
            values = list(dict.fromkeys(draw[key] for draw in drawn))
            tasks[name][key] = values[0] if len(values) == 1 else values
    return tasks


def gathered(model: Model, done: Sequence[Mapping[str, Any]]) -> Record:
    """The parts of result.json that all experiments with cells have."""
    cells = pooled.judged([cell for unit in done for cell in unit["cells"]])
    return {
        "model": model_record(model).to_json(),
        "tasks": tasks_record(done),
        "cells": cells,
        "points": pooled.points(cells),
        "runs": [unit["run"] for unit in done],
        "notices": list(dict.fromkeys(line for unit in done for line in unit["notices"])),
    }
