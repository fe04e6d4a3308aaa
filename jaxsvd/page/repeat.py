"""The command that repeats a run, from what its records say was asked."""

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jaxsvd.results.conditions import ConditionResult
from jaxsvd.results.fields import COUNT, FLAG, TEXT, Fields
from jaxsvd.results.other import OtherResult
from jaxsvd.results.points import Point
from jaxsvd.results.read import FinishedRun
from jaxsvd.results.records import TaskRecord
from jaxsvd.results.sweep import SweepResult
from jaxsvd.tasks.specs import SPECS

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
    asked = dict(run.fields) | dict(run.request)
    notes: list[str] = []
    words = ["jaxsvd", result.command]
    source = result.model.source
    if source != "bundled":
        words.append(source)
        if os.path.sep in source and not os.path.isabs(source):
            notes.append("Paths are relative to where the run was started.")
    words += _option("--revision", result.model.revision)
    if not isinstance(result, ConditionResult):
        drawn = AskedDraw.from_json(run.request.get("asked")) or _guessed(result.task, notes)
        words += _task_words(result.command, result.task, drawn)
    if isinstance(result, SweepResult):
        words += _sweep_words(result.points)
    else:
        for name in ("layer", "module", "rates", "top_layers", *_SELECTION):
            words += _option(f"--{name.replace('_', '-')}", asked.get(name))
    words += _option("--svd", asked.get("svd")) + _option("--score", asked.get("score"))
    words += _option("--dtype", result.model.dtype)
    if run.prompts:
        words.append("--save-prompts")
    return shlex.join(words), notes


@dataclass(frozen=True)
class AskedDraw:
    """What was asked of :func:`jaxsvd.encoded_task.encode_task`; None where the default was."""

    task: str
    data: str | None
    validation_size: int | None
    test_size: int | None
    skip_long: bool
    allow_zero_shot: bool = False

    @classmethod
    def from_json(cls, value: object) -> "AskedDraw | None":
        """The ``asked`` of run.json; None where it has none, as in runs before 0.1.0.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        if not value:
            return None
        fields = Fields.of(value, "asked")
        return cls(
            task=fields.read("task", TEXT),
            data=fields.maybe("data", TEXT),
            validation_size=fields.maybe("validation_size", COUNT),
            test_size=fields.maybe("test_size", COUNT),
            skip_long=fields.maybe("skip_long", FLAG) or False,
            allow_zero_shot=fields.maybe("allow_zero_shot", FLAG) or False,
        )


def _option(name: str, value: object) -> list[str]:
    """An option with its values; nothing where there is none."""
    if value is None:
        return []
    values = value if isinstance(value, list | tuple) else [value]
    return [name, *(f"{v:g}" if isinstance(v, float) else str(v) for v in values)]


def _task_words(command: str, task: TaskRecord, drawn: AskedDraw) -> list[str]:
    """The task and its draw."""
    words = ["--task", drawn.task, *_option("--data", drawn.data)]
    words += _option("--protocol", task.protocol)
    if command != "sweep":
        several = isinstance(task.seed, tuple)
        words += _option("--shots", task.shots)
        words += _option("--seeds" if several else "--seed", task.seed)
    words += _option("--validation-size", drawn.validation_size)
    if command != "sweep":
        words += _option("--test-size", drawn.test_size)
    words += ["--skip-long"] * drawn.skip_long
    return words + ["--allow-zero-shot"] * drawn.allow_zero_shot


def _guessed(task: TaskRecord, notes: list[str]) -> AskedDraw:
    """What was asked, as far as what was drawn tells."""
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
    return AskedDraw(
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
