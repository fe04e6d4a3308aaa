"""Which examples were answered right: from a run of ours, or from samples of lm-evaluation-harness.

The harness writes ``samples_TASK_DATE.jsonl`` with ``--log_samples``: a line an example, with
``doc_id``, ``doc``, ``filter`` and the value of each metric.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxsvd.results.read import read_lines, read_run
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress

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
    if (where / "result.json").exists() or not (found := _newest_samples(where)):
        answers = _of_run(where, progress)
        return {answers.task: answers}
    return {task: _of_samples(file, task, metric, progress) for task, file in found.items()}


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
    result: Any = run.result
    command = result["command"]
    if command not in ("search", "evaluate"):
        raise UserError(f"{path}: a run of {command}; compare takes search, evaluate or samples")
    if run.predictions is None:
        raise UserError(f"{path}: no predictions.jsonl there: nothing to pair")
    rate = float(result["best_rate"]) if command == "search" else 0.0
    right, gold = {}, {}
    for number, line in read_lines(run.predictions, "predictions", progress):
        try:
            if line["split"] != "test" or float(line["rate"]) != rate:
                continue
            key = str(line["split"]), int(line["index"])
            right[key] = line["prediction"] == line["gold"]
            gold[key] = str(line["gold"])
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{run.predictions}, line {number}: damaged: not a prediction"
            ) from None
    texts = {}
    for _, line in read_lines(run.prompts, "prompts", progress) if run.prompts else ():
        texts[str(line.get("split")), line.get("index")] = _last_lines(str(line.get("prompt")))
    return Answers(str(result["task"]["name"]), str(path), right, gold, texts)


def _last_lines(prompt: str) -> str:
    """The query, behind the demonstrations."""
    return "\n".join(prompt.strip().splitlines()[-2:])


def _of_samples(path: Path, task: str, metric: str | None, progress: Progress) -> Answers:
    right, gold, texts = {}, {}, {}
    for number, line, value in _values(path, metric, progress):
        try:
            key = str(line.get("filter", "none")), int(line["doc_id"])
            right[key] = bool(value)
            gold[key] = str(line.get("target"))
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{path}, line {number}: damaged: not a sample") from None
        texts[key] = json.dumps(line.get("doc"), ensure_ascii=False)
    if not right:
        raise UserError(f"{path}: no samples there")
    return Answers(task, str(path), right, gold, texts)


def _values(
    path: Path, metric: str | None, progress: Progress
) -> Iterator[tuple[int, dict[str, Any], float]]:
    """Line number, line, and the value of the metric, 0 or 1."""
    for number, line in read_lines(path, "samples", progress):
        there = [name for name in line.get("metrics", METRICS) if name in line]
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
        yield number, line, value
