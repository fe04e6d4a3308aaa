"""Which rows of panels Figures 1 and 2 have."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from paper_figures import published
from paper_figures.accuracy import AccuracyPoint, PointKey

Points = Mapping[PointKey, AccuracyPoint]


@dataclass(frozen=True)
class PanelRow:
    """What a row of panels shows.

    Attributes:
        task: its name.
        shots: of one's own runs; None where nothing was run.
        compared: shots of the published points beside; None where there are none.
    """

    task: str
    shots: int | None
    compared: int | None

    @property
    def label(self) -> str:
        """Task and shots."""
        shots = self.compared if self.shots is None else self.shots
        name = published.task_name(self.task)
        return name if shots is None else f"{name}, {shots} shots"

    def published(self, module: str) -> list[published.BestPoint]:
        """The published points beside."""
        return published.best_points(self.task, self.compared, module)

    def cells(self, points: Points) -> dict[PointKey, AccuracyPoint]:
        """One's own points of the row."""
        at = self.task, self.shots
        return {cell: point for cell, point in points.items() if (cell.task, cell.shots) == at}


def depth_rows(points: Points, tasks: Sequence[str] | None) -> list[PanelRow]:
    """Of Figure 1: a row for each task, with the paper's number of shots, else the largest."""
    paper = published.FIGURE_TASKS["fig1"]
    rows = []
    for task in _tasks(points, paper, tasks):
        run = {cell.shots for cell in points if cell.task == task}
        compared = paper[task][0] if task in paper else None
        shots = compared if compared in run else max(run, default=None)
        rows.append(PanelRow(task, shots, compared))
    return rows


def shots_rows(points: Points, tasks: Sequence[str] | None) -> list[PanelRow]:
    """Of Figure 2: a row for each task and number of shots."""
    paper = published.FIGURE_TASKS["fig2"]
    rows = []
    for task in _tasks(points, paper, tasks):
        run = {cell.shots for cell in points if cell.task == task}
        compared = set(paper.get(task, ()))
        rows += [
            PanelRow(task, n if n in run else None, n if n in compared else None)
            for n in sorted(run | compared)
        ] or [PanelRow(task, None, None)]
    return rows


def _tasks(points: Points, paper: Iterable[str], wanted: Sequence[str] | None) -> list[str]:
    """In the paper's order, then by name; or as asked."""
    if wanted is not None:
        return list(dict.fromkeys(wanted))
    run = {cell.task for cell in points}
    shown = run | set(paper)
    ordered = [task for task in published.TASKS if task in shown]
    return [*ordered, *sorted(run - set(published.TASKS))]
