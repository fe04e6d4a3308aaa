"""Questions scored under several clipping rates, resumable, as arrays of right and wrong."""

import contextlib
import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxsvd import tasks
from jaxsvd.errors import UserError
from jaxsvd.model import Model
from jaxsvd.progress import SILENT, Progress
from jaxsvd.runs import PROMPTS, Record, Run
from jaxsvd.scoring.encoding import Encoded, Group, encode
from jaxsvd.scoring.engine import Engine
from jaxsvd.tasks.base import Prepared, Protocol, Question
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


@dataclass(frozen=True)
class Examination:
    """A prepared task, encoded for a model.

    Attributes:
        prepared: the task.
        encoded: its validation questions, then its test questions.
    """

    prepared: Prepared
    encoded: Encoded

    @classmethod
    def of(
        cls,
        model: Model,
        prepared: Prepared,
        *,
        skip_long: bool = False,
        progress: Progress = SILENT,
    ) -> "Examination":
        """Encode all questions of a task."""
        questions = (*prepared.validation, *prepared.test)
        encoded = encode(
            model.tokenizer,
            questions,
            prepared.rule,
            context=model.config.context,
            round_size=prepared.round_size,
            skip_long=skip_long,
            progress=progress,
        )
        return cls(prepared, encoded)

    def positions(self, split: str) -> list[int]:
        """Where the questions of a split are among those encoded."""
        return [i for i, q in enumerate(self.encoded.questions) if q.split == split]

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about the data."""
        e, notices = self.encoded, [*self.prepared.notices]
        if e.shortened:
            notices.append(
                f"{e.shortened} of {len(e.questions)} prompts were longer than the model's "
                f"context and lost demonstrations from the front, {e.dropped} in all"
            )
        if e.skipped:
            notices.append(
                f"{e.skipped} of {len(e.questions) + e.skipped} questions were left out: the "
                "query alone is longer than the model's context"
            )
        return tuple(notices)

    def fingerprint(self) -> str:
        """A hash of every prompt, candidate and answer: the same data and draw have the same."""
        digest = hashlib.sha256()
        for q in self.encoded.questions:
            digest.update(json.dumps([q.split, q.index, q.prompt, q.candidates, q.gold]).encode())
        return digest.hexdigest()[:16]

    def task_record(self) -> Record:
        """The ``task`` object of result.json."""
        p, e = self.prepared, self.encoded
        return {
            "name": p.name,
            "source": p.source,
            "protocol": p.protocol,
            "shots": p.shots,
            "seed": p.seed,
            "validation_size": len(self.positions("validation")),
            "test_size": len(self.positions("test")),
            "labels": list(p.labels),
            "rule": p.rule,
            "scoring": e.scoring,
            "chance": chance(e.questions),
            "shortened_prompts": e.shortened,
            "dropped_demonstrations": e.dropped,
            "skipped_queries": e.skipped,
        }

    def prompt_records(self) -> list[Record]:
        """The lines of prompts.jsonl."""
        choices = self.prepared.rule in ("choice", "scripts-choice")
        return [
            {
                "split": q.split,
                "index": q.index,
                "shots": self.prepared.shots,
                "seed": self.prepared.seed,
                "shown": len(q.demonstrations),  # fewer than shots where they did not fit
                "prompt": q.prompt,
                "gold": q.gold,
                ("choices" if choices else "labels"): list(q.candidates),
            }
            for q in self.encoded.questions
        ]

    def save_prompts(self, run: Run) -> None:
        """Write prompts.jsonl."""
        run.write_lines(PROMPTS, self.prompt_records())


def examine(
    model: Model,
    task: str | Path,
    splits: Sequence[str],
    *,
    data: str | Path | None,
    shots: int | None,
    seed: int | None,
    validation_size: int | None,
    test_size: int | None,
    protocol: Protocol,
    skip_long: bool,
    progress: Progress,
) -> Examination:
    """Draw a task's questions and encode those of the given splits; tell the user's notices.

    Raises:
        UserError: a task, data or size that cannot be had; an empty split.
    """
    prepared = tasks.prepare(
        task,
        data=data,
        shots=shots,
        seed=seed,
        validation_size=validation_size,
        test_size=test_size,
        protocol=protocol,
    )
    prepared = prepared if "validation" in splits else prepared.without_validation()
    examination = Examination.of(model, prepared, skip_long=skip_long, progress=progress)
    for split in splits:
        if not examination.positions(split):
            raise UserError(f"the {split} set is empty; it needs at least one example")
    for notice in examination.notices:
        progress.notice(notice)
    return examination


def chance(questions: Sequence[Question]) -> float:
    """Accuracy of a uniform guess."""
    return float(np.mean([1 / len(q.candidates) for q in questions])) if questions else 0.0


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
