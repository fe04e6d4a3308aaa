"""Progress bars and notices, on standard error so that results can be piped."""

import contextlib
import sys
import time
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


EVERY = 30.0
"""Seconds between two lines of progress."""


class _Lines:
    """Progress in lines, for log files; none for what is done before the first is due."""

    def __init__(self, description: str, total: int, unit: str, say: Callable[[str], None]) -> None:
        self._what, self._total, self._unit, self._say = description, total, unit, say
        self._done, self._started = 0, time.monotonic()
        self._said = self._started

    def advance(self, n: int) -> None:
        interruption.check()
        self._done += n
        now = time.monotonic()
        if now - self._said < EVERY:
            return
        self._said, spent = now, now - self._started
        line = f"{self._what}: {self._done:,} of {self._total:,} {self._unit} in {spent:,.0f} s"
        if 0 < self._done < self._total:
            line += f", about {spent * (self._total / self._done - 1):,.0f} s left"
        self._say(line)


class TerminalProgress(Progress):
    """Bars by rich with speed and time left; without a terminal a line every half a minute.

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
        if not (sys.stderr and sys.stderr.isatty()):
            yield _Lines(description, total, unit, self.notice).advance
            return
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
