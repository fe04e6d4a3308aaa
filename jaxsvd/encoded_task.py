"""A task's questions, drawn and encoded for a model."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

import numpy as np
from jaxtyping import Int

from jaxsvd import tasks
from jaxsvd.engine.encoding import Encoded, encode
from jaxsvd.model import Model
from jaxsvd.results.prompts import Prompt
from jaxsvd.results.records import Several, TaskRecord
from jaxsvd.results.request import DrawRequest
from jaxsvd.runs.directory import PROMPTS, Run
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.paths import resolved
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.runtime.rust_errors import from_rust
from jaxsvd.tasks.base import Prepared, Protocol, Question, Task

T = TypeVar("T")


@dataclass(frozen=True)
class EncodedTask:
    """A prepared task, encoded for a model.

    Attributes:
        prepared: the task.
        encoded: its validation questions, then its test questions.
        request: arguments of :func:`encode_task`, to draw the same again; None where the questions
            came from elsewhere.
    """

    prepared: Prepared
    encoded: Encoded
    request: DrawRequest | None = None

    @classmethod
    def of(
        cls,
        model: Model,
        prepared: Prepared,
        *,
        skip_long: bool = False,
        allow_zero_shot: bool = False,
        request: DrawRequest | None = None,
        progress: Progress = SILENT,
    ) -> "EncodedTask":
        """Encode all questions of a task."""
        questions = (*prepared.validation, *prepared.test)
        try:
            encoded = encode(
                model.tokenizer,
                questions,
                prepared.rule,
                context=model.config.context,
                round_size=prepared.round_size,
                skip_long=skip_long,
                allow_zero_shot=allow_zero_shot,
                progress=progress,
            )
        except BaseException as error:
            if not from_rust(error):
                raise
            raise UserError(
                f"{model.directory}: the tokenizer is damaged and encodes nothing ({error})"
            ) from None
        _check_vocabulary(model, encoded)
        return cls(prepared, encoded, request)

    def positions(self, split: str) -> list[int]:
        """Where the questions of a split are among those encoded."""
        return [i for i, q in enumerate(self.encoded.questions) if q.split == split]

    @property
    def shown(self) -> tuple[int, int]:
        """The fewest and the most demonstrations that a prompt has kept."""
        counts = {len(question.demonstrations) for question in self.encoded.questions}
        return min(counts), max(counts)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about the data."""
        e, notices = self.encoded, [*self.prepared.notices]
        if e.shortened:
            notices.append(
                f"{e.shortened} of {len(e.questions)} prompts were longer than the model's "
                f"context and lost demonstrations from the front, {e.dropped} in all; "
                f"{self.shown[0]} to {self.shown[1]} of {self.prepared.shots} are shown"
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

    def task_record(self) -> TaskRecord:
        """The ``task`` of result.json."""
        p, e = self.prepared, self.encoded
        return TaskRecord(
            name=p.name,
            source=p.source,
            protocol=p.protocol,
            shots=p.shots,
            seed=p.seed,
            validation_size=len(self.positions("validation")),
            test_size=len(self.positions("test")),
            labels=tuple(p.labels),
            rule=p.rule,
            scoring=e.scoring,
            chance=chance(e.questions),
            shortened_prompts=e.shortened,
            dropped_demonstrations=e.dropped,
            fewest_demonstrations=self.shown[0],
            most_demonstrations=self.shown[1],
            skipped_queries=e.skipped,
        )

    def prompt_records(self) -> list[Prompt]:
        """The lines of prompts.jsonl."""
        return [
            Prompt(
                split=q.split,
                index=q.index,
                shots=self.prepared.shots,
                seed=self.prepared.seed,
                shown=len(q.demonstrations),
                prompt=q.prompt,
                gold=q.gold,
                candidates=tuple(q.candidates),
                choices=self.prepared.rule in ("choice", "scripts-choice"),
            )
            for q in self.encoded.questions
        ]


def save_prompts_of(run: Run, draws: Sequence[EncodedTask]) -> None:
    """Write prompts.jsonl."""
    prompts = (prompt.to_json() for draw in draws for prompt in draw.prompt_records())
    run.write_lines(PROMPTS, prompts)


def task_of_draws(draws: Sequence[EncodedTask]) -> TaskRecord:
    """The ``task`` of one or more draws: shots and seed are tuples where there are several."""
    tasks = [draw.task_record() for draw in draws]

    def one_or_more(values: Iterable[Several]) -> Several:
        distinct_values = tuple(v for v in dict.fromkeys(values) if isinstance(v, int))
        return distinct_values[0] if len(distinct_values) == 1 else distinct_values

    def total(counts: Iterable[int | None]) -> int:
        return sum(count or 0 for count in counts)

    return replace(
        tasks[0],
        shots=one_or_more(task.shots for task in tasks),
        seed=one_or_more(task.seed for task in tasks),
        shortened_prompts=total(task.shortened_prompts for task in tasks),
        dropped_demonstrations=total(task.dropped_demonstrations for task in tasks),
        fewest_demonstrations=min(draw.shown[0] for draw in draws),
        most_demonstrations=max(draw.shown[1] for draw in draws),
        skipped_queries=total(task.skipped_queries for task in tasks),
    )


def _check_vocabulary(model: Model, encoded: Encoded) -> None:
    """Refuse tokens that the model has no embedding for; looked up, they would be other tokens."""
    size = model.config.vocabulary
    if max(model.tokenizer.get_vocab().values(), default=0) < size:
        return
    labels = np.asarray(encoded.label_ids, np.int32)
    for group in encoded.groups:
        for line in group.lines:
            largest = int(np.concatenate([group.prefix, line.tokens, line.targets, labels]).max())
            if largest >= size:
                question = encoded.questions[line.request]
                token = model.tokenizer.convert_ids_to_tokens(largest)
                raise UserError(
                    f"row {question.index} of {question.split}: the tokenizer gives the token "
                    f"{token!r} the number {largest}, and the model has {size} (0 to "
                    f"{size - 1}): they do not belong together"
                )


class ValidationOptions(TypedDict, total=False):
    """What may be asked of the draws of a sweep; see :func:`encode_task`."""

    data: str | Path | None
    validation_size: int | None
    protocol: Protocol
    paper_sizes: bool
    template: str | None
    label_field: str | None
    skip_long: bool
    allow_zero_shot: bool


class DrawOptions(ValidationOptions, total=False):
    """Options of a draw; see :func:`encode_task` and :func:`jaxsvd.tasks.prepare`."""

    shots: int | None
    seed: int | None
    test_size: int | None


def encode_task(
    model: Model,
    task: Task,
    splits: Sequence[str],
    *,
    progress: Progress = SILENT,
    skip_long: bool = False,
    allow_zero_shot: bool = False,
    data: str | Path | None = None,
    shots: int | None = None,
    seed: int | None = None,
    validation_size: int | None = None,
    test_size: int | None = None,
    protocol: Protocol = "clean",
    paper_sizes: bool = False,
    template: str | None = None,
    label_field: str | None = None,
) -> EncodedTask:
    """Draw a task's questions and encode those of the given splits; tell the user's notices.

    Args:
        model: gives the tokenizer and the context.
        task: see :func:`jaxsvd.tasks.prepare`.
        splits: ``"validation"``, ``"test"`` or both.
        progress: where to show it.
        skip_long: leave out questions whose query alone is longer than the model's context,
            instead of failing.
        allow_zero_shot: keep prompts that have no room for any of their demonstrations, instead
            of failing.
        data: folder with the task's files, instead of the hub.
        shots: demonstrations in all; the task's default if left out.
        seed: of the draw of demonstrations and splits.
        validation_size: examples that choose the rate.
        test_size: examples that report it.
        protocol: the paper's prompts and splits, or those of the reference scripts.
        paper_sizes: sizes that are left out are the paper's, not at most 2,000.
        template, label_field: of examples in memory.

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
        paper_sizes=paper_sizes,
        template=template,
        label_field=label_field,
    )
    # Examples in memory cannot be drawn again from a record.
    request = None
    if isinstance(task, str | Path):
        request = DrawRequest(
            task=str(task) if prepared.name == str(task) else str(resolved(task)),
            data=None if data is None else str(resolved(data)),
            validation_size=validation_size,
            test_size=test_size,
            paper_sizes=paper_sizes,
            skip_long=skip_long,
            allow_zero_shot=allow_zero_shot,
        )
    encoded_task = EncodedTask.of(
        model,
        prepared.only(splits),
        skip_long=skip_long,
        allow_zero_shot=allow_zero_shot,
        request=request,
        progress=progress,
    )
    for split in splits:
        if not encoded_task.positions(split):
            raise UserError(
                f"the {split} set is empty; --{split}-size should be at least 1, and the data "
                "should have examples for it"
            )
    for notice in (*getattr(model.tokenizer, "notices", ()), *encoded_task.notices):
        progress.notice(notice)
    return encoded_task


def encode_draws(
    model: Model,
    task: Task,
    splits: Sequence[str],
    seeds: Sequence[int] | None,
    *,
    progress: Progress = SILENT,
    **draw: Unpack[DrawOptions],
) -> list[EncodedTask]:
    """One draw, or one for each of several seeds.

    Args:
        model, task, splits, progress, draw: see :func:`encode_task`.
        seeds: of the draws; None is one draw, of the ``seed`` among ``draw``.

    Raises:
        UserError: as :func:`encode_task`; a seed beside seeds; no seeds.
    """
    if seeds is None:
        return [encode_task(model, task, splits, progress=progress, **draw)]
    if draw.get("seed") is not None:
        raise UserError("give a seed or several seeds, not both")
    draws = []
    for seed in distinct("seeds", seeds):
        options: DrawOptions = {**draw, "seed": int(seed)}
        draws.append(encode_task(model, task, splits, progress=progress, **options))
    return draws


def distinct(name: str, values: Sequence[T]) -> tuple[T, ...]:
    """Values, each once, in order.

    Raises:
        UserError: there are none.
    """
    if not len(values):
        raise UserError(f"no {name}; give at least one")
    return tuple(dict.fromkeys(values))


def example_numbers(draws: Sequence[EncodedTask], split: str) -> list[Int[np.ndarray, " examples"]]:
    """A number for each question of a split, in its order: equal where draws share an example.

    Rows of one number need not be one example: a task that makes its own data has others for
    every seed.
    """
    numbers: dict[tuple[int, str, tuple[str, ...]], int] = {}
    rows = []
    for draw in draws:
        questions = [draw.encoded.questions[i] for i in draw.positions(split)]
        keys = [(q.index, q.query, tuple(q.candidates)) for q in questions]
        rows.append(np.array([numbers.setdefault(key, len(numbers)) for key in keys]))
    return rows


def chance(questions: Sequence[Question]) -> float:
    """Accuracy of a uniform guess."""
    return float(np.mean([1 / len(q.candidates) for q in questions])) if questions else 0.0
