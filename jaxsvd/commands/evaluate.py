"""Plain in-context accuracy: the paper's baseline, and what a search is compared with."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from jaxsvd.devices import distributed
from jaxsvd.encoded_task import (
    DrawOptions,
    encode_draws,
    example_numbers,
    save_prompts_of,
    task_of_draws,
)
from jaxsvd.model import Model
from jaxsvd.results.evaluation import Evaluation, EvaluationDraw
from jaxsvd.results.over_draws import accuracy_over_draws
from jaxsvd.results.statistics import Accuracy
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.score import (
    Stopwatch,
    edit_records,
    label_counts,
    measured,
    model_record,
    request_record,
    right_answers,
    score_split,
    write_predictions,
)
from jaxsvd.tasks.base import Task


def evaluate(
    model: Model,
    task: Task = "bundled",
    *,
    seeds: Sequence[int] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    save_prompts: bool = False,
    progress: Progress = SILENT,
    **draw: Unpack[DrawOptions],
) -> Evaluation:
    """In-context accuracy on the test set, nothing truncated.

    The arguments are those of :func:`jaxsvd.search`; with the same ones the test set is the same.

    Raises:
        UserError: anything that the caller can mend, before anything is written.
    """
    watch, started = Stopwatch(), datetime.datetime.now(datetime.UTC)
    distributed.refuse_existing(out, resume=resume)
    with watch.on("encode"):
        tasks = encode_draws(model, task, ("test",), seeds, progress=progress, **draw)
    labels = tasks[0].prepared.labels
    request = request_record("evaluate", model, *tasks)
    with distributed.opened(out, request, resume=resume, progress=progress) as run:
        if run and save_prompts:
            save_prompts_of(run, tasks)
        with watch.on("score"):
            scored = [
                score_split(model.engine, encoded_task, "test", [()], run=run, progress=progress)[0]
                for encoded_task in tasks
            ]
        right = [right_answers([lines])[0] for lines in scored]
        draws = tuple(
            EvaluationDraw(task.prepared.seed, Accuracy.of(row), label_counts(labels, [lines]))
            for task, row, lines in zip(tasks, right, scored, strict=True)
        )
        result = Evaluation(
            model=model_record(model),
            task=task_of_draws(tasks),
            notices=tuple(dict.fromkeys(n for e in tasks for n in e.notices)),
            accuracy=accuracy_over_draws(right, example_numbers(tasks, "test")),
            draws=() if seeds is None else draws,
            label_counts=label_counts(labels, [[line for lines in scored for line in lines]]),
            edits=edit_records(model),
            measured=measured(model, watch, started),
            out=run.path if run else None,
        )
        if run:
            write_predictions(run, scored)
            run.finish(result.to_json())
    return result
