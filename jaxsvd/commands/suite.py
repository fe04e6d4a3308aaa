"""A zero-shot suite through lm-evaluation-harness, before and after an edit (extra ``lm-eval``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxsvd.results.statistics import paired_difference
from jaxsvd.results.suite import SuiteRow
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress

ZERO_SHOT = (
    "piqa",
    "hellaswag",
    "arc_easy",
    "arc_challenge",
    "winogrande",
    "openbookqa",
    "boolq",
    "wikitext",
)
"""The tasks that papers on compressed models report."""

BOTH = ("acc", "acc_norm", "exact_match")
"""Metrics that are right or wrong for each example."""

METRICS = (*BOTH, "word_perplexity")


def suite(
    source: str | None,
    *,
    edit: str | None = None,
    tasks: Sequence[str] = (),
    include_path: str | Path | None = None,
    limit: int | None = None,
    dtype: str = "float32",
    revision: str | None = None,
    progress: Progress = SILENT,
) -> list[SuiteRow]:
    """Score a model on tasks of the harness, without demonstrations, and edited beside it.

    Args:
        source: the model, as :func:`jaxsvd.load` takes it; None for the bundled one.
        edit: as it is written; nothing is compared if left out.
        tasks: of the harness; :data:`ZERO_SHOT` if none are named. Of those, tasks whose data are
            not at hand are left out with a notice.
        include_path: a folder with task files of one's own.
        limit: most examples of a task, the first of them.
        dtype: of the model.
        revision: of the model on the hub.
        progress: where to say what is left out.

    Raises:
        UserError: the harness is not installed, a task that was named cannot be read, or none is
            left.
    """
    try:
        from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"lm-evaluation-harness cannot be imported ({error}); pip install 'jaxsvd[lm-eval]'"
        ) from None
    from jaxsvd.lm_eval import JaxsvdLM

    manager = TaskManager(include_path=None if include_path is None else str(include_path))
    chosen = _at_hand(tasks, manager, progress)
    settings: list[dict[str, Any]] = [{}] if edit is None else [{}, {"edits": edit}]
    # Both are loaded first: an edit that the model does not have is said before anything is scored.
    models = [JaxsvdLM(source, dtype=dtype, revision=revision, **more) for more in settings]
    evaluations = [_evaluated(model, chosen, manager, limit) for model in models]
    return [row for task in chosen for row in _rows(task, evaluations)]


def _at_hand(tasks: Sequence[str], manager: Any, progress: Progress) -> list[str]:
    from lm_eval.tasks import get_task_dict  # pyright: ignore[reportMissingImports]

    chosen = []
    for task in tasks or ZERO_SHOT:
        try:
            get_task_dict([task], manager)
        except Exception as error:  # of any library that reads data
            said = f"{type(error).__name__}: {error}".split("\n")[0]
            what = f"{task}: its data cannot be read ({said})"
            if tasks:
                raise UserError(what) from None
            progress.notice(f"left out: {what}")
        else:
            chosen.append(task)
    if not chosen:
        raise UserError(
            "no task of the suite has its data at hand; name tasks of your own by --include-path "
            "and --tasks"
        )
    return chosen


def _evaluated(model: Any, tasks: list[str], manager: Any, limit: int | None) -> dict[str, Any]:
    from lm_eval import simple_evaluate  # pyright: ignore

    evaluations = simple_evaluate(
        model,
        tasks=list(tasks),
        num_fewshot=0,
        task_manager=manager,
        limit=limit,
        log_samples=True,
        bootstrap_iters=0,
    )
    assert evaluations is not None  # of the first of several processes alone
    return evaluations


def _rows(task: str, evaluations: Sequence[dict[str, Any]]) -> list[SuiteRow]:
    """A row for each metric of a task that every result has."""
    rows = []
    for metric in METRICS:
        values = [_value(results["results"].get(task, {}), metric) for results in evaluations]
        if any(value is None for value in values):
            continue
        samples = [
            sorted(results["samples"].get(task, []), key=lambda s: s["doc_id"])
            for results in evaluations
        ]
        known = [float(value) for value in values if value is not None]
        paired = None
        if len(evaluations) == 2 and metric in BOTH and all(metric in s for s in samples[0]):
            right = [[s[metric] == 1 for s in lines] for lines in samples]
            paired = paired_difference(*right)
        after = known[1] if len(known) == 2 else None
        rows.append(SuiteRow(task, metric, len(samples[0]), known[0], after, paired))
    return rows


def _value(results: dict[str, Any], metric: str) -> float | None:
    """Of ``acc,none`` and the like."""
    return next((v for name, v in results.items() if name.split(",")[0] == metric), None)
