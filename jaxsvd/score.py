"""Questions scored under variants of the weights, resumable, as arrays of right and wrong."""

import contextlib
import datetime
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxsvd.checkpoints import fingerprint
from jaxsvd.devices.compilation import compile_seconds
from jaxsvd.devices.sharding import mesh_record
from jaxsvd.edits.edit import Edit, Edits, format_edits
from jaxsvd.edits.replacement import matrix_shapes, variants
from jaxsvd.encoded_task import EncodedTask, task_of_draws
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.input_statistics import InputStatistics
from jaxsvd.engine.requests import only
from jaxsvd.engine.variants import Replacement
from jaxsvd.model import Model
from jaxsvd.results.label_counts import LabelCounts
from jaxsvd.results.predictions import Prediction, complete
from jaxsvd.results.records import EditRecord, Measured, ModelRecord
from jaxsvd.results.request import RunRequest
from jaxsvd.runs.directory import PREDICTIONS, Run, surroundings
from jaxsvd.runtime.paths import resolved
from jaxsvd.runtime.progress import Progress
from jaxsvd.tasks.base import Prepared, Question


@dataclass
class Stopwatch:
    """Seconds spent, by the name of what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    compiled: float = field(default_factory=compile_seconds)

    @contextlib.contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Adds the time inside to ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def record(self) -> dict[str, float]:
        """For result.json: ``total`` first; ``compile`` is part of the others."""
        total = time.perf_counter() - self.started
        return {"total": total} | self.seconds | {"compile": compile_seconds() - self.compiled}


def predict(scores: Float[np.ndarray, " candidates"]) -> int:
    """The candidate with the best score, the first of equals; NaN never wins."""
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))


class Cell(NamedTuple):
    """How predictions.jsonl names a variant of the weights.

    Attributes:
        module, layer, rate: of its only edit; None, None and 0 for the model as it is.
        edits: as they are written, where there are several; None elsewhere.
    """

    module: str | None
    layer: int | None
    rate: float | None
    edits: str | None = None

    @classmethod
    def of(cls, edits: Edits) -> "Cell":
        """The name of a variant."""
        if not edits:
            return cls(None, None, 0.0)
        if len(edits) == 1 and edits[0].rate is not None:
            return cls(edits[0].module, edits[0].layer, edits[0].rate)
        return cls(None, None, None, format_edits(edits))


Key = tuple[Cell, int]
"""What a score belongs to: a variant, and the question's index in its source."""


def score_split(
    engine: Engine,
    encoded_task: EncodedTask,
    split: str,
    edited: Sequence[Edits],
    *,
    matrices: Mapping[Edit, Replacement] | None = None,
    statistics: InputStatistics | None = None,
    cells: Sequence[Cell] | None = None,
    positions: Sequence[int] | None = None,
    run: Run | None,
    progress: Progress,
) -> list[list[Prediction]]:
    """Score a split under edits; what a run has already is not scored again.

    Args:
        engine: holds the weights.
        encoded_task: the questions.
        split: ``"validation"`` or ``"test"``.
        edited: the edits of each variant; none are the model as it is.
        matrices: their matrices, if several calls use them; see
            :func:`jaxsvd.edits.replacement.variants`.
        statistics: of the inputs of the matrices, for edits whose method is calibrated.
        cells: what predictions.jsonl calls each variant; after its edits if left out.
        positions: where the questions to be scored are among the encoded ones; all of the split
            if left out.
        run: gets a line of each example as it is finished; None keeps no file.
        progress: where to show it.

    Returns:
        For each variant its predictions, in the order of the questions.
    """
    encoded, prepared = encoded_task.encoded, encoded_task.prepared
    positions = encoded_task.positions(split) if positions is None else positions
    cells = [Cell.of(edits) for edits in edited] if cells is None else cells
    indices = {encoded.questions[i].index for i in positions}
    records = {
        key: line
        for line in map(complete, run.done if run else ())
        if line is not None
        and (line.split, line.shots, line.seed) == (split, prepared.shots, prepared.seed)
        and (key := _key(line))[0] in cells
        and key[1] in indices
    }

    def key_of(variant: int, request: int) -> Key:
        return cells[variant], encoded.questions[request].index

    def done(variant: int, request: int) -> bool:
        return key_of(variant, request) in records

    count = len(set(cells)) * len(positions)
    with progress.bar(f"scoring {split}", count, "examples") as advance:
        advance(len(records))
        waiting: list[Prediction] = []
        saved = time.monotonic()
        groups = only(encoded.groups, positions)
        edited_models = variants(engine, edited, matrices=matrices, statistics=statistics)
        scored = engine.score_groups(groups, edited_models, done=done)
        try:
            for variant, position, scores in scored:
                key = key_of(variant, position)
                if key not in records:
                    scores = encoded.tied(position, scores)
                    records[key] = _prediction(
                        prepared, encoded.questions[position], key[0], scores
                    )
                    waiting.append(records[key])
                    advance(1)
                if run and time.monotonic() - saved > 0.5:  # syncing each example would take over
                    run.append(line.to_json() for line in waiting)
                    waiting, saved = [], time.monotonic()
        finally:  # of Ctrl-C too
            if run and waiting:
                run.append(line.to_json() for line in waiting)
    return [[records[cell, encoded.questions[i].index] for i in positions] for cell in cells]


def _key(line: Prediction) -> Key:
    return Cell(line.module, line.layer, line.rate, line.edits), line.index


def right_answers(scored: Sequence[Sequence[Prediction]]) -> Bool[np.ndarray, "variants examples"]:
    """Which examples each variant has right, from what :func:`score_split` returns."""
    return np.array([[line.right for line in lines] for lines in scored], bool)


def _prediction(
    prepared: Prepared, question: Question, cell: Cell, scores: Float[np.ndarray, " candidates"]
) -> Prediction:
    return Prediction(
        split=question.split,
        module=cell.module,
        layer=cell.layer,
        rate=cell.rate,
        edits=cell.edits,
        shots=prepared.shots,
        seed=prepared.seed,
        index=question.index,
        gold=question.gold,
        prediction=predict(scores),
        scores=tuple(float(f"{score:.9g}") for score in scores),  # all that float32 holds
    )


def write_predictions(run: Run, scored: Iterable[Iterable[Prediction]]) -> None:
    """Write predictions.jsonl anew, in the order given: as scored they are in another."""
    run.write_lines(PREDICTIONS, (line.to_json() for lines in scored for line in lines))


def label_counts(labels: Sequence[str], scored: Sequence[Sequence[Prediction]]) -> LabelCounts:
    """How often each label is said.

    Args:
        labels: words of the candidates, in label order.
        scored: predictions of the untouched model, then of a truncated one, if any.
    """
    gold = np.array([line.gold for line in scored[0]])
    said = [np.array([line.prediction for line in lines]) for lines in scored]
    return LabelCounts.of(labels, gold, said[0], said[1] if len(said) > 1 else None)


def model_record(model: Model) -> ModelRecord:
    """The ``model`` of result.json."""
    return ModelRecord(
        source=model.source,
        revision=model.revision,
        family=model.config.family,
        layers=model.config.layers,
        parameters=model.parameters,
        dtype=model.dtype,
        edits=edit_records(model),
        quantization=model.quantization,
    )


def edit_records(model: Model) -> tuple[EditRecord, ...]:
    """The ``edits`` of result.json: those of a model, with the ranks that they keep."""
    return tuple(edit_record(model.engine, edit) for edit in model.history)


def edit_record(engine: Engine, edit: Edit) -> EditRecord:
    """One of the ``edits`` of result.json."""
    edit = edit.resolved(engine.config)
    return EditRecord(
        layer=edit.layer,
        module=edit.module,
        rate=edit.rate,
        ranks=edit.ranks(engine.config, matrix_shapes(engine, edit.layer)),
        method=None if edit.method == "exact" else edit.method,
        seed=edit.seed if edit.random else None,
    )


def measured(model: Model, watch: Stopwatch, started: datetime.datetime) -> Measured:
    """When, how long and with what a command measured, as it ends."""
    return Measured.of(
        started.isoformat(timespec="seconds"),
        {"load": model.load_seconds} | watch.record(),
        surroundings() | mesh_record(model.mesh),
    )


def request_record(
    command: str, model: Model, encoded_task: EncodedTask, *others: EncodedTask, **options: Any
) -> dict[str, object]:
    """What decides the results of a run: a resumed one must have the same.

    Args:
        command: its name.
        model: as it is scored, or edited further.
        encoded_task: the draw that is scored.
        others: further draws; a sweep's questions are a list even of one draw.
        options: of the command.
    """
    draws = (encoded_task, *others)
    questions = [draw.fingerprint() for draw in draws]
    several = len(draws) > 1 or command == "sweep"
    return RunRequest(
        command=command,
        model=model_record(model),
        files=str(resolved(model.directory)),
        contents=fingerprint.of_model(Path(model.directory)),
        task=task_of_draws(draws),
        questions=tuple(questions) if several else questions[0],
        draw=encoded_task.request,
        options=options,
    ).to_json()
