"""The command that repeats a run, from its records."""

import os
import shlex
from collections.abc import Iterable, Sequence

from jaxsvd.results.conditions import ConditionResult
from jaxsvd.results.other import OtherResult
from jaxsvd.results.points import Point
from jaxsvd.results.read import FinishedRun
from jaxsvd.results.records import TaskRecord
from jaxsvd.results.request import DrawRequest
from jaxsvd.results.sweep import SweepResult
from jaxsvd.tasks.built_in import SPECS

_BUILT_IN = (*SPECS, "bundled")
_SELECTION = (
    "select",
    "layers",
    "modules",
    "epsilon",
    "delta",
    "margin",
    "most_edits",
    "proposals",
)


def repeat(run: FinishedRun) -> tuple[str | None, list[str]]:
    """A command line for a shell, and what it cannot say.

    Args:
        run: of any command.

    Returns:
        The command, without ``--out`` (a repetition has its own run directory); None where the
        records do not tell it. Then what the reader should know about it, a sentence each.
    """
    result = run.result
    if isinstance(result, OtherResult):
        if isinstance(result.command, str):
            return None, []
        return shlex.join(_without(result.command, ("--out",), ("--resume",))), []
    request = run.typed_request
    options = dict(run.fields) | dict(request.options if request else {})
    notes: list[str] = []
    words = ["jaxsvd", result.command]
    source = result.model.source
    if source != "bundled":
        words.append(source)
        if os.path.sep in source and not os.path.isabs(source):
            notes.append("Paths are relative to where the run was started.")
    words += _option("--revision", result.model.revision)
    if not isinstance(result, ConditionResult):
        drawn = (request and request.draw) or _guessed(result.task, notes)
        words += _task_words(result.command, result.task, drawn)
    if isinstance(result, SweepResult):
        words += _sweep_words(result.points)
    else:
        for name in ("layer", "module", "rates", "top_layers", *_SELECTION):
            words += _option(f"--{name.replace('_', '-')}", options.get(name))
    words += _option("--svd", options.get("svd")) + _option("--score", options.get("score"))
    words += _option("--dtype", result.model.dtype)
    if run.prompts:
        words.append("--save-prompts")
    return shlex.join(words), notes


def _option(name: str, value: object) -> list[str]:
    """An option with its values; nothing where there is none."""
    if value is None:
        return []
    values = value if isinstance(value, list | tuple) else [value]
    return [name, *(repr(v).removesuffix(".0") if isinstance(v, float) else str(v) for v in values)]


def _task_words(command: str, task: TaskRecord, drawn: DrawRequest) -> list[str]:
    """The task and its draw."""
    words = ["--task", drawn.task, *_option("--data", drawn.data)]
    words += _option("--protocol", task.protocol)
    if command != "sweep":
        several = isinstance(task.seed, tuple)
        words += _option("--shots", task.shots)
        words += _option("--seeds" if several else "--seed", task.seed)
    validation_size, test_size = drawn.validation_size, drawn.test_size
    if drawn.paper_sizes is None and not task.skipped_queries:
        # Of an earlier version, which had other defaults.
        validation_size = validation_size or task.validation_size or None
        test_size = test_size or task.test_size or None
    words += _option("--validation-size", validation_size)
    if command != "sweep":
        words += _option("--test-size", test_size)
    words += ["--paper-sizes"] * bool(drawn.paper_sizes)
    words += ["--skip-long"] * drawn.skip_long
    return words + ["--allow-zero-shot"] * bool(drawn.allow_zero_shot)


def _guessed(task: TaskRecord, notes: list[str]) -> DrawRequest:
    """The arguments of a draw, as far as its record implies them."""
    source = task.source or ""
    files = source.removeprefix("files: ").split(", ") if source.startswith("files: ") else []
    built_in, skipped = task.name in _BUILT_IN, task.skipped_queries or 0
    if not built_in:
        notes.append(f"TASK.toml stands for the file of the task {task.name}.")
    if skipped:
        notes.append(
            f"{skipped:,} questions were left out as too long and the sizes that were asked for "
            "are not recorded: add --validation-size and --test-size if they were given."
        )
    folder = os.path.commonpath([os.path.dirname(f) or "." for f in files]) if files else None
    return DrawRequest(
        task=task.name if built_in else "TASK.toml",
        data=folder if built_in else None,
        validation_size=None if skipped else task.validation_size or None,
        test_size=None if skipped else task.test_size or None,
        skip_long=bool(skipped),
    )


def _sweep_words(points: Sequence[Point]) -> list[str]:
    """The values that the points run over."""
    names = {"layer": "--layers", "module": "--modules", "rate": "--rates"}
    names |= {"shots": "--shots", "seed": "--seeds"}
    words = []
    for name, option in names.items():
        words += _option(option, list(dict.fromkeys(getattr(p, name) for p in points)))
    return words


def _without(
    words: Iterable[str], with_value: tuple[str, ...], alone: tuple[str, ...]
) -> list[str]:
    """The words of a command without some of its options."""
    kept, skip = [], False
    for word in words:
        if skip or word in alone or word.startswith(tuple(f"{name}=" for name in with_value)):
            skip = False
        elif word in with_value:
            skip = True
        else:
            kept.append(word)
    return kept
