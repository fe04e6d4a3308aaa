"""Progress bars and notices, on standard error so that results can be piped."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from jaxsvd.runtime import interruption

Advance = Callable[[int], None]


class Progress:
    """Says nothing; the base for callers that want no output."""

    @contextlib.contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """A bar over ``total`` units, advanced by the callable that it yields."""
        del description, total, unit
        yield lambda n: None

    def notice(self, line: str) -> None:
        """Something the user should know, in a line."""
        del line


SILENT = Progress()


class TerminalProgress(Progress):
    """Bars by rich with speed and time left; only notices where there is no terminal.

    A bar that advances is also where a Ctrl-C that got lost is noticed.
    """

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

        class Speed(ProgressColumn):
            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text("" if speed is None else f"{speed:,.1f} {unit}/s", style="dim")

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
