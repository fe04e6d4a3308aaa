"""Two runs, or two logs of lm-evaluation-harness, on the same examples."""

from pathlib import Path

from jaxsvd.results.answers import read_answers
from jaxsvd.results.comparison import Comparison, compare_answers
from jaxsvd.runtime.progress import SILENT, Progress


def compare(
    first: str | Path,
    second: str | Path,
    *,
    margin: float = 0.01,
    metric: str | None = None,
    progress: Progress = SILENT,
) -> list[Comparison]:
    """Compare two models on the examples that both answered.

    Args:
        first: a run directory of ``search`` or ``evaluate``, a ``samples_*.jsonl`` of the
            harness, or a folder of such.
        second: likewise; its accuracy less that of ``first`` is the difference.
        margin: a difference in accuracy that would not matter.
        metric: of the harness; see :func:`jaxsvd.results.answers.read_answers`.
        progress: where to show the reading of large files.

    Returns:
        A comparison a task, and one pooled over all where there are several.

    Raises:
        UserError: files that are missing, damaged, or not of the same examples.
    """
    return compare_answers(
        read_answers(first, metric=metric, progress=progress),
        read_answers(second, metric=metric, progress=progress),
        margin=margin,
    )
