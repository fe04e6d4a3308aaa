"""Plain in-context accuracy: the paper's baseline, and what a search is compared with."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from jaxsvd.devices import distributed
from jaxsvd.devices.sharding import mesh_record
from jaxsvd.encoded_task import DrawOptions, encode_task
from jaxsvd.model import Model
from jaxsvd.results.statistics import Accuracy
from jaxsvd.runs.directory import PREDICTIONS, surroundings
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.score import (
    Stopwatch,
    label_counts,
    model_record,
    request_record,
    right_answers,
    score_split,
)


@dataclass(frozen=True)
class Evaluation:
    """Plain in-context accuracy: ``record`` is result.json, ``out`` the run directory."""

    accuracy: Accuracy
    record: dict[str, Any]
    out: Path | None


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
        accuracy = Accuracy.of(right)
        record = {
            "command": "evaluate",
            "model": model_record(model),
            "task": encoded_task.task_record(),
            "test": accuracy.record(),
            "notices": list(encoded_task.notices),
            "started": started.isoformat(timespec="seconds"),
            "seconds": {"load": model.load_seconds} | watch.record(),
        }
        record |= label_counts(encoded_task.prepared.labels, scored).to_json()
        if model.edits:
            record["edits"] = model.edit_records()
        record |= surroundings() | mesh_record(model.mesh)
        if run:
            run.write_lines(PREDICTIONS, scored[0])
            run.finish(record)
        return Evaluation(accuracy, record, run.path if run else None)
