"""Every combination of layers, modules, clipping rates, shots and seeds, on the validation set."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from jaxtyping import Bool

from jaxsvd import svd
from jaxsvd.commands.search import check_rates
from jaxsvd.devices import distributed
from jaxsvd.devices.sharding import mesh_record
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import smallest_rank
from jaxsvd.encoded_task import EncodedTask, ValidationOptions, encode_task
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.limits import Limits
from jaxsvd.model import Model
from jaxsvd.models.matrices import layer_index, matrices
from jaxsvd.results.points import Point, corrected
from jaxsvd.results.statistics import Accuracy, paired_difference
from jaxsvd.runs.directory import PREDICTIONS, PROMPTS, Record, surroundings
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.score import (
    Stopwatch,
    model_record,
    request_record,
    right_answers,
    score_split,
)

MODULES = ("mlp", "attn")
"""The groups of matrices that the paper sweeps (Fig. 1)."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep measured.

    Attributes:
        points: by shots, seed, layer, module and rate; each truncated one with its change against
            the untouched model on the same examples, if rate 0 was among the rates.
        record: everything, as in result.json.
        out: the run directory, if one was written.
    """

    points: tuple[Point, ...]
    record: dict[str, Any]
    out: Path | None

    @property
    def cells(self) -> list[dict[str, Any]]:
        """The ``cells`` of result.json."""
        return self.record["cells"]


def sweep(
    model: Model,
    task: str | Path = "bundled",
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
        task: a name (see :func:`jaxsvd.tasks.prepare`) or the path of a task file.
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
    chosen = _layers(model, layers)
    modules = _distinct("modules", modules)
    for module in modules:
        matrices(model.config, module)
    distributed.refuse_existing(out, resume=resume)
    with watch.on("encode"):
        encoded_tasks = [
            encode_task(model, task, ("validation",), shots=n, seed=seed, progress=progress, **draw)
            for n in (_distinct("shots", shots) if shots is not None else (None,))
            for seed in _distinct("seeds", seeds)
        ]
    options = {"layers": chosen, "modules": modules, "rates": rates, "svd": method}
    request = _request(model, encoded_tasks, options)
    with distributed.opened(out, request, resume=resume, progress=progress) as run:
        if run and save_prompts:
            prompts = [record for e in encoded_tasks for record in e.prompt_records()]
            run.write_lines(PROMPTS, prompts)

        engine = model.engine
        points: list[Point] = []
        records: list[Record] = []
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
            records += [record for found in scored for record in found]
        points = corrected(points)
        record = _record(model, encoded_tasks, points, options, watch)
        record |= {"started": started.isoformat(timespec="seconds")}
        record |= surroundings() | mesh_record(model.mesh)
        if run:
            run.write_lines(PREDICTIONS, records)
            run.finish(record)
        return SweepResult(tuple(points), record, run.path if run else None)


def _layers(model: Model, layers: Sequence[int] | Literal["all"]) -> tuple[int, ...]:
    """Indices from 0, ascending and each once."""
    if layers == "all":
        return tuple(range(model.config.layers))
    indices = {layer_index(model.config, int(layer)) for layer in _distinct("layers", layers)}
    return tuple(sorted(indices))


def _distinct(name: str, values: Sequence[Any]) -> tuple[Any, ...]:
    if not values:
        raise UserError(f"no {name}; give at least one")
    return tuple(dict.fromkeys(values))


def _request(
    model: Model, encoded_tasks: Sequence[EncodedTask], options: Mapping[str, Any]
) -> Record:
    request = dict(request_record("sweep", model, encoded_tasks[0], **options))
    request["task"] = _task(encoded_tasks)
    request["questions"] = [encoded_task.fingerprint() for encoded_task in encoded_tasks]
    return request


def _task(encoded_tasks: Sequence[EncodedTask]) -> Record:
    """The ``task`` object: shots and seed are lists where there are several."""
    task = encoded_tasks[0].task_record()
    for name in ("shots", "seed"):
        values = list(dict.fromkeys(getattr(e.prepared, name) for e in encoded_tasks))
        task[name] = values[0] if len(values) == 1 else values
    for name in ("shortened_prompts", "dropped_demonstrations", "skipped_queries"):
        task[name] = sum(e.task_record()[name] for e in encoded_tasks)
    shown = [e.shown for e in encoded_tasks]
    task["shown_demonstrations"] = [min(a for a, _ in shown), max(b for _, b in shown)]
    return task


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


def _record(
    model: Model,
    encoded_tasks: Sequence[EncodedTask],
    points: Sequence[Point],
    options: Mapping[str, Any],
    watch: Stopwatch,
) -> Record:
    return {
        "command": "sweep",
        "model": model_record(model),
        "task": _task(encoded_tasks),
        **options,
        "cells": [cell_record(point) for point in points],
        "notices": list(dict.fromkeys(n for e in encoded_tasks for n in e.notices)),
        "memory": {"stream_bytes": Limits.of_device(model.mesh).stream_bytes},
        "seconds": {"load": model.load_seconds} | watch.record(),
    }


def cell_record(point: Point) -> Record:
    """One of the ``cells`` of result.json."""
    cell = {
        "module": point.module,
        "layer": point.layer,
        "rate": point.rate,
        "rank": point.rank,
        "shots": point.shots,
        "seed": point.seed,
    } | point.accuracy.record()
    if point.change is not None:
        cell |= {
            "difference": point.change.difference,
            "difference_interval": list(point.change.interval),
            "p_value": point.change.p_value,
            "gained": point.change.gained,
            "lost": point.change.lost,
            "beyond_noise": point.beyond_noise,
        }
    return cell
