"""Progress bars and notices, on standard error so that results can be piped."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxsvd.runtime import interruption
from jaxsvd.runtime.paths import shortened

Advance = Callable[[int], None]


class Progress:
    """Shows nothing; the base of those that do."""

    @contextlib.contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """A bar over ``total`` units, advanced by the callable that it yields."""
        del description, total, unit
        yield lambda n: None

    def notice(self, line: str) -> None:
        """Print something that the user should know, in a line."""
        del line

    def run_directory(self, path: Path) -> None:
        """Print where a new run is written, for those who could not know."""
        del path


SILENT = Progress()


class TerminalProgress(Progress):
    """Bars by rich with speed and time left; only notices where there is no terminal.

    A bar that advances also raises a Ctrl-C whose exception got lost.
    """

    def __init__(self, activity: Callable[[], str] = str, *, show_run: bool = False) -> None:
        """Make one.

        Args:
            activity: names what keeps a bar at 0, such as compiling; empty where it cannot say.
            show_run: print the run directory, because the user did not name it.
        """
        self._activity, self._show_run = activity, show_run

    @contextlib.contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """See :class:`Progress`."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        activity = self._activity

        class Speed(ProgressColumn):
            """Units a second; before the first, what it waits for."""

            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                if speed is None:
                    return Text("" if task.completed else activity(), style="dim")
                return Text(f"{speed:,.1f} {unit}/s", style="dim")

        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            Speed(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=console, disable=not console.is_terminal) as bars:
            task = bars.add_task(description, total=total)

            def advance(n: int) -> None:
                interruption.check()
                bars.advance(task, n)

            yield advance

    def notice(self, line: str) -> None:
        """See :class:`Progress`."""
        print(f"note: {line}", file=sys.stderr, flush=True)

    def run_directory(self, path: Path) -> None:
        """See :class:`Progress`."""
        if self._show_run:
            self.notice(f"this run is written to {shortened(path)}")
