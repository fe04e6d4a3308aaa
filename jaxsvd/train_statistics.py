"""Calibration data: what a model's matrices read on training examples of a task."""

from collections.abc import Sequence
from pathlib import Path

from jaxsvd import tasks
from jaxsvd.edits.edit import CALIBRATED, Edits, matrix_edits
from jaxsvd.engine.input_statistics import InputStatistics, input_statistics
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.tasks.base import Prepared, Task

PROMPTS = 16
"""Rows of demonstrations that are read."""


def needs_statistics(edits: Edits) -> bool:
    """Whether some of the edits weigh a matrix by what it reads."""
    return any(edit.method in CALIBRATED for edit in edits)


def train_statistics(
    model: Model,
    task: Task,
    edits: Edits,
    *,
    data: str | Path | None = None,
    shots: int | None = None,
    seed: int | None = None,
    validation_size: int | None = None,
    test_size: int | None = None,
    prompts: int = PROMPTS,
    progress: Progress = SILENT,
) -> InputStatistics:
    """Statistics of what edited matrices read, on demonstrations of other draws.

    Demonstrations are training examples. Those that stand in the validation or the test set of the
    draw with ``seed`` are left out.

    Args:
        model: that is edited.
        task, data, shots, seed, validation_size, test_size: of the draw that will be scored.
        edits: whose matrices are looked at.
        prompts: draws, each giving a row of demonstrations.
        progress: where to show it.

    Raises:
        UserError: a task or data that cannot be had; a task without demonstrations.
    """
    own = tasks.prepare(
        task,
        data=data,
        shots=shots,
        seed=seed,
        validation_size=validation_size,
        test_size=test_size,
    )
    return statistics_beside(
        model, task, [edits], [own], data=data, prompts=prompts, progress=progress
    )


def statistics_beside(
    model: Model,
    task: Task,
    edited: Sequence[Edits],
    draws: Sequence[Prepared],
    *,
    data: str | Path | None = None,
    template: str | None = None,
    label_field: str | None = None,
    prompts: int = PROMPTS,
    progress: Progress = SILENT,
) -> InputStatistics:
    """Statistics of what the matrices of any of some edits read, beside draws that are scored.

    Args:
        model: that is edited.
        task: of the draws.
        edited: edits that are scored one by one.
        draws: whose validation and test examples are left out.
        data, template, label_field: of the task, see :func:`jaxsvd.tasks.prepare`.
        prompts: further draws, each giving a row of demonstrations.
        progress: where to show it.

    Raises:
        UserError: a task without demonstrations.
    """
    own = draws[0]
    if own.shots == 0:
        raise UserError("calibrated truncation reads demonstrations; --shots should be at least 1")
    first = max(draw.seed for draw in draws) + 1
    others = [
        tasks.prepare(
            task,
            data=data,
            shots=own.shots,
            seed=first + i,
            validation_size=1,
            test_size=1,
            template=template,
            label_field=label_field,
        )
        for i in range(prompts)
    ]
    rows = train_texts(draws, others)
    places = dict.fromkeys(
        (edit.layer, edit.module) for edits in edited for edit in matrix_edits(edits, model.config)
    )
    encoded = [model.tokenizer.encode(row)[: model.config.context] for row in rows]
    source = f"{len(rows)} rows of {own.shots} training examples of {own.name}, seeds from {first}"
    return input_statistics(model.decoder, encoded, places, source=source, progress=progress)


def train_texts(draws: Sequence[Prepared], others: Sequence[Prepared]) -> list[str]:
    """The demonstrations of other draws, one text a draw, without those that some draws score.

    Args:
        draws: the draws that are scored.
        others: draws whose demonstrations are taken.
    """
    scored = {question.query for draw in draws for question in (*draw.validation, *draw.test)}
    texts = []
    for other in others:
        shown = (*other.validation, *other.test)[0].demonstrations
        fresh = [line for line in shown if not _asks(line, scored)]
        if fresh:
            texts.append("".join(fresh))
    return texts


def _asks(line: str, queries: set[str]) -> bool:
    """Whether a demonstration, a query with a space and a label, is of one of some queries."""
    return any(line[:end] in queries for end, letter in enumerate(line) if letter == " ")
