"""Questions scored under several clipping rates, resumable, as arrays of right and wrong."""

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxsvd.examination import Examination
from jaxsvd.model import Model
from jaxsvd.progress import Progress
from jaxsvd.runs import Record, Run
from jaxsvd.scoring.encoding import Encoded
from jaxsvd.scoring.engine import Engine
from jaxsvd.scoring.lines import Group
from jaxsvd.tasks.base import Prepared, Question
from jaxsvd.truncation import Truncations


@dataclass
class Stopwatch:
    """Seconds spent, by the name of what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextlib.contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Adds the time inside to ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def record(self) -> Record:
        """For result.json: ``total`` first."""
        return {"total": time.perf_counter() - self.started} | self.seconds


def predict(scores: Float[np.ndarray, " candidates"]) -> int:
    """The candidate with the best score, the first of equals; NaN never wins."""
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))


def score_split(
    engine: Engine,
    examination: Examination,
    split: str,
    what: Truncations,
    *,
    run: Run | None,
    progress: Progress,
) -> tuple[Bool[np.ndarray, "rates examples"], list[Record]]:
    """Score a split at every rate; what a run has already is not scored again.

    Args:
        engine: holds the weights.
        examination: the questions.
        split: ``"validation"`` or ``"test"``.
        what: the truncations to score.
        run: gets a record of each example as it is finished; None keeps no file.
        progress: where to show it.

    Returns:
        Which examples are right at each rate, and all prediction records, by rate and then in
        the order of the questions.
    """
    encoded = examination.encoded
    positions = examination.positions(split)
    position_of = {encoded.questions[i].index: i for i in positions}
    records: dict[tuple[float, int], Record] = {}
    for record in run.done if run else ():
        position = position_of.get(record.get("index", -1))
        ours = record.get("split") == split and record.get("rate") in what.rates
        if ours and position is not None and _same_target(record, what):
            records[record["rate"], position] = record
    done = {i for i in positions if all((rate, i) in records for rate in what.rates)}
    with progress.bar(f"scoring {split}", len(positions), "examples") as advance:
        advance(len(done))
        waiting: list[Record] = []
        saved = time.monotonic()
        here = _only(encoded, positions)
        for position, scores in engine.score(here, what.branches, done=done):
            if position in done:
                continue
            question = encoded.questions[position]
            for rate, row in zip(what.rates, scores, strict=True):
                if (rate, position) not in records:
                    record = _record(examination.prepared, question, what, rate, row)
                    records[rate, position] = record
                    waiting.append(record)
            advance(1)
            if run and time.monotonic() - saved > 0.5:  # syncing each example would take over
                run.append(waiting)
                waiting, saved = [], time.monotonic()
        if run and waiting:
            run.append(waiting)
    ordered = [records[rate, i] for rate in what.rates for i in positions]
    right = np.array([r["prediction"] == r["gold"] for r in ordered], bool)
    return right.reshape(len(what.rates), len(positions)), ordered


def _same_target(record: Record, what: Truncations) -> bool:
    return record.get("module") == what.module and record.get("layer") == what.layer


def _record(
    prepared: Prepared,
    question: Question,
    what: Truncations,
    rate: float,
    scores: Float[np.ndarray, " candidates"],
) -> Record:
    return {
        "split": question.split,
        "module": what.module,
        "layer": what.layer,
        "rate": rate,
        "shots": prepared.shots,
        "seed": prepared.seed,
        "index": question.index,
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
    command: str, model: Model, examination: Examination, **options: Any
) -> Mapping[str, Any]:
    """What decides the results of a run: a resumed one must be asked the same."""
    task = examination.task_record()
    return {
        "command": command,
        "model": model_record(model) | {"files": str(Path(model.directory).resolve())},
        "task": task,
        "questions": examination.fingerprint(),
        **options,
    }
