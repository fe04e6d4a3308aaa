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
from jaxsvd.tasks import clean, examples, scripts, sources, userfile
from jaxsvd.tasks.base import Prepared, Protocol, Question, Rule, Task
from jaxsvd.tasks.built_in import SPECS
from jaxsvd.tasks.scripts import zero_shot_template
from jaxsvd.tasks.specs import Kind, PaperSizes, TaskSpec
from jaxsvd.tasks.splits import Sizes

__all__ = ["Prepared", "Protocol", "Question", "Rule", "Task", "TaskSummary", "describe", "prepare"]

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
        validation_size: default number of validation rows; None is what there is, up to 2,000.
        test_size: default number of test rows; None is what there is, up to 2,000.
        paper: the paper's sizes; None where it has not the task.
        source: the data set on the hub.
    """

    name: str
    description: str
    kind: Kind
    labels: tuple[str, ...]
    shots: int
    validation_size: int | None
    test_size: int | None
    paper: PaperSizes | None
    source: str


def describe() -> tuple[TaskSummary, ...]:
    """The built-in tasks.

    Returns:
        A summary of each, the seven of the paper first, in its order.
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
            paper=spec.paper,
            source=str(spec.hub),
        )
        for spec in SPECS.values()
    )


def prepare(
    task: Task,
    *,
    data: str | Path | None = None,
    shots: int | None = None,
    seed: int | None = None,
    validation_size: int | None = None,
    test_size: int | None = None,
    protocol: Protocol = "clean",
    zero_shot: ZeroShot = "template",
    paper_sizes: bool = False,
    template: str | None = None,
    label_field: str | None = None,
) -> Prepared:
    """Reads a task's data, draws its splits and writes its prompts.

    Args:
        task: a name that :func:`describe` lists, ``sst2`` for example; ``bundled``; or the path
            of a task file (``jaxsvd.tasks.userfile``). Or examples: pairs of text and label, a
            table such as a pandas ``DataFrame``, or a mapping of splits to either
            (``jaxsvd.tasks.examples``).
        data: folder with local files instead of the hub (``jaxsvd.tasks.sources``); with a task
            file, the folder that its data files are in.
        shots: demonstrations in all; the paper's number when left out.
        seed: of the draws, 0 when left out. The ``scripts`` protocol has its own.
        validation_size: rows that choose the rate. When left out: the task's number, or as many
            as the data has, at most 2,000.
        test_size: rows that report it; as ``validation_size``.
        protocol: ``"clean"`` (``jaxsvd.tasks.clean``) or ``"scripts"``
            (``jaxsvd.tasks.scripts``).
        zero_shot: how a ``clean`` prompt without demonstrations asks: by the task's template, or
            by the scripts' wording for it where they have one (the ``scripts`` protocol always
            takes that).
        paper_sizes: sizes that are left out are the paper's (fewer, with a notice, when the data
            has not so many); so they always are under the ``scripts`` protocol.
        template: of the query of examples, with columns in braces; ``text: {text} label:`` when
            left out. Other tasks have theirs.
        label_field: the column of examples with the label, ``label`` when left out.

    Returns:
        The task with nothing random left.

    Raises:
        UserError: an unknown task, data that is missing or malformed, or an explicit size that
            can't be met.
    """
    _check(shots, seed, validation_size, test_size, protocol)
    sizes = Sizes(shots=shots, validation=validation_size, test=test_size)
    if not isinstance(task, str | Path):
        if data is not None or protocol == "scripts" or paper_sizes:
            raise UserError("examples have no data folder, scripts protocol or sizes of the paper")
        spec, splits = examples.load(task, template, label_field or "label")
        return clean.prepare(spec, splits, "examples", seed=seed or 0, sizes=sizes)
    if template is not None or label_field is not None:
        raise UserError(f"template and label_field are for examples; the task {task} has its own")
    folder = None if data is None else resolved(data)
    if task == "bundled":
        if paper_sizes:
            raise UserError("the bundled task has no sizes of the paper; leave --paper-sizes out")
        return _bundled(folder, sizes, seed, protocol)
    if task == "squad":
        raise UserError(
            "squad has no labels to score: its answers are written; jaxsvd evaluate --task squad"
        )
    spec = SPECS.get(task) if isinstance(task, str) else None
    paths: dict[str, Path] = {}
    if spec is None:
        spec, paths = _own(task, folder, protocol)
    if protocol == "scripts" and spec.scripts is None:
        raise UserError(f"{task}: only the paper's seven tasks have a scripts protocol")
    if paper_sizes:
        spec = _of_paper_sizes(spec)
    splits, source = sources.read_files(spec, paths) if paths else sources.load(spec, folder)
    if protocol == "scripts":
        return scripts.prepare(spec, splits, source, seed=seed, sizes=sizes)
    wording = zero_shot_template(spec) if zero_shot == "scripts" else None
    return clean.prepare(spec, splits, source, seed=seed or 0, sizes=sizes, zero_shot=wording)


def _of_paper_sizes(spec: TaskSpec) -> TaskSpec:
    if spec.paper is None:
        raise UserError(f"{spec.name}: the paper has no sizes for it; leave --paper-sizes out")
    return dataclasses.replace(
        spec, validation_size=spec.paper.validation, test_size=spec.paper.test
    )


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
    task: str | Path, folder: Path | None, protocol: Protocol
) -> tuple[TaskSpec, dict[str, Path]]:
    """A task from the user's file, and its data files; none of a task of the hub."""
    text = str(task)
    if not (text.endswith(".toml") or os.path.isfile(text)):
        known = ", ".join((*SPECS, "bundled"))
        raise UserError(f"unknown task {text!r}; known are {known}, or the path of a task file")
    if protocol == "scripts":
        raise UserError(f"{text}: only the paper's seven tasks have a scripts protocol")
    return userfile.load(resolved(task), folder)
