"""Which examples were answered right: from a run of ours, or from samples of lm-evaluation-harness.

The harness writes ``samples_TASK_DATE.jsonl`` with ``--log_samples``: a line an example, with
``doc_id``, ``doc``, ``filter`` and the value of each metric.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxsvd.results.evaluation import Evaluation
from jaxsvd.results.fields import COUNT, TEXT, Damaged, Fields
from jaxsvd.results.lines import read_lines
from jaxsvd.results.predictions import read_predictions
from jaxsvd.results.prompts import read_prompts
from jaxsvd.results.read import read_run
from jaxsvd.results.search import SearchResult
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress

END = 120
"""Characters of a prompt that tell which question it is."""

METRICS = ("acc", "exact_match", "acc_norm", "em")
"""Metrics of the harness that are right or wrong, in the order of preference."""

_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d{2}-\d{2}T[\d.\-:]+)\.jsonl")

Key = tuple[str, int]
"""A split (or a filter of the harness) and the number of the example in it."""


@dataclass(frozen=True)
class Answers:
    """The answers of one model to the examples of one task.

    Attributes:
        task: its name.
        source: the run directory or file.
        right: by example.
        gold: the right candidate, or target, as text, by example: it tells whether two files hold
            the same examples.
        texts: what was asked, by example; empty where the files do not hold it.
    """

    task: str
    source: str
    right: dict[Key, bool]
    gold: dict[Key, str]
    texts: dict[Key, str]


def read_answers(
    path: str | Path, *, metric: str | None = None, progress: Progress = SILENT
) -> dict[str, Answers]:
    """The answers of a run by task.

    Args:
        path: a run directory of ``search`` (its truncated model on test) or ``evaluate``, a
            ``samples_*.jsonl`` of the harness, or a folder in which the harness left some: then
            the newest of each task.
        metric: of the harness, 0 or 1 for each example; the first of :data:`METRICS` that is
            there if left out.
        progress: where to show the reading of large files.

    Raises:
        UserError: no such file, a damaged one, or one whose metric is not right or wrong.
    """
    where = Path(path)
    if where.is_file():
        match = _SAMPLES.fullmatch(where.name)
        task = match["task"] if match else where.stem.removeprefix("samples_")
        return {task: _of_samples(where, task, metric, progress)}
    if (where / "result.json").exists() or not (samples := _newest_samples(where)):
        answers = _of_run(where, progress)
        return {answers.task: answers}
    return {task: _of_samples(file, task, metric, progress) for task, file in samples.items()}


def _newest_samples(folder: Path) -> dict[str, Path]:
    newest: dict[str, tuple[str, Path]] = {}
    for file in sorted(folder.rglob("samples_*.jsonl")) if folder.is_dir() else ():
        if match := _SAMPLES.fullmatch(file.name):
            newest[match["task"]] = max(
                newest.get(match["task"], ("", file)), (match["date"], file)
            )
    return {task: file for task, (_, file) in newest.items()}


def _of_run(path: Path, progress: Progress) -> Answers:
    run = read_run(path)
    if isinstance(run.result, SearchResult):
        rate = run.result.best_rate
    elif isinstance(run.result, Evaluation):
        rate = 0.0
    else:
        command = run.result.command
        said = command if isinstance(command, str) else " ".join(command)
        raise UserError(f"{path}: a run of {said}; compare takes search, evaluate or samples")
    if run.predictions is None:
        raise UserError(f"{path}: no predictions.jsonl there: nothing to pair")
    right, gold = {}, {}
    several = isinstance(run.result.task.seed, tuple)
    for line in read_predictions(run.predictions, progress):
        if line.split == "test" and line.rate == rate:
            key = _draw(line.split, line.seed, several), line.index
            right[key] = line.right
            gold[key] = str(line.gold)
    texts = {}
    for prompt in read_prompts(run.prompts, progress) if run.prompts else ():
        key = _draw(prompt.split, prompt.seed, several), prompt.index
        texts[key] = query_end(prompt.prompt)
    return Answers(run.result.task.name, str(path), right, gold, texts)


def _draw(split: str, seed: int | None, several: bool) -> str:
    """Of which draw an example is, where there are several: each shows it others before."""
    return f"{split}, seed {seed}" if several else split


def query_end(prompt: str) -> str:
    """The end of a prompt on one line: the query stands there, behind the demonstrations."""
    text = " ".join(prompt.split())
    if len(text) <= END:
        return text
    _, space, words = text[4 - END :].partition(" ")  # from the first whole word on
    return f"... {words if space else text[4 - END :]}"


def _of_samples(path: Path, task: str, metric: str | None, progress: Progress) -> Answers:
    right, gold, texts = {}, {}, {}
    for number, line, value in _values(path, metric, progress):
        try:
            key = line.maybe("filter", TEXT) or "none", line.read("doc_id", COUNT)
        except Damaged as error:
            raise UserError(f"{path}, line {number}: damaged: not a sample ({error})") from None
        right[key] = value
        gold[key] = str(line.values.get("target"))
        texts[key] = json.dumps(line.values.get("doc"), ensure_ascii=False)
    if not right:
        raise UserError(f"{path}: no samples there")
    return Answers(task, str(path), right, gold, texts)


def _values(
    path: Path, metric: str | None, progress: Progress
) -> Iterator[tuple[int, Fields, bool]]:
    """Line number, line, and the value of the metric, 0 or 1."""
    for number, line in read_lines(path, "samples", progress):
        listed = line.get("metrics", METRICS)
        names = listed if isinstance(listed, list | tuple) else METRICS
        there = [str(name) for name in names if name in line]
        metric = metric or next((name for name in METRICS if name in there), None)
        if metric is None or metric not in line:
            raise UserError(
                f"{path}, line {number}: no metric {metric or 'of ' + ', '.join(METRICS)}; "
                f"--metric names one of: {', '.join(there) or 'none there'}"
            )
        value = line[metric]
        if value not in (0, 1):
            raise UserError(
                f"{path}, line {number}: {metric} = {value!r} is neither right (1) nor wrong (0): "
                "a paired test of answers needs one or the other"
            )
        yield number, Fields(line), bool(value)
