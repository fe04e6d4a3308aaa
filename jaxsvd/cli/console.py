"""Where commands print: results on standard output, progress and notices on standard error."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsvd.runtime.paths import shortened
from jaxsvd.runtime.progress import SILENT, Progress, TerminalProgress

if TYPE_CHECKING:
    from rich.console import Console


def output() -> "Console":
    """The console of standard output."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            # Rich would end the process here with status 1 and no word.
            raise BrokenPipeError

    # In a file or a pipe lines are as long as they need to be.
    return Output() if sys.stdout.isatty() else Output(width=200)


def progress(*, show_run: bool = False) -> Progress:
    """Bars and notices; of several processes only the first shows any.

    Args:
        show_run: print the run directory as soon as it is made.
    """
    from jaxsvd.devices import distributed
    from jaxsvd.devices.compilation import activity

    return TerminalProgress(activity, show_run=show_run) if distributed.is_first() else SILENT


def print_run(console: "Console", run: Path | None) -> None:
    """Print where the run directory is, if one was written."""
    from jaxsvd.cli.tables import say

    if run is not None:
        say(console, f"run     {shortened(run)}")


def print_picture(console: "Console", path: Path, draw: Callable[[Path], Path]) -> None:
    """Draw the picture of a run where matplotlib is installed, and print where it is.

    Args:
        console: where to print.
        path: the picture's file.
        draw: writes it and returns its path.
    """
    from jaxsvd.cli.pictures import available
    from jaxsvd.cli.tables import say
    from jaxsvd.devices.distributed import is_first

    if not is_first():
        return
    if available():
        say(console, f"picture {shortened(draw(path))}")
    else:
        say(console, "picture none: install jaxsvd[figures] for one")
