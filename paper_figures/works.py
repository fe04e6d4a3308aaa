"""The figures and tables by name: what each is made from, and what makes its runs."""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from experiments.common import style
from jaxsvd.runtime.errors import UserError
from paper_figures import accuracy, formats, published, rows, searches, tables
from paper_figures.reading import Source

if TYPE_CHECKING:  # it needs matplotlib, tables do not
    from paper_figures.marks import Drawn

FIGURES = ("fig1", "fig2", "fig3", "fig4", "fig5")
TABLES = tuple(published.TABLES)
OWN = "table-"
"""Before the name of a task that is not the paper's."""
GROUPS = ("all", "figures", "tables")
COMMANDS = {
    "fig1": "python -m experiments.depth_sweep",
    "fig2": "python -m experiments.shots_sweep",
    "fig3": "python -m experiments.condition_numbers",
    "fig4": "python -m experiments.algorithm1",
    "fig5": "python -m experiments.linear_functions",
}


def command(name: str) -> str:
    """What makes runs for a figure or table."""
    return COMMANDS.get(name, COMMANDS["fig4"])


@dataclass(frozen=True)
class FigureOrTable:
    """A figure or table.

    Attributes:
        name: of it.
        files: makes file name -> contents; the slow part.
        shown: what is in it, and of which runs.
        missing: what no run gives.
        notes: what else a reader should know.
    """

    name: str
    files: Callable[[], dict[str, bytes]]
    shown: list[tuple[str, list[Source]]]
    missing: list[str]
    notes: list[str]


class Works:
    """Figures and tables of some runs.

    Attributes:
        sources: the runs, the oldest first.
        tasks: those wanted; all if None.
    """

    def __init__(self, sources: Sequence[Source], tasks: Sequence[str] | None = None) -> None:
        """Nothing is read before it is needed."""
        self.sources, self.tasks = sources, tasks

    @cached_property
    def outcomes(self) -> dict[searches.Place, searches.Outcome]:
        """Of Algorithm 1."""
        return searches.outcomes(self.sources)

    def names(self, requested: Sequence[str]) -> list[str]:
        """Each figure and table asked for, once.

        Raises:
            UserError: an unknown name.
        """
        names_by_order: dict[str, None] = {}
        for name in requested or ["all"]:
            if name in GROUPS:
                figures = FIGURES if name != "tables" else ()
                names_by_order |= dict.fromkeys(figures)
                names_by_order |= dict.fromkeys(self._tables() if name != "figures" else ())
            elif name in (*FIGURES, *TABLES) or (name.startswith(OWN) and name != OWN):
                names_by_order[name] = None
            else:
                known = " ".join((*GROUPS, *FIGURES, *TABLES))
                raise UserError(f"unknown name {name!r}; known are {known} {OWN}TASK")
        return list(names_by_order)

    def _tables(self) -> list[str]:
        own = sorted({place.task for place in self.outcomes} - set(published.TASKS))
        every = dict(published.TABLES) | {OWN + task: task for task in own}
        return [n for n, task in every.items() if self.tasks is None or task in self.tasks]

    def make(self, name: str) -> FigureOrTable:
        """Draw a figure or set a table.

        Raises:
            UserError: a run that it needs is damaged.
        """
        return self._table(name) if name in TABLES or name.startswith(OWN) else self._figure(name)

    def _table(self, name: str) -> FigureOrTable:
        task = published.TABLES.get(name) or name.removeprefix(OWN)
        file = re.sub(r"[^\w.+-]", "-", name)
        table = tables.table(name, task, self.outcomes)
        endings: dict[str, Callable[[tables.ResultTable], str]] = {
            "md": formats.markdown,
            "csv": formats.comma_separated,
            "tex": formats.latex,
        }
        shown = [(what, [outcome.source]) for what, outcome in table.outcomes]

        def files() -> dict[str, bytes]:
            return {f"{file}.{end}": write(table).encode() for end, write in endings.items()}

        return FigureOrTable(name, files, shown, table.missing, [])

    def _figure(self, name: str) -> FigureOrTable:
        with style.look():
            drawn = self.draw(name)

        def files() -> dict[str, bytes]:
            with style.look(), warnings.catch_warnings():
                # Letters that the font lacks are drawn as boxes; that is all there is to say.
                warnings.filterwarnings("ignore", message="Glyph")
                rendered = {e: style.rendered(drawn.figure, e) for e in ("pdf", "png")}
            rendered["md"] = drawn.markdown(name).encode()
            return {f"{name}.{ending}": data for ending, data in rendered.items()}

        return FigureOrTable(name, files, drawn.panels, drawn.missing, drawn.notes)

    def draw(self, name: str) -> "Drawn":
        """A figure, undrawn yet on paper; in :func:`experiments.common.style.look`."""
        from paper_figures import changes, conditions, curves, regression

        if name in ("fig1", "fig2"):
            points = accuracy.points(
                self.sources, "depth_sweep" if name == "fig1" else "shots_sweep"
            )
            choose = rows.depth_rows if name == "fig1" else rows.shots_rows
            return curves.draw(points, choose(points, self.tasks))
        if name == "fig3":
            return conditions.draw(conditions.conditions(self.sources))
        if name == "fig4":
            return changes.draw(self.outcomes, self.tasks)
        return regression.draw(regression.runs(self.sources))
