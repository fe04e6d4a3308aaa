"""Every combination of layers, modules, clipping rates, shots and seeds, on the validation set."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar, Unpack

import numpy as np
from jaxtyping import Bool

from jaxsvd import svd
from jaxsvd.commands.search import check_rates
from jaxsvd.commands.search_candidates import layer_indices
from jaxsvd.devices import distributed
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import smallest_rank
from jaxsvd.encoded_task import (
    EncodedTask,
    ValidationOptions,
    distinct,
    encode_task,
    save_prompts_of,
    task_of_draws,
)
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.limits import Limits
from jaxsvd.model import Model
from jaxsvd.models.matrices import matrices
from jaxsvd.results.points import Point, corrected
from jaxsvd.results.predictions import Prediction
from jaxsvd.results.statistics import Accuracy, paired_difference
from jaxsvd.results.sweep import SweepResult
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.score import (
    Stopwatch,
    measured,
    model_record,
    request_record,
    right_answers,
    score_split,
    write_predictions,
)
from jaxsvd.tasks.base import Task

T = TypeVar("T")

MODULES = ("mlp", "attn")
"""The groups of matrices that the paper sweeps (Fig. 1)."""


def sweep(
    model: Model,
    task: Task = "bundled",
    *,
    layers: Sequence[int] | Literal["all"] = "all",
    modules: Sequence[str] = MODULES,
    rates: Sequence[float] = svd.RATES,
    shots: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    method: svd.Method = "exact",
    out: str | Path | None = None,
    resume: bool = False,
    save_prompts: bool = False,
    progress: Progress = SILENT,
    **draw: Unpack[ValidationOptions],
) -> SweepResult:
    """Validation accuracy of every combination; Fig. 1 and 2 of the paper.

    One pass through the untouched model serves all layers, modules and rates of a draw: every
    truncation branches off it at its layer.

    Args:
        model: see :func:`jaxsvd.load`.
        task: a name, the path of a task file, or examples: see :func:`jaxsvd.tasks.prepare`.
        layers: indices, negative ones counted from the end; all by default.
        modules: what is truncated, see :mod:`jaxsvd.models.matrices`.
        rates: in [0, 1).
        shots: demonstrations in all, one or more numbers; the task's own by default.
        seeds: of the draw of demonstrations and examples, one or more.
        method: exact SVD, or randomized as in the reference scripts.
        out: a new run directory; None writes nothing.
        resume: go on in a run directory that was interrupted.
        save_prompts: write prompts.jsonl too.
        progress: where to show it.
        draw: ``data``, ``validation_size``, ``protocol``, ``skip_long``,
            ``allow_zero_shot``: see
            :func:`jaxsvd.encoded_task.encode_task`.

    Raises:
        UserError: anything that the caller can mend, before anything is written.
    """
    watch, started = Stopwatch(), datetime.datetime.now(datetime.UTC)
    rates = check_rates(rates)
    chosen = layer_indices(model, layers)
    modules = distinct("modules", modules)
    for module in modules:
        matrices(model.config, module)
    distributed.refuse_existing(out, resume=resume)
    with watch.on("encode"):
        encoded_tasks = [
            encode_task(model, task, ("validation",), shots=n, seed=seed, progress=progress, **draw)
            for n in (distinct("shots", shots) if shots is not None else (None,))
            for seed in distinct("seeds", seeds)
        ]
    options = {"layers": chosen, "modules": modules, "rates": rates, "svd": method}
    request = request_record("sweep", model, *encoded_tasks, **options)
    with distributed.opened(out, request, resume=resume, progress=progress) as run:
        if run and save_prompts:
            save_prompts_of(run, encoded_tasks)

        engine = model.engine
        points: list[Point] = []
        lines: list[list[Prediction]] = []
        for encoded_task in encoded_tasks:
            edits = [
                Edit(layer, module, rate, method=method, seed=encoded_task.prepared.seed)
                for layer in chosen
                for module in modules
                for rate in rates
            ]
            with watch.on("score"):
                scored = score_split(
                    engine,
                    encoded_task,
                    "validation",
                    [(edit,) for edit in edits],
                    run=run,
                    progress=progress,
                )
            points += points_of_edits(
                engine, encoded_task, "validation", edits, right_answers(scored)
            )
            lines += scored
        result = SweepResult(
            model=model_record(model),
            task=task_of_draws(encoded_tasks),
            notices=tuple(dict.fromkeys(n for e in encoded_tasks for n in e.notices)),
            layers=chosen,
            modules=modules,
            rates=rates,
            method=method,
            points=tuple(corrected(points)),
            memory={"stream_bytes": Limits.of_device(model.mesh).stream_bytes},
            measured=measured(model, watch, started),
            out=run.path if run else None,
        )
        if run:
            write_predictions(run, lines)
            run.finish(result.to_json())
    return result


def points_of_edits(
    engine: Engine,
    encoded_task: EncodedTask,
    split: str,
    edits: Sequence[Edit],
    right: Bool[np.ndarray, "edits examples"],
) -> list[Point]:
    """Accuracies of edits made one at a time, each beside its module and layer at rate 0.

    Args:
        engine: holds the weights that are edited.
        encoded_task: gives the draw.
        split: that was scored.
        edits: each at a clipping rate; without rate 0 among those of its module and layer an
            edit has no change.
        right: which examples are right.
    """
    base = {
        (edit.module, edit.layer): row
        for edit, row in zip(edits, right, strict=True)
        if not edit.touches
    }
    points = []
    for edit, row in zip(edits, right, strict=True):
        before = base.get((edit.module, edit.layer)) if edit.touches else None
        assert edit.rate is not None
        points.append(
            Point(
                split,
                edit.module,
                edit.layer,
                edit.rate,
                smallest_rank(engine, edit),
                encoded_task.prepared.shots,
                encoded_task.prepared.seed,
                Accuracy.of(row),
                None if before is None else paired_difference(before, row),
            )
        )
    return points
