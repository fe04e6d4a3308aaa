"""A finished search, its model and its questions once more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from jaxsvd.edits.edit import Edit, Edits, Method, format_edits
from jaxsvd.edits.replacement import all_replacements
from jaxsvd.encoded_task import EncodedTask, encode_task, example_numbers
from jaxsvd.model import Model
from jaxsvd.results import calibration
from jaxsvd.results.fields import COUNT, FLAG, TEXT, Fields
from jaxsvd.results.read import FinishedRun, read_run
from jaxsvd.results.search import SearchResult
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress
from jaxsvd.score import Cell, score_split

Table = Float[np.ndarray, "_ _"]  # examples, labels: of any split
Gold = Int[np.ndarray, "_"]
Scored = tuple[list[Table], Gold]
"""Scores of every variant, and the right answers."""


@dataclass(frozen=True)
class Searched:
    """A finished search, and its model and questions once more.

    Attributes:
        run: the run directory.
        result: what it measured.
        model: loaded again.
        tasks: both splits of every draw of demonstrations.
        draw: the arguments of :func:`jaxsvd.encoded_task.encode_task` but for splits and seed.
        edit: the truncation that it chose.
    """

    run: FinishedRun
    result: SearchResult
    model: Model
    tasks: tuple[EncodedTask, ...]
    draw: Mapping[str, object]
    edit: Edit

    @property
    def first(self) -> EncodedTask:
        """The first draw, or the only one."""
        return self.tasks[0]

    @property
    def examples(self) -> list[Int[np.ndarray, "_"]]:
        """Which test examples each draw has, see :func:`~jaxsvd.encoded_task.example_numbers`."""
        return example_numbers(self.tasks, "test")

    def encode(
        self, seed: int, splits: Sequence[str], progress: Progress, **changes: object
    ) -> EncodedTask:
        """Another draw of the same task."""
        options = {**self.draw, "seed": seed, **changes}
        return _encode(self.model, options, splits, progress)


def read_search(
    path: str | Path, load: Callable[[str, str | None, str], Model], progress: Progress
) -> Searched:
    """Read a search's run directory, and load and encode again what it was of.

    Raises:
        UserError: see :func:`jaxsvd.commands.explain.explain`.
    """
    run = read_run(path)
    result = run.result
    if not isinstance(result, SearchResult):
        raise UserError(f"{path}: not a run of search; explain takes one")
    if result.composed:
        raise UserError(
            f"{path}: the search chose several edits, or one by rank; explain takes a search that "
            "truncates one module at a clipping rate"
        )
    if result.best_rate == 0:
        raise UserError(
            f"{path}: the search chose rate 0: nothing is truncated, nothing to explain"
        )
    if run.request.get("asked") == {}:
        raise UserError(
            f"{path}: the search was of examples in memory, which cannot be drawn again; write "
            "them to files with a task file beside them, and search there"
        )
    asked = Fields(run.request).nested("asked")
    model = load(result.model.source, result.model.revision, result.model.dtype)
    draw: dict[str, object] = {
        "task": asked.read("task", TEXT),
        "data": asked.maybe("data", TEXT),
        "validation_size": asked.maybe("validation_size", COUNT),
        "test_size": asked.maybe("test_size", COUNT),
        "paper_sizes": bool(asked.values.get("paper_sizes")),
        "skip_long": bool(asked.values.get("skip_long")),
        "allow_zero_shot": bool(asked.values.get("allow_zero_shot", True)),
        "shots": result.task.draw[0],
        "protocol": result.task.protocol or "clean",
    }
    if asked.maybe("paper_sizes", FLAG) is None and not result.task.skipped_queries:
        # Of an earlier version, which had other defaults.
        for name in ("validation_size", "test_size"):
            draw[name] = draw[name] or getattr(result.task, name)
    seeds = result.task.seed if isinstance(result.task.seed, tuple) else (result.task.seed,)
    splits = ("validation", "test")
    tasks = tuple(_encode(model, {**draw, "seed": seed}, splits, progress) for seed in seeds)
    found = [task.fingerprint() for task in tasks]
    if run.request.get("questions") != (found if len(found) > 1 else found[0]):
        raise UserError(f"{path}: the task's data or the tokenizer have changed since the search")
    method: Method = "randomized" if result.method == "randomized" else "exact"
    seed = tasks[0].prepared.seed
    edit = Edit(result.layer, result.module, result.best_rate, method=method, seed=seed)
    return Searched(run, result, model, tasks, draw, edit)


def _encode(
    model: Model, options: Mapping[str, object], splits: Sequence[str], progress: Progress
) -> EncodedTask:
    named = {name: value for name, value in options.items() if name != "task"}
    return encode_task(model, str(options["task"]), splits, progress=progress, **named)  # type: ignore[arg-type]


def scores(
    model: Model,
    encoded_task: EncodedTask,
    split: str,
    edited: Sequence[Edits],
    progress: Progress,
) -> Scored:
    """Scores of a split under every one of some edits.

    Raises:
        UserError: questions differ in their number of candidates.
    """
    engine = model.engine
    made = all_replacements(engine, edited, progress=progress)
    cells = [Cell(None, None, None, format_edits(edits)) for edits in edited]
    lines = score_split(
        engine,
        encoded_task,
        split,
        edited,
        made=made,
        cells=cells,
        run=None,
        progress=progress,
    )
    tables = [calibration.score_table(of_variant) for of_variant in lines]
    known = [table for table in tables if table is not None]
    if len(known) != len(tables):
        raise UserError("scores that are not finite, or questions of unequal numbers of candidates")
    return [table for table, _ in known], known[0][1]
