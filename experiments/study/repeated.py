"""The first runs on a real model, repeated over several draws: a table from the study's record."""

from collections.abc import Iterator

from experiments.study.answers import algorithm1, interval, spread
from experiments.study.drawing import TITLES
from experiments.study.records import READINGS, StudyRecord, TestCell

TASKS = ("sst2", "agnews", "copa", "rte")
"""Of the first runs, one draw and 100 to 400 test examples each."""

COLUMNS = (
    "task and edit",
    "draws x test examples",
    "commonest label",
    "untouched, truncated",
    "as it is",
    "sd",
    "batch calibrated",
    "fitted prior",
    "AUC",
)


def cells(record: StudyRecord) -> list[TestCell]:
    """MLPs of the layer that Algorithm 1 chooses, at the rate that validation chose."""
    by_task = {c.task: c for c in algorithm1(record) if c.module == "mlp"}
    return [by_task[task] for task in TASKS if task in by_task]


def table(record: StudyRecord) -> Iterator[str]:
    """Lines of Markdown; changes in points, with 95 % intervals over draws and examples."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    for cell in cells(record):
        raw = cell.levels["raw"]
        changes = [interval(cell.changes[reading]) for reading in READINGS]
        row = [
            f"{TITLES[cell.task]} {cell.edit}",
            f"{len(set(cell.seeds))} x {max(cell.examples):,}",
            f"{cell.majority:.3f}",
            f"{raw.untouched:.3f}, {raw.edited:.3f}",
            changes[0],
            spread(cell.changes["raw"]),
            *changes[1:],
        ]
        yield f"| {' | '.join(row)} |"
