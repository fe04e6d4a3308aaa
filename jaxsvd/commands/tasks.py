"""The built-in tasks in lines, and what a task file makes of its data."""

import collections
from collections.abc import Iterator
from pathlib import Path

from jaxsvd.checkpoints.hub import model_directory
from jaxsvd.model import load_tokenizer
from jaxsvd.tasks import describe, prepare
from jaxsvd.tasks.base import Prepared, Question
from jaxsvd.tasks.bundled import SUMMARY


def described() -> Iterator[str]:
    """Every task's name, labels, sizes and source."""
    for task in describe():
        sizes = f"{task.shots} shots"
        if task.paper:
            sizes += f", {task.paper.validation:,} validation and {task.paper.test:,} test rows by "
            sizes += "--paper-sizes"
        labels = "a choice" if task.kind == "choices" else " ".join(task.labels)
        yield f"{task.name:<11} {task.description}: {labels}; {sizes}; {task.source}"
    yield f"{'bundled':<11} {SUMMARY}"


def checked(
    task: str | Path, model: str | None = None, *, data: str | Path | None = None
) -> Iterator[str]:
    """What a task file makes of its data: sizes, labels, a prompt; read whole, no model is run.

    Args:
        task: the path of a task file, or a name.
        model: whose tokenizer counts the labels' tokens; only its tokenizer is read.
        data: the folder that the data files are in.

    Yields:
        Lines.

    Raises:
        UserError: the first thing that is wrong with the file, its data or the model.
    """
    prepared = prepare(task, data=data)
    yield f"task    {prepared.name}, from {prepared.source}"
    yield from (f"notice  {notice}" for notice in prepared.notices)
    yield (
        f"sizes   {prepared.shots} demonstrations, {len(prepared.validation):,} validation and "
        f"{len(prepared.test):,} test examples"
    )
    if prepared.rule == "choice":
        yield f"choices {len(prepared.labels)} a question, each scored by its mean per token"
    else:
        yield from _labels(prepared)
    if model is not None:
        yield from _tokens(prepared, model)
    yield "prompt  as the model reads it; the answer that is right follows in brackets"
    yield from _shown(prepared.test[0])


def _labels(prepared: Prepared) -> Iterator[str]:
    questions = (*prepared.validation, *prepared.test)
    counts = collections.Counter(question.gold for question in questions)
    for position, word in enumerate(prepared.labels):
        share = counts[position] / len(questions)
        yield f"label   {word}: {counts[position]:,} of {len(questions):,} examples ({share:.0%})"


def _tokens(prepared: Prepared, model: str) -> Iterator[str]:
    """How the tokenizer cuts the candidates of the first test question, each after its prompt."""
    tokenizer = load_tokenizer(model_directory(model, None))
    question = prepared.test[0]
    before = tokenizer.encode(question.query, add_special_tokens=False)
    firsts = []
    for candidate in question.candidates:
        ids = tokenizer.encode(question.query + candidate, add_special_tokens=False)
        own = ids[len(before) :] if ids[: len(before)] == before else ids[-1:]
        pieces = " ".join(map(repr, (tokenizer.decode([i]) for i in own)))
        firsts.append(own[0] if own else None)
        yield f"tokens  {candidate.strip()}: {len(own)} ({pieces})"
    if prepared.rule == "label" and len(set(firsts)) < len(firsts):
        yield "tokens  labels share their first token: each is scored by the sum of its tokens"


def _shown(question: Question) -> Iterator[str]:
    """A prompt, its lines indented, with the answer."""
    answer = question.candidates[question.gold]
    yield from ("        " + line for line in f"{question.prompt} [{answer.strip()}]".split("\n"))
