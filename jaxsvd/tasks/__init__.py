"""Tasks: prompts, data sources, splits, and the paper's published numbers.

``prepare`` turns a task's name, or the user's own task file, into questions ready to be scored;
``describe`` lists what there is. The published results stand in ``jaxsvd.tasks.published``.
Importing this package loads neither ``datasets`` nor ``pyarrow``.
"""

import dataclasses
import importlib
import os
from pathlib import Path
from typing import Literal

from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.paths import resolved
from jaxsvd.tasks import clean, scripts, sources, userfile
from jaxsvd.tasks.base import Prepared, Protocol, Question, Rule
from jaxsvd.tasks.scripts import zero_shot_template
from jaxsvd.tasks.specs import SPECS, Kind
from jaxsvd.tasks.splits import Sizes

__all__ = ["Prepared", "Protocol", "Question", "Rule", "TaskSummary", "describe", "prepare"]

ZeroShot = Literal["template", "scripts"]


@dataclasses.dataclass(frozen=True)
class TaskSummary:
    """A built-in task, for a list.

    Attributes:
        name: what users type.
        description: one line.
        kind: ``"labels"`` or ``"choices"``.
        labels: the label words in label order.
        shots: default number of demonstrations.
        validation_size: default number of validation rows.
        test_size: default number of test rows.
        source: the data set on the hub.
    """

    name: str
    description: str
    kind: Kind
    labels: tuple[str, ...]
    shots: int
    validation_size: int | None
    test_size: int | None
    source: str


def describe() -> tuple[TaskSummary, ...]:
    """The seven tasks of the paper.

    Returns:
        A summary of each, in the paper's order.
    """
    return tuple(
        TaskSummary(
            name=spec.name,
            description=spec.description,
            kind=spec.kind,
            labels=spec.labels,
            shots=spec.shots,
            validation_size=spec.validation_size,
            test_size=spec.test_size,
            source=str(spec.hub),
        )
        for spec in SPECS.values()
    )


def prepare(
    task: str | Path,
    *,
    data: str | Path | None = None,
    shots: int | None = None,
    seed: int | None = None,
    validation_size: int | None = None,
    test_size: int | None = None,
    protocol: Protocol = "clean",
    zero_shot: ZeroShot = "template",
) -> Prepared:
    """Reads a task's data, draws its splits and writes its prompts.

    Args:
        task: ``sst2``, ``agnews``, ``emoc``, ``mrpc``, ``rte``, ``cb``, ``copa``, ``bundled``,
            or the path of a task file (``jaxsvd.tasks.userfile``).
        data: folder with local files instead of the hub (``jaxsvd.tasks.sources``); with a task
            file, the folder that its data files are in.
        shots: demonstrations in all; the paper's number when left out.
        seed: of the draws, 0 when left out. The ``scripts`` protocol has its own.
        validation_size: rows that choose the rate; the paper's number when left out, fewer, with
            a notice, when the data has not so many.
        test_size: rows that report it; as ``validation_size``.
        protocol: ``"clean"`` (``jaxsvd.tasks.clean``) or ``"scripts"``
            (``jaxsvd.tasks.scripts``).
        zero_shot: how a ``clean`` prompt without demonstrations asks: by the task's template, or
            by the scripts' wording for it where they have one (the ``scripts`` protocol always
            takes that).

    Returns:
        The task with nothing random left.

    Raises:
        UserError: an unknown task, data that is missing or malformed, or an explicit size that
            can't be met.
    """
    _check(shots, seed, validation_size, test_size, protocol)
    sizes = Sizes(shots=shots, validation=validation_size, test=test_size)
    folder = None if data is None else resolved(data)
    if task == "bundled":
        return _bundled(folder, sizes, seed, protocol)
    if task == "squad":
        raise UserError(
            "squad has no labels to score: its answers are written; jaxsvd evaluate --task squad"
        )
    spec = SPECS.get(task) if isinstance(task, str) else None
    if spec is None:
        return _own(task, folder, sizes, seed, protocol)
    splits, source = sources.load(spec, folder)
    if protocol == "scripts":
        return scripts.prepare(spec, splits, source, seed=seed, sizes=sizes)
    wording = zero_shot_template(spec.name) if zero_shot == "scripts" else None
    return clean.prepare(spec, splits, source, seed=seed or 0, sizes=sizes, zero_shot=wording)


def _check(
    shots: int | None,
    seed: int | None,
    validation_size: int | None,
    test_size: int | None,
    protocol: str,
) -> None:
    numbers = (
        ("shots", shots, 0),
        ("seed", seed, 0),
        ("validation size", validation_size, 0),  # 0: only the test set is wanted
        ("test size", test_size, 1),
    )
    for name, value, least in numbers:
        if value is not None and value < least:
            raise UserError(f"the {name} is {value}; it must be at least {least}")
    if protocol not in ("clean", "scripts"):
        raise UserError(f"unknown protocol {protocol!r}; clean or scripts")


def _bundled(folder: Path | None, sizes: Sizes, seed: int | None, protocol: str) -> Prepared:
    if protocol == "scripts":
        raise UserError("the bundled task has no scripts protocol; use --protocol clean")
    if folder is not None:
        raise UserError("the bundled task makes its own data; leave --data out")
    bundled = importlib.import_module("jaxsvd.tasks.bundled")
    return bundled.prepare(
        shots=sizes.shots,
        seed=seed or 0,
        validation_size=sizes.validation,
        test_size=sizes.test,
    )


def _own(
    task: str | Path, folder: Path | None, sizes: Sizes, seed: int | None, protocol: str
) -> Prepared:
    """A task from the user's file."""
    text = str(task)
    if not (text.endswith(".toml") or os.path.isfile(text)):
        known = ", ".join((*SPECS, "bundled"))
        raise UserError(f"unknown task {text!r}; known are {known}, or the path of a task file")
    if protocol == "scripts":
        raise UserError(f"{text}: only the paper's seven tasks have a scripts protocol")
    spec, paths = userfile.load(resolved(task), folder)
    splits, source = sources.read_files(spec, paths)
    return clean.prepare(spec, splits, source, seed=seed or 0, sizes=sizes)
