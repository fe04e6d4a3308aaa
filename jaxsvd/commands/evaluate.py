"""Plain in-context accuracy: the paper's baseline, and what a search is compared with."""

import datetime
from pathlib import Path
from typing import Unpack

from jaxsvd.devices import distributed
from jaxsvd.encoded_task import DrawOptions, encode_task
from jaxsvd.model import Model
from jaxsvd.results.evaluation import Evaluation
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


def evaluate(
    model: Model,
    task: str | Path = "bundled",
    *,
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
        encoded_task = encode_task(model, task, ("test",), progress=progress, **draw)
    request = request_record("evaluate", model, encoded_task)
    with distributed.opened(out, request, resume=resume, progress=progress) as run:
        if run and save_prompts:
            encoded_task.save_prompts(run)
        with watch.on("score"):
            scored = score_split(
                model.engine, encoded_task, "test", [()], run=run, progress=progress
            )
        [right] = right_answers(scored)
        result = Evaluation(
            model=model_record(model),
            task=encoded_task.task_record(),
            notices=encoded_task.notices,
            accuracy=Accuracy.of(right),
            label_counts=label_counts(encoded_task.prepared.labels, scored),
            edits=edit_records(model),
            measured=measured(model, watch, started),
            out=run.path if run else None,
        )
        if run:
            write_predictions(run, scored)
            run.finish(result.to_json())
    return result
