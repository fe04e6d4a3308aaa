"""Questions scored under several clipping rates, resumable, as arrays of right and wrong."""

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxsvd.checkpoints import fingerprint
from jaxsvd.devices.compilation import compile_seconds
from jaxsvd.edits.truncation import Truncations
from jaxsvd.encoded_task import EncodedTask
from jaxsvd.engine.encoding import Encoded
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.sequences import Group
from jaxsvd.model import Model
from jaxsvd.runs.directory import Record, Run
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

    def record(self) -> Record:
        """For result.json: ``total`` first; ``compile`` is part of the others."""
        total = time.perf_counter() - self.started
        return {"total": total} | self.seconds | {"compile": compile_seconds() - self.compiled}


def predict(scores: Float[np.ndarray, " candidates"]) -> int:
    """The candidate with the best score, the first of equals; NaN never wins."""
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))


Key = tuple[str | None, int | None, float, int]
"""What a score belongs to: module, layer, rate, and the question's index in its source."""


def score_split(
    engine: Engine,
    encoded_task: EncodedTask,
    split: str,
    cuts: Sequence[Truncations],
    *,
    run: Run | None,
    progress: Progress,
) -> list[list[Record]]:
    """Score a split under truncations; what a run has already is not scored again.

    Args:
        engine: holds the weights.
        encoded_task: the questions.
        split: ``"validation"`` or ``"test"``.
        cuts: the truncations to score.
        run: gets a record of each example as it is finished; None keeps no file.
        progress: where to show it.

    Returns:
        For each of the truncations the prediction records, by rate and then in the order of the
        questions.
    """
    encoded, prepared = encoded_task.encoded, encoded_task.prepared
    positions = encoded_task.positions(split)
    asked = {cell for what in cuts for cell in _cells(what)}
    indices = {encoded.questions[i].index for i in positions}
    records = {
        key: record
        for record in (run.done if run else ())
        if _complete(record)
        and record["split"] == split
        and (record["shots"], record["seed"]) == (prepared.shots, prepared.seed)
        and (key := _key(record))[:3] in asked
        and key[3] in indices
    }

    def key_of(point: int, variant: int, question: int) -> Key:
        what = cuts[point]
        return what.module, what.layer, what.rates[variant], encoded.questions[question].index

    def done(point: int, variant: int, question: int) -> bool:
        return key_of(point, variant, question) in records

    with progress.bar(f"scoring {split}", len(asked) * len(positions), "examples") as advance:
        advance(len(records))
        waiting: list[Record] = []
        saved = time.monotonic()
        scored = engine.score(_only(encoded, positions), [c.branches for c in cuts], done=done)
        try:
            for point, variant, position, scores in scored:
                key = key_of(point, variant, position)
                if key not in records:
                    records[key] = _record(prepared, encoded.questions[position], key, scores)
                    waiting.append(records[key])
                    advance(1)
                if run and time.monotonic() - saved > 0.5:  # syncing each example would take over
                    run.append(waiting)
                    waiting, saved = [], time.monotonic()
        finally:  # of Ctrl-C too
            if run and waiting:
                run.append(waiting)
    return [
        [records[*cell, encoded.questions[i].index] for cell in _cells(what) for i in positions]
        for what in cuts
    ]


def _cells(what: Truncations) -> list[tuple[str | None, int | None, float]]:
    return [(what.module, what.layer, rate) for rate in what.rates]


def _key(record: Record) -> Key:
    return record["module"], record["layer"], record["rate"], record["index"]


_TYPES = {
    "split": str,
    "module": str | None,
    "layer": int | None,
    "rate": int | float,
    "shots": int,
    "seed": int,
    "index": int,
    "gold": int,
    "prediction": int,
    "scores": list,
}


def _complete(record: Record) -> bool:
    """Whether a line of predictions.jsonl is one that we wrote; any other is scored again."""
    return record.keys() == _TYPES.keys() and all(
        isinstance(record[name], kind) for name, kind in _TYPES.items()
    )


def right_at_each_rate(
    records: Sequence[Record], what: Truncations
) -> Bool[np.ndarray, "rates examples"]:
    """Which examples are right, from the prediction records of truncations."""
    right = np.array([r["prediction"] == r["gold"] for r in records], bool)
    return right.reshape(len(what.rates), -1)


def _record(
    prepared: Prepared, question: Question, key: Key, scores: Float[np.ndarray, " candidates"]
) -> Record:
    module, layer, rate, index = key
    return {
        "split": question.split,
        "module": module,
        "layer": layer,
        "rate": rate,
        "shots": prepared.shots,
        "seed": prepared.seed,
        "index": index,
        "gold": question.gold,
        "prediction": predict(scores),
        "scores": [float(f"{score:.9g}") for score in scores],  # all that float32 holds
    }


def _only(encoded: Encoded, positions: Collection[int]) -> Encoded:
    """The same questions, the lines of some of them."""
    wanted = set(positions)
    groups = (
        Group(group.prefix, tuple(line for line in group.lines if line.question in wanted))
        for group in encoded.groups
    )
    return replace(encoded, groups=tuple(group for group in groups if group.lines))


def model_record(model: Model) -> Record:
    """The ``model`` object of result.json."""
    return {
        "source": model.source,
        "revision": model.revision,
        "family": model.config.family,
        "layers": model.config.layers,
        "parameters": model.parameters,
        "dtype": model.dtype,
    }


def request_record(
    command: str, model: Model, encoded_task: EncodedTask, **options: Any
) -> Mapping[str, Any]:
    """What decides the results of a run: a resumed one must be asked the same."""
    task = encoded_task.task_record()
    return {
        "command": command,
        "model": model_record(model)
        | {
            "files": str(Path(model.directory).resolve()),
            "contents": fingerprint.of_model(Path(model.directory)),
        },
        "task": task,
        "questions": encoded_task.fingerprint(),
        "asked": encoded_task.asked,
        **options,
    }
