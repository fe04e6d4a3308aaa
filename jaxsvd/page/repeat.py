"""The command that repeats a run, from what its records say was asked."""

import os
import shlex
from collections.abc import Iterable
from typing import Any

from jaxsvd.results.read import FinishedRun
from jaxsvd.tasks.specs import SPECS

_BUILT_IN = (*SPECS, "bundled")


def repeat(run: FinishedRun) -> tuple[str | None, list[str]]:
    """A command line for a shell, and what it cannot say.

    Args:
        run: of any command.

    Returns:
        The command, without ``--out`` (a repetition has its own run directory); None where the
        records do not tell it. Then what the reader should know about it, a sentence each.
    """
    command = run.result["command"]
    if isinstance(command, list):  # the words as typed
        return shlex.join(_without(map(str, command), ("--out",), ("--resume",))), []
    if command not in ("search", "sweep", "evaluate", "condition"):
        return None, []
    asked = run.result | run.request
    model, task = asked["model"], asked.get("task")
    notes: list[str] = []
    words = ["jaxsvd", command]
    if model["source"] != "bundled":
        words.append(model["source"])
        if os.path.sep in model["source"] and not os.path.isabs(model["source"]):
            notes.append("Paths are relative to where the run was started.")
    words += _option("--revision", model.get("revision"))
    if task:
        words += _task_words(command, task, asked.get("asked") or {}, notes)
    if command == "sweep":
        words += _sweep_words(run.result["cells"])
    else:
        words += _option("--layer", asked.get("layer"))
        words += _option("--module", asked.get("module"))
        words += _option("--rates", asked.get("rates"))
        words += _option("--top-layers", asked.get("top_layers"))
    words += _option("--svd", asked.get("svd"))
    words += _option("--dtype", model["dtype"])
    if run.prompts:
        words.append("--save-prompts")
    return shlex.join(words), notes


def _option(name: str, value: Any) -> list[str]:
    """An option with its values; nothing where there is none."""
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    return [name, *(f"{v:g}" if isinstance(v, float) else str(v) for v in values)]


def _task_words(
    command: str, task: dict[str, Any], asked: dict[str, Any], notes: list[str]
) -> list[str]:
    """The task and its draw, from what was asked or, in runs that lack it, from what was drawn."""
    if not asked:
        asked = _guessed(task, notes)
    words = ["--task", asked["task"], *_option("--data", asked["data"])]
    words += _option("--protocol", task.get("protocol"))
    if command != "sweep":
        words += _option("--shots", task.get("shots")) + _option("--seed", task.get("seed"))
    words += _option("--validation-size", asked["validation_size"])
    if command != "sweep":
        words += _option("--test-size", asked["test_size"])
    words += ["--skip-long"] * bool(asked["skip_long"])
    return words + ["--allow-zero-shot"] * bool(asked.get("allow_zero_shot"))


def _guessed(task: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """What was asked, as far as what was drawn tells."""
    name, source = task["name"], str(task.get("source", ""))
    files = source.removeprefix("files: ").split(", ") if source.startswith("files: ") else []
    built_in, skipped = name in _BUILT_IN, task.get("skipped_queries") or 0
    if not built_in:
        notes.append(f"TASK.toml stands for the file of the task {name}.")
    if skipped:
        notes.append(
            f"{skipped:,} questions were left out as too long and the sizes that were asked for "
            "are not recorded: add --validation-size and --test-size if they were given."
        )
    folder = os.path.commonpath([os.path.dirname(f) or "." for f in files]) if files else None
    return {
        "task": name if built_in else "TASK.toml",
        "data": folder if built_in else None,
        "validation_size": None if skipped else task.get("validation_size") or None,
        "test_size": None if skipped else task.get("test_size") or None,
        "skip_long": bool(skipped),
    }


def _sweep_words(cells: list[dict[str, Any]]) -> list[str]:
    """The values that the cells run over."""
    names = {"layer": "--layers", "module": "--modules", "rate": "--rates"}
    names |= {"shots": "--shots", "seed": "--seeds"}
    words = []
    for key, option in names.items():
        words += _option(option, list(dict.fromkeys(cell[key] for cell in cells)))
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
